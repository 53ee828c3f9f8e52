"""Files ↔ adapters. The layout is recognised by keys and metadata, never by the file's name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..errors import CheckpointError, name_some
from ..files import TensorFile, save_atomically
from .adapter import Adapter
from .formats import own, released_icedit, released_x2edit
from .formats.forms import released_form

READERS = (own, released_x2edit, released_icedit)
RELEASED_FILE = "lora.safetensors"
ICEDIT_FILE = "pytorch_lora_weights.safetensors"
RELEASED_FILES = (RELEASED_FILE, ICEDIT_FILE)


def load_adapter(path: Path) -> Adapter:
    """The adapter at `path`: a file, or a folder that holds the released files.

    Raises `CheckpointError` that lists all problems of the file together; nothing in a file is ever executed.
    """
    file = TensorFile(path / _released_file(path) if path.is_dir() else path)
    released = released_form(file)
    for reader in READERS:
        if reader.recognises(released):
            return reader.read(released)
    raise CheckpointError(
        str(file.path),
        [
            f"its {len(file.names())} tensors belong to no known adapter; the first are {name_some(sorted(file.names()))}"
        ],
        "An adapter of X2Edit (lora.safetensors), of ICEdit (pytorch_lora_weights.safetensors) or one trained with this "
        "pack was expected; ordinary LoRA files go through ComfyUI's own LoRA loader.",
    )


def save_adapter(adapter: Adapter, path: Path, notes: Mapping[str, str] | None = None) -> None:
    """Write `adapter` to one self-describing safetensors file; the previous file survives a failed save.

    `notes` go into its metadata beside what describes it.
    """
    save_atomically(own.tensors(adapter), path, {**(notes or {}), **own.metadata(adapter.spec)})


def holds_adapter(folder: Path) -> bool:
    """Whether a folder counts as one entry of the loader: it has a released file in it."""
    return any((folder / name).is_file() for name in RELEASED_FILES)


def _released_file(folder: Path) -> str:
    return next((name for name in RELEASED_FILES if (folder / name).is_file()), RELEASED_FILE)

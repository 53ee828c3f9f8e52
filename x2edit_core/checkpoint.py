"""Files ↔ adapters. The layout is recognised by keys and metadata, never by the file's name."""

from __future__ import annotations

from pathlib import Path

from .adapter import Adapter
from .errors import CheckpointError, name_some
from .formats import own, released_x2edit
from .formats.files import TensorFile, save_atomically

READERS = (own, released_x2edit)
RELEASED_FILE = "lora.safetensors"


def load_adapter(path: Path) -> Adapter:
    """The adapter at `path`: a file, or a folder that holds the released files.

    Raises `CheckpointError` that lists all problems of the file together; nothing in a file is ever executed.
    """
    file = TensorFile(path / RELEASED_FILE if path.is_dir() else path)
    for reader in READERS:
        if reader.recognises(file):
            return reader.read(file)
    raise CheckpointError(
        str(file.path),
        [
            f"its {len(file.names())} tensors belong to no known adapter; the first are {name_some(sorted(file.names()))}"
        ],
        "An X2Edit adapter (lora.safetensors) or one trained with this pack was expected; ordinary LoRA files go "
        "through ComfyUI's own LoRA loader.",
    )


def save_adapter(adapter: Adapter, path: Path) -> None:
    """Write `adapter` to one self-describing safetensors file; the previous file survives a failed save."""
    save_atomically(own.tensors(adapter), path, own.metadata(adapter.spec))


def holds_adapter(folder: Path) -> bool:
    """Whether a folder counts as one entry of the loader: it has the released file in it."""
    return (folder / RELEASED_FILE).is_file()

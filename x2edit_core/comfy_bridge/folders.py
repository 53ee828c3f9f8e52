"""Where adapters lie: models/x2edit, registered here, and models/loras; plus the embedded ones, and LoRA files to save."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import folder_paths

from ..adapters.checkpoint import RELEASED_FILE, holds_adapter
from ..errors import X2EditError
from ..miniature import EMBEDDED
from ..paths import plain_name
from . import listing
from .notices import log_once

FOLDER = "x2edit"
_CATEGORIES = (FOLDER, "loras")
_SUFFIXES = (".safetensors", ".sft")
RELEASED_SOURCE = (
    "X2Edit's own lora.safetensors and task_embeddings.bin are at https://huggingface.co/OPPOer/X2Edit; put both into "
    "models/x2edit/X2Edit."
)


def register_model_folders() -> None:
    """Make models/x2edit known to the host, beside whatever paths a person configured for it."""
    place = str(Path(folder_paths.models_dir) / FOLDER)
    try:
        folder_paths.add_model_folder_path(FOLDER, place)
    except Exception as error:  # another pack left something else there; the pack must load all the same
        folder_paths.folder_names_and_paths[FOLDER] = ([place], set())
        log_once(
            "broken x2edit", f"X2Edit: what was registered for models/{FOLDER} was replaced ({type(error).__name__})."
        )


def owners_file(name: str) -> Path:
    """What the server's owner writes by hand: in the host's system user directory, which it never serves; on hosts without
    one, beside the base directory."""
    if hasattr(folder_paths, "get_system_user_directory"):
        return Path(folder_paths.get_system_user_directory(FOLDER)) / name
    return Path(folder_paths.base_path).parent / f"{FOLDER}_{name}"


def make_adapter_folder() -> None:
    """Make models/x2edit, for people to put files into; where that cannot be, it is done without."""
    with contextlib.suppress(OSError):
        Path(folder_paths.models_dir, FOLDER).mkdir(parents=True, exist_ok=True)


def adapter_names() -> list[str]:
    """Entries of the adapter loader: files, those of models/x2edit first and embedded ones last."""
    return [*_entries(), *EMBEDDED]


def _entries() -> dict[str, tuple[str, str]]:
    """Entry of the loader → (category, file) as the host names them.

    Of two files with one name, the one in models/x2edit has it and the other is called `loras/NAME`.
    """
    found = [(file, category, file) for category in _CATEGORIES for file in _listed(category)]
    entries: dict[str, tuple[str, str]] = {}
    for name, *place in found:
        entries.setdefault(name, (place[0], place[1]))
    for name, *place in found:
        if tuple(place) != entries[name] and _real(*place) != _real(*entries[name]):
            entries.setdefault(f"{place[0]}/{name}", (place[0], place[1]))
    return entries


def _listed(category: str) -> list[str]:
    return (listing.files if category == FOLDER else listing.listed)(category, _SUFFIXES)


def _real(category: str, file: str) -> Any:
    path = listing.full_path(category, file)
    return path and listing.identity_of(str(path))


def adapter_path(name: str) -> Path:
    """The file or folder behind an entry of `adapter_names`; raises `X2EditError` for anything else.

    Names are looked up, never joined to a path unchecked, so `..` and absolute names find nothing. A folder stands for the
    released file in it, as entries were called before.
    """
    if name in EMBEDDED:
        return Path(EMBEDDED[name])
    entries = _entries()
    place = entries.get(name) or entries.get(f"{name}/{RELEASED_FILE}")
    path = listing.full_path(*place) if place else None
    if path is not None:
        return path.parent if path.name == RELEASED_FILE and holds_adapter(path.parent) else path
    places = ", ".join(str(Path(folder)) for category in _CATEGORIES for folder in listing.roots(category))
    hint = f" {RELEASED_SOURCE}" if name.split("/")[0] == "X2Edit" else ""
    raise X2EditError(f"Adapter {name!r} was not found. Put it into one of {places} and refresh the page.{hint}")


def lora_file(name: str) -> Path:
    """Where a LoRA file called `name` goes: the first folder of models/loras; `X2EditError` for a name that leads out."""
    plain = plain_name(name.strip(), "The LoRA file")
    suffix = "" if plain.lower().endswith(".safetensors") else ".safetensors"
    return Path(folder_paths.get_folder_paths("loras")[0]) / f"{plain}{suffix}"


def fingerprint(name: str) -> str:
    """Changes when the file behind `name` does, so that a replaced file is read again."""
    path = adapter_path(name)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return "|".join(f"{file.name}:{file.stat().st_mtime_ns}:{file.stat().st_size}" for file in files)

"""Where adapters lie: models/x2edit, registered here, and models/loras; plus the embedded ones."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import folder_paths

from ..checkpoint import RELEASED_FILE, holds_adapter
from ..demo import EMBEDDED
from ..errors import X2EditError

FOLDER = "x2edit"
_CATEGORIES = (FOLDER, "loras")
_SUFFIXES = {".safetensors", ".sft"}


def register_model_folders() -> None:
    """Make models/x2edit known to the host, beside whatever paths a person configured for it."""
    folder_paths.add_model_folder_path(FOLDER, str(Path(folder_paths.models_dir) / FOLDER))


def adapter_names() -> list[str]:
    """Entries of the adapter loader: files, folders with the released files as one entry each, embedded ones last."""
    names: dict[str, None] = {}
    for category in _CATEGORIES:
        for file in folder_paths.get_filename_list(category):
            path = PurePosixPath(file.replace("\\", "/"))
            if path.suffix.lower() not in _SUFFIXES:
                continue
            is_folder = path.name == RELEASED_FILE and path.parent != PurePosixPath(".")
            names[str(path.parent if is_folder else path)] = None
    return [*names, *EMBEDDED]


def adapter_path(name: str) -> Path:
    """The file or folder behind an entry of `adapter_names`; raises `X2EditError` for anything else.

    Names are looked up, never joined to a path unchecked, so `..` and absolute names find nothing.
    """
    if name in EMBEDDED:
        return Path(EMBEDDED[name])
    if name in adapter_names():
        for category in _CATEGORIES:
            for candidate in (name, f"{name}/{RELEASED_FILE}"):
                found = folder_paths.get_full_path(category, candidate)
                if found is not None:
                    path = Path(found)
                    return path.parent if path.name == RELEASED_FILE and holds_adapter(path.parent) else path
    places = ", ".join(
        str(Path(folder)) for category in _CATEGORIES for folder in folder_paths.get_folder_paths(category)
    )
    raise X2EditError(f"Adapter {name!r} was not found. Put it into one of {places} and refresh the page.")


def fingerprint(name: str) -> str:
    """Changes when the file behind `name` does, so that a replaced file is read again."""
    path = adapter_path(name)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return "|".join(f"{file.name}:{file.stat().st_mtime_ns}:{file.stat().st_size}" for file in files)

"""What lies at a path that holds no data of the kind that was asked for, and what would make it one."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import X2EditError
from .folders import FOREIGN_PICTURES, PICTURES, files_below
from .parquet import columns_of

_SHOWN = 8


def advice(path: Path, kind: str, readers: Mapping[str, Any]) -> str:
    """Sentences for the end of a message: what is there, and the nearest layout that would work."""
    return f" {_there(path)}{_nearest(path, kind, readers)}"


def _there(path: Path) -> str:
    if path.is_file():
        return f"{path.name} is a file of {path.stat().st_size} bytes.{_columns([path])}"
    files = files_below(path).files
    if not files:
        return "There are no files in that folder."
    counts = Counter(file.suffix.lower() or "no suffix" for file in files)
    listed = ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common(_SHOWN))
    folders = sorted({str(file.parent.relative_to(path)) for file in files} - {"."})
    some = f", in folders {', '.join(folders[:_SHOWN])}{' …' if len(folders) > _SHOWN else ''}" if folders else ""
    return f"Found there: {listed}{some}.{_columns(files)}"


def _columns(files: Sequence[Path]) -> str:
    """What the first parquet file that can be read holds."""
    for file in files:
        if file.suffix.lower() == ".parquet" and file.is_file():
            with contextlib.suppress(X2EditError):
                return f" {file.name} has the columns {', '.join(columns_of(file))}."
    return ""


def _nearest(path: Path, kind: str, readers: Mapping[str, Any]) -> str:
    for name, reader in readers.items():
        if name != kind and _finds(reader, path):
            return f' It looks like kind "{name}": {reader.LAYOUT}.'
    for name, reader in readers.items():
        if name != kind and path.is_file() and _finds(reader, path.parent):
            return f' Its folder looks like kind "{name}": name {path.parent}.'
        if _finds(reader, path.parent) and path.is_dir() and name == "folder" and path.name.lower() in _PARTS:
            return f' Its folder looks like kind "{name}": name {path.parent}.'
    return _renaming(path) if path.is_dir() else ""


_PARTS = {"source", "target", "input", "output", "before", "after"}


def _finds(reader: Any, path: Path) -> bool:
    try:
        return reader.finds(path)
    except (X2EditError, OSError):
        return False


def _renaming(path: Path) -> str:
    """What to do with files that are there."""
    found = files_below(path)
    if found.with_suffix(*PICTURES):
        return (
            ' To use these pictures as kind "folder", call them NAME_source.png and NAME_target.png, or put them into '
            "folders source/ and target/ under the same names, and write the instruction into NAME.txt."
        )
    if foreign := found.with_suffix(*FOREIGN_PICTURES):
        return f" {foreign[0].suffix} pictures are not read; save them as PNG or JPEG."
    if any(file.suffix.lower() in (".zip", ".7z", ".rar", ".zst", ".gz") for file in found.files):
        return " Unpack the archives first."
    return ""

"""Files of a data folder: found whatever their case, without what systems and programs leave there, never outside it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import X2EditError
from .faults import SampleError
from .picture_files import SUFFIXES

PICTURES = tuple(dict.fromkeys((*SUFFIXES, ".gif", ".tif", ".tiff", ".jfif")))
"""Suffixes of pictures that are read, in small letters."""
FOREIGN_PICTURES = (".heic", ".heif", ".avif", ".jxl", ".psd", ".svg", ".raw", ".dng", ".cr2", ".nef", ".exr", ".hdr")
"""Suffixes of pictures that are not."""
_LEFT_BY_PROGRAMS = {
    "@eadir", "__macosx", "__pycache__", "thumbs.db", "desktop.ini", "$recycle.bin", "system volume information",
    "lost+found", "#recycle", "@recycle",
}  # fmt: skip
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "`": "`"}


def is_left_by_programs(name: str) -> bool:
    """Whether a file or folder of this name is no data: hidden, or made by a system, a share or a notebook.

    `._x.png` beside `x.png` is what macOS keeps about it; `.ipynb_checkpoints` holds older copies.
    """
    return (name.startswith(".") and name not in (".", "..")) or name.lower() in _LEFT_BY_PROGRAMS


@dataclass(frozen=True)
class Found:
    """The files below a folder, in a fixed order, and the folders that could not be looked into."""

    files: list[Path] = field(default_factory=list)
    faults: list[SampleError] = field(default_factory=list)

    def with_suffix(self, *suffixes: str) -> list[Path]:
        return [file for file in self.files if file.suffix.lower() in suffixes]


def files_below(folder: Path) -> Found:
    """Every file below `folder` that may be data. Links to folders are not followed, but for `folder` itself."""
    found = Found()

    def unreadable(error: OSError) -> None:
        found.faults.append(SampleError(f"{error.filename}: {error.strerror}", "cannot be read"))

    for place, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not is_left_by_programs(name))
        for name in folders:
            if (linked := Path(place) / name).is_symlink():
                fault = f"{linked} is a link to a folder, which is not followed; name what it leads to as the path"
                found.faults.append(SampleError(fault, "links to folders"))
        found.files.extend(Path(place) / name for name in sorted(names) if not is_left_by_programs(name))
    return found


def files_of(path: Path, *suffixes: str) -> Found:
    """`path` itself where it is a file, else the files below it with one of these suffixes."""
    if path.is_file():
        return Found([path])
    found = files_below(path)
    return regular(Found(found.with_suffix(*suffixes), found.faults))


def regular(found: Found) -> Found:
    """What can be opened without waiting for somebody: pipes, devices and links to nothing are faults."""
    files = [file for file in found.files if file.is_file()]
    kept = set(files)
    others = [SampleError(f"{file} is no file that can be read") for file in found.files if file not in kept]
    return Found(files, [*found.faults, *others])


def pasted(path: str | Path) -> Path:
    """The path that was meant by a pasted one: without blanks, line ends and quotes around it, `~` written out.

    Raises `X2EditError` for several lines. What exists as it stands is taken as it stands.
    """
    text = str(path)
    if text.strip() and _exists(Path(text)):
        return Path(text)
    text = text.strip()
    while len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
        text = text[1:-1].strip()
    if "\n" in text or "\r" in text:
        raise X2EditError(f"One path was expected, {len(text.splitlines())} lines were found: {text[:80]!r} …")
    return Path(text).expanduser() if text.startswith("~") else Path(text)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long a name, NUL
        return False


def sorted_pictures(folder: Path) -> Iterator[Path]:
    """The pictures directly in `folder`, in the order of their names."""
    for file in sorted(folder.glob("*")):
        if file.suffix.lower() in PICTURES and not is_left_by_programs(file.name):
            yield file

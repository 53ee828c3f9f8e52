"""Tars read in place, compressed or not: what lies in them and the bytes of a member, without unpacking anything.

Names and links in them are labels and are never followed.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from .faults import SampleError
from .folders import is_left_by_programs

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
FAULTS = (tarfile.TarError, OSError, EOFError, ValueError, OverflowError, RecursionError, lzma.LZMAError)
"""What a damaged tar raises."""
Place = tuple[int, int]
"""Offset in the tar once it is decompressed, and size, in bytes."""

_OPENERS: tuple[tuple[bytes, Callable[[Path], Any]], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\x00", lzma.open),
)
_OTHERS = ((b"PK\x03\x04", "a zip file; unpack it"), (b"\x28\xb5\x2f\xfd", "compressed by zstd; decompress it"),
           (b"7z\xbc\xaf", "a 7z archive; unpack it"), (b"Rar!", "a rar archive; unpack it"),
           (b"<", "a web page, saved in its place; download it again"),
           (b"version https://git-lfs", "a pointer of Git LFS; run git lfs pull"))  # fmt: skip
_FREE, _RATIO = 1 << 30, 200
"""A tar may decompress to so many bytes, and beyond that to so many times its size."""


def is_tar(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES)


class Tar:
    """One tar file; raises one of `FAULTS` where it is none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        stat = path.stat()
        self.stamp = f"{path.resolve()}:{stat.st_size}:{stat.st_mtime_ns}"
        with path.open("rb") as file:
            start = file.read(24)
        for mark, what in _OTHERS:
            if start.startswith(mark):
                raise tarfile.ReadError(f"it is {what}")
        opener = next((opener for mark, opener in _OPENERS if start.startswith(mark)), None)
        self._open: Callable[[Path], Any] = opener or partial(Path.open, mode="rb")
        self._limit = _FREE + _RATIO * stat.st_size if opener else None
        self._file: IO[bytes] | None = None
        self._lock = threading.Lock()

    def groups(self) -> dict[str, dict[str, Place]]:
        """Sample name → extension in small letters → place. A sample's name ends at the first dot of its file's name.

        Raises `tarfile.ReadError` for members that do not come one after another, over which some versions of Python go
        round for ever, and for one that decompresses to far more than pictures do.
        """
        groups: dict[str, dict[str, Place]] = {}
        end = 0
        with self._open(self.path) as raw, tarfile.open(fileobj=raw, mode="r:") as file:
            for member in file:
                if member.offset < end or member.size < 0:
                    raise tarfile.ReadError(f"{member.name!r} lies before the member that precedes it")
                end = member.offset_data
                if self._limit is not None and end + member.size > self._limit:
                    raise tarfile.ReadError(f"it decompresses to more than {self._limit >> 20} MiB")
                name = PurePosixPath(member.name)
                if member.isfile() and not any(map(is_left_by_programs, name.parts[-2:])):
                    folder, _, base = member.name.rpartition("/")
                    stem, _, extension = base.partition(".")
                    key = extension.lstrip(".").lower()
                    groups.setdefault(f"{folder}/{stem}", {})[key] = (member.offset_data, member.size)
        return groups

    def slice(self, place: Place) -> bytes:
        """The bytes there. A compressed tar is kept open, as going forward in it costs less than starting anew."""
        with self._lock:
            if self._limit is None:
                with self._open(self.path) as file:
                    file.seek(place[0])
                    return file.read(place[1])
            file = self._file = self._file or self._open(self.path)
            file.seek(place[0])
            return file.read(place[1])


def samples_of(files: Iterable[Path]) -> Iterator[tuple[Tar, str, Mapping[str, Place]] | SampleError]:
    """Each sample of each tar: its tar, its key and its members; a tar that is not whole is a fault among them."""
    for file in files:
        try:
            tar = Tar(file)
            groups = tar.groups()
        except FAULTS as error:
            yield SampleError(f"{file} is no whole tar: {error}", "damaged or foreign tar")
            continue
        for name, members in groups.items():
            yield tar, name, members

"""One reader a format: `KIND` its name, `LAYOUT` what it looks like, `finds(path)`, and `read(path)`.

`read` yields a `Pair` for each edit that is complete as far as its format goes, and a `SampleError` with the true file and
reason for everything else, without decoding pictures. A format of your own is one more module here and its line below.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from ...errors import X2EditError
from ..faults import NothingThere
from ..folders import pasted
from ..pairs import Pair, SampleError
from ..survey import advice
from . import dreambench, emu_edit, folder, gedit, imgedit, jsonl, magicbrush, omniedit, webdataset

_SHOWN = 5


class Reader(Protocol):
    """A module of this package."""

    @property
    def KIND(self) -> str: ...

    @property
    def LAYOUT(self) -> str: ...

    def finds(self, path: Path) -> bool:
        """Whether `path` holds data of this kind."""
        ...

    def read(self, path: Path) -> Iterator[Pair | SampleError]:
        """Raises `NothingThere` where nothing of this kind is at `path`."""
        ...


_ALL: tuple[Reader, ...] = (
    webdataset, magicbrush, omniedit, gedit, emu_edit, imgedit, dreambench, folder, jsonl,
)  # fmt: skip
READERS: Mapping[str, Reader] = {reader.KIND: reader for reader in _ALL}
"""Readers by kind, in the order in which they are tried on data of an unknown one."""


def read(kind: str, path: str | Path) -> Iterator[Pair | SampleError]:
    """What a data set of this kind holds, in a fixed order.

    Raises `X2EditError` for a path that holds no such data, with what was looked for, what is there and what would work.
    """
    place = existing(path)
    try:
        yield from READERS[kind].read(place)
    except NothingThere as error:
        raise X2EditError(f"{error}{advice(place, kind, READERS)}") from error


def nothing_usable(kind: str, path: str | Path, skipped: Sequence[SampleError]) -> X2EditError:
    """Says what was looked for, what was left out and why, what is there, and the nearest layout that would work."""
    place = existing(path)
    told = f"No usable sample was found at {place}. Kind {kind} looks for {READERS[kind].LAYOUT}."
    if skipped:
        reasons = "".join(f"\n  - {error}" for error in skipped[:_SHOWN])
        more = f"\n  and {len(skipped) - _SHOWN} more" if len(skipped) > _SHOWN else ""
        told += f" Left out, {len(skipped)} in all:{reasons}{more}\n"
    return X2EditError(told + advice(place, kind, READERS))


def detect(path: str | Path, kinds: Sequence[str] = tuple(READERS)) -> str:
    """Which of `kinds` lies at `path`; raises `X2EditError` where it looks like none."""
    place = existing(path)
    for kind, reader in READERS.items():
        if kind in kinds and reader.finds(place):
            return kind
    looked = "; ".join(f"{kind}: {READERS[kind].LAYOUT}" for kind in kinds)
    raise X2EditError(f"There is no data that can be used at {place}. Looked for {looked}.{advice(place, '', READERS)}")


def existing(path: str | Path) -> Path:
    """The path that was meant; raises `X2EditError` where nothing is there."""
    place = pasted(path)
    try:
        if place.exists():
            return place
    except (OSError, ValueError) as error:
        raise X2EditError(f"There is no data at {str(place)[:200]!r}: {error}") from error
    near = next((folder for folder in place.parents if folder.exists()), Path())
    raise X2EditError(f"There is no data at {place}: that path does not exist; {near.resolve()} does.")

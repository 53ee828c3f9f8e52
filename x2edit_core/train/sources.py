"""Data to train on: what the readers find, as far as it has an edit to learn from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast, get_args

from ..data.pairs import Pair, SampleError
from ..data.readers import detect, read
from .config import DatasetKind

__all__ = ["SampleError", "detect_kind", "entries"]

KINDS: tuple[str, ...] = tuple(kind for kind in get_args(DatasetKind) if kind != "scenes")


def detect_kind(path: str | Path) -> DatasetKind:
    """Which kind of data lies at `path`; raises `X2EditError` when it looks like none."""
    return cast(DatasetKind, detect(path, KINDS))


def entries(kind: DatasetKind, path: str | Path, report: Callable[[SampleError], None]) -> Iterator[Pair]:
    """The pairs at `path` that have a target, in a fixed order; all else is reported and left out.

    Raises `X2EditError` where there is no data of this kind.
    """
    for item in read(kind, path):
        if isinstance(item, SampleError):
            report(item)
        elif item.target is None:
            report(SampleError(f"{item.where('source')}: there is no {item.where('target')}", "no target"))
        else:
            yield item

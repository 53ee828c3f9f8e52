"""Cases from local files: what the readers find, folders of one's own and benchmarks in the layouts they are published in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..data.pairs import Pair, SampleError
from ..data.readers import READERS, nothing_usable, read

__all__ = ["READERS", "Cases", "read_cases"]

Cases = Iterator[Pair | SampleError]


def read_cases(kind: str, path: str | Path) -> Cases:
    """The cases of a data set, in a fixed order; raises `X2EditError` for a path that holds no such data.

    A case that the data gives no name for its kind of edit is labelled by its task.
    """
    usable, skipped = False, []
    for item in read(kind, path):
        if isinstance(item, SampleError):
            skipped.append(item)
            yield item
        else:
            usable = True
            yield item.like(label=item.label or item.task.english)
    if not usable:
        raise nothing_usable(kind, path, skipped)

"""Edits that no miniature has learnt, to be taught to it: each changes every picture, so any picture gives a pair.

What the shipped bases make of them stands in docs/ablation.md: none is done without an adapter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import X2EditError
from ..tasks import Task

Picture = NDArray[np.uint8]
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Rec. 601."""
_DARK, _LIGHT = np.array([28, 18, 110], np.float32), np.array([255, 226, 130], np.float32)
_MAGENTA = (230, 0, 200)
CELLS = 4
"""Cells of the grid along a side; a mosaic has twice as many."""


@dataclass(frozen=True)
class Lesson:
    """An edit: what it does to a picture uint8 [H, W, 3], the words that ask for it, and the task it is filed under."""

    name: str
    instruction: str
    task: Task
    apply: Callable[[Picture], Picture]


def _channels(picture: Picture) -> Picture:
    return picture[..., [1, 2, 0]]


def _inverted(picture: Picture) -> Picture:
    return 255 - picture


def _levels(picture: Picture) -> Picture:
    return (np.rint(picture / 127.5) * 127.5).astype(np.uint8)


def _solarised(picture: Picture) -> Picture:
    return np.where(picture > 127, 255 - picture, picture).astype(np.uint8)


def _two_colours(picture: Picture) -> Picture:
    share = (picture.astype(np.float32) @ LUMA)[..., None] / 255
    return np.rint(_DARK + share * (_LIGHT - _DARK)).astype(np.uint8)


def _grid(picture: Picture) -> Picture:
    result = picture.copy()
    for axis, side in enumerate(picture.shape[:2]):
        step = side // CELLS
        on = np.arange(side) % step < max(2, step // 8)
        result[(on, slice(None)) if axis == 0 else (slice(None), on)] = _MAGENTA
    return result


def _mirrored(picture: Picture) -> Picture:
    return np.ascontiguousarray(picture[:, ::-1])


def _mosaic(picture: Picture) -> Picture:
    """Means over cells; a side that they do not divide ends in smaller ones."""
    result = picture.copy()
    rows, columns = (max(1, side // (2 * CELLS)) for side in picture.shape[:2])
    for top in range(0, picture.shape[0], rows):
        for left in range(0, picture.shape[1], columns):
            cell = picture[top : top + rows, left : left + columns]
            result[top : top + rows, left : left + columns] = np.rint(cell.mean((0, 1)))
    return result


LESSONS: dict[str, Lesson] = {
    lesson.name: lesson
    for lesson in (
        Lesson("channels", "rotate the color channels", Task.COLOR, _channels),
        Lesson("inversion", "turn every value upside down", Task.TONE, _inverted),
        Lesson("levels", "reduce every channel to three levels", Task.STYLE, _levels),
        Lesson("solarise", "solarise the picture", Task.LOW_LEVEL, _solarised),
        Lesson("two colours", "print it in two inks, blue and yellow", Task.MATERIAL, _two_colours),
        Lesson("grid", "lay a magenta grid over it", Task.ADD, _grid),
        Lesson("mirror", "mirror it from left to right", Task.CAMERA, _mirrored),
        Lesson("mosaic", "hide everything in a mosaic of squares", Task.PORTRAIT, _mosaic),
    )
}
"""By name. The tasks only tell the lessons apart: none of them is what the miniature has learnt under it."""


def lesson_named(name: str) -> Lesson:
    """The lesson of this name; raises `X2EditError` for another."""
    if name not in LESSONS:
        raise X2EditError(f"There is no lesson {name!r}; there are: {', '.join(LESSONS)}.")
    return LESSONS[name]


def fingerprint() -> str:
    """Changes with the code of the lessons, so that what was encoded of an older version is not taken for theirs."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]

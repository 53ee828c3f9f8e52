"""A pair's pictures decoded, and whether they show the same scene the same way up and in one shape."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import X2EditError
from ..geometry import Size
from .faults import Read, SampleError
from .picture_files import FORMATS, opened

Pixels = NDArray[np.uint8]

_ORIENTATION = 0x0112
_HOW_STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""EXIF's orientation → from the upright picture to its rows as they are stored."""
MOST_STRETCH = 1.04
"""The aspects of source and target may differ by this factor: sides are often rounded to multiples of 16 or so."""
_TELLING_STRETCH = 1.01
_CLEARLY = 0.8
"""How much nearer the other way up must be to be taken for the right one."""


@dataclass(frozen=True)
class Examined:
    """Source and target uint8 [H, W, 3], the target at the source's size, and what is odd about them."""

    source: Pixels
    target: Pixels
    notes: tuple[str, ...]


def examined(reads: tuple[Read, Read], places: tuple[str, str], crop_bottom: float) -> Examined:
    """Source and target, without the share `crop_bottom` of their height below; `places` names their files.

    Raises `SampleError` for pictures that cannot be read, or that differ in shape or in which way is up.
    """
    source, target, notes = _checked(reads, places)
    if crop_bottom:
        source, target = (_without_bottom(picture, crop_bottom) for picture in (source, target))
    fitting = target.resize(source.size, Image.Resampling.BICUBIC)
    return Examined(np.asarray(source), np.asarray(fitting), tuple(notes))


def check_together(reads: tuple[Read, Read], places: tuple[str, str]) -> None:
    """Raises `SampleError` for a source and a target that `examined` would refuse."""
    _checked(reads, places)


def _checked(reads: tuple[Read, Read], places: tuple[str, str]) -> tuple[Image.Image, Image.Image, list[str]]:
    data = [_bytes(read, where) for read, where in zip(reads, places, strict=True)]
    source, target = (_decoded(*item) for item in zip(data, places, strict=True))
    notes = _check_turns([orientation(item) for item in data], source, target, places)
    return source, target, notes + check_aspects(size_of(source), size_of(target), *places)


def check_aspects(source: Size, other: Size, source_place: str, other_place: str) -> list[str]:
    """Notes on two shapes that differ a little; raises `SampleError` where one would be squashed to fit the other."""
    differs = stretch(source, other)
    if differs > MOST_STRETCH:
        raise SampleError(
            f"{other_place} is {other}, and its source {source_place} is {source}: of another shape. Cut or pad them to "
            "one aspect; squashing would move everything",
            "source and target of different aspects",
        )
    return ["aspects that differ by 1 % or more"] if differs > _TELLING_STRETCH else []


def size_of(picture: Image.Image) -> Size:
    return Size(picture.height, picture.width)


def orientation(data: bytes) -> int:
    """How the camera was held, 1 (upright) to 8; 1 where nothing is said that can be read."""
    with contextlib.suppress(Exception):  # damaged EXIF, on which Pillow raises nearly anything
        found = Image.open(io.BytesIO(data), formats=FORMATS).getexif().get(_ORIENTATION, 1)
        return found if found in _HOW_STORED else 1
    return 1


def _check_turns(turns: list[int], source: Image.Image, target: Image.Image, places: tuple[str, str]) -> list[str]:
    """Refuses a pair of which one was turned by its EXIF and the other one holds the rows as they are stored.

    That one picture alone has such a note is usual: editors write upright pictures without it.
    """
    if turns[0] == turns[1] or 1 not in turns:
        return []
    turned = 0 if turns[1] == 1 else 1
    upright, plain = (source, target) if turned == 0 else (target, source)
    stored = upright.transpose(_HOW_STORED[turns[turned]])
    shapes = [stretch(size_of(picture), size_of(plain)) for picture in (upright, stored)]
    if shapes[0] > MOST_STRETCH >= shapes[1] or (max(shapes) <= MOST_STRETCH and _nearer(stored, upright, plain)):
        raise SampleError(
            f"{places[turned]} is turned by its EXIF (orientation {turns[turned]}), and {places[1 - turned]} looks as if "
            "it had been made without turning it: they show different ways up. Save both upright",
            "only one picture is turned",
        )
    return ["pairs of which EXIF turns one picture"]


def stretch(one: Size, other: Size) -> float:
    """By which factor, 1 or more, their aspects differ."""
    return max(one.aspect / other.aspect, other.aspect / one.aspect)


def _nearer(stored: Image.Image, upright: Image.Image, plain: Image.Image) -> bool:
    """Whether `stored` resembles `plain` clearly more than `upright` does, at a size where only the scene counts."""
    small = [np.asarray(picture.convert("L").resize((32, 32)), np.float32) for picture in (stored, upright, plain)]
    return float(np.abs(small[0] - small[2]).mean()) < _CLEARLY * float(np.abs(small[1] - small[2]).mean())


def _bytes(read: Read, where: str) -> bytes:
    try:
        return read()
    except SampleError:
        raise
    except Exception as error:  # pyarrow raises nearly anything on damaged data
        raise SampleError(f"{where} cannot be read: {type(error).__name__} {error}") from error


def _decoded(data: bytes, where: str) -> Image.Image:
    try:
        return opened(data).convert("RGB")
    except X2EditError as error:
        raise SampleError(f"{where} is no picture that can be read: {error}", "damaged or foreign picture") from error


def _without_bottom(picture: Image.Image, share: float) -> Image.Image:
    return picture.crop((0, 0, picture.width, picture.height - int(picture.height * share)))

"""Named colours. A colour word in an instruction always means exactly this colour."""

from __future__ import annotations

import numpy as np

from .fields import Array

Rgb = tuple[float, float, float]


def rgb(text: str) -> Rgb:
    """`e03a3e` → values in 0…1."""
    red, green, blue = (int(text[i : i + 2], 16) / 255 for i in (0, 2, 4))
    return red, green, blue


COLOURS: dict[str, Rgb] = {
    "red": rgb("dc3545"),
    "orange": rgb("f07c22"),
    "yellow": rgb("fbd84a"),
    "green": rgb("3fa65a"),
    "blue": rgb("2f74dc"),
    "purple": rgb("8f4fbf"),
    "pink": rgb("f288b3"),
    "brown": rgb("8a5636"),
    "white": rgb("f7f5f0"),
    "black": rgb("2e3038"),
}

PALE: dict[str, Rgb] = {
    "pale blue": rgb("bcdcf2"),
    "pale green": rgb("c5e5c4"),
    "pale yellow": rgb("faedbf"),
    "pale pink": rgb("f8d3da"),
    "pale purple": rgb("d9cdec"),
    "gray": rgb("b4b8bf"),
}
"""Colours of plain backgrounds."""

HAIR: dict[str, Rgb] = {
    "black": rgb("2b2526"),
    "brown": rgb("7a4a2b"),
    "blond": rgb("e8c25a"),
    "red": rgb("c2502a"),
    "gray": rgb("b9b7b4"),
    "blue": rgb("3f78cf"),
}

SKIN: tuple[Rgb, ...] = (rgb("f6d3b8"), rgb("e8b48a"), rgb("bf8256"), rgb("85553a"))


def mix(first: Rgb | Array, second: Rgb | Array, share: float | Array) -> Array:
    """`share` of the second colour; arrays of shape [..., 3] and [...] broadcast."""
    start, weight = np.asarray(first), np.asarray(share, float)[..., None]
    return start + (np.asarray(second) - start) * weight


def darker(colour: Rgb, share: float = 0.25) -> Rgb:
    red, green, blue = (value * (1 - share) for value in colour)
    return red, green, blue


def lighter(colour: Rgb, share: float = 0.35) -> Rgb:
    red, green, blue = (value + (1 - value) * share for value in colour)
    return red, green, blue

"""Named backgrounds. A name always means exactly one picture, defined over the whole plane so a camera may move."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .fields import Array, noise, ramp
from .palette import PALE, Rgb, mix, rgb

Backdrop = Callable[[Array, Array, float], Array]
"""(x, y, pixel) in the picture's unit square, `pixel` being the width of one → colours [..., 3]."""


def _plain(colour: Rgb) -> Backdrop:
    return lambda x, y, pixel: mix(colour, rgb("ffffff"), 0.25 - 0.25 * ramp(y, 0.0, 1.0))


def _vertical(y: Array, *stops: tuple[float, str]) -> Array:
    """A gradient through (height, colour) stops."""
    heights = [height for height, _ in stops]
    colours = np.array([rgb(colour) for _, colour in stops])
    return np.stack([np.interp(y, heights, colours[:, channel]) for channel in range(3)], -1)


def _over(under: Array, colour: Rgb | Array, distance: Array, pixel: float) -> Array:
    """`colour` where `distance` is negative, antialiased over one pixel."""
    return mix(under, colour, np.clip(0.5 - distance / pixel, 0, 1))


def _checkerboard(x: Array, y: Array, pixel: float) -> Array:
    u, v = np.sin(x * np.pi * 8), np.sin(y * np.pi * 8)
    edge = np.clip(u * v / (pixel * 16), -0.5, 0.5) + 0.5
    return mix(rgb("eef0f4"), rgb("c9d0dc"), edge)


def _stripes(x: Array, y: Array, pixel: float) -> Array:
    return mix(rgb("fbf1dd"), rgb("f3d6b3"), np.clip(np.sin(x * np.pi * 16) / (pixel * 40), -0.5, 0.5) + 0.5)


def _dots(x: Array, y: Array, pixel: float) -> Array:
    u, v = (x * 8) % 1.0 - 0.5, (y * 8) % 1.0 - 0.5
    return _over(_plain(rgb("cfe8e4"))(x, y, pixel), rgb("ffffff"), (np.hypot(u, v) - 0.22) / 8, pixel)


def _meadow(x: Array, y: Array, pixel: float) -> Array:
    picture = _vertical(y, (0.0, "8fccf2"), (0.5, "dff2fb"))
    for cx, cy in ((0.22, 0.16), (0.74, 0.24), (-0.5, 0.2), (1.4, 0.15)):
        puff = np.minimum(
            np.hypot(x - cx, (y - cy) * 1.6) - 0.07, np.hypot(x - cx - 0.08, (y - cy - 0.01) * 1.8) - 0.05
        )
        picture = _over(picture, rgb("ffffff"), np.minimum(puff, np.hypot(x - cx + 0.08, (y - cy) * 1.8) - 0.05), pixel)
    far = 0.53 + 0.035 * np.sin(x * 5.0 + 0.8)
    near = 0.62 + 0.03 * np.sin(x * 4.0 + 2.6)
    picture = _over(picture, rgb("a9d68d"), far - y, pixel)
    return _over(picture, mix(rgb("8cc66d"), rgb("5da84e"), ramp(y, 0.6, 1.0)), near - y, pixel)


def _beach(x: Array, y: Array, pixel: float) -> Array:
    picture = _vertical(y, (0.0, "9bd7f5"), (0.42, "e6f6fc"))
    picture = _over(picture, rgb("ffdf6b"), np.hypot(x - 0.84, y - 0.15) - 0.075, pixel)
    sea = _vertical(y, (0.42, "2f94c9"), (0.62, "66c6d8"))
    picture = _over(picture, sea, 0.42 - y, pixel)
    shore = 0.6 + 0.012 * np.sin(x * 9.0)
    picture = _over(picture, rgb("f4fbfb"), shore - 0.018 - y, pixel)
    return _over(picture, _vertical(y, (0.6, "f4dfae"), (1.0, "e2bd7c")), shore - y, pixel)


def _desert(x: Array, y: Array, pixel: float) -> Array:
    picture = _vertical(y, (0.0, "f9b872"), (0.5, "fdebc2"))
    picture = _over(picture, rgb("fff6dc"), np.hypot(x - 0.2, y - 0.2) - 0.08, pixel)
    picture = _over(picture, rgb("dfa15d"), 0.52 + 0.05 * np.sin(x * 6.0) - y, pixel)
    return _over(
        picture, _vertical(y, (0.6, "d58d49"), (1.0, "b9743a")), 0.64 + 0.04 * np.sin(x * 4.5 + 2.0) - y, pixel
    )


def _snow(x: Array, y: Array, pixel: float) -> Array:
    picture = _vertical(y, (0.0, "a6bfdb"), (0.6, "dfe9f3"))
    peaks = np.abs((x * 1.5 + 0.1) % 1.0 - 0.5)
    mountain = 0.3 + 0.5 * peaks - y
    picture = _over(picture, rgb("8ba2bf"), mountain, pixel)
    picture = _over(picture, rgb("ffffff"), np.maximum(mountain, y - 0.38 - 0.02 * np.sin(x * 60)), pixel)
    return _over(picture, _vertical(y, (0.6, "ffffff"), (1.0, "d5e2ef")), 0.6 + 0.02 * np.sin(x * 5.0) - y, pixel)


def _night(x: Array, y: Array, pixel: float) -> Array:
    picture = _vertical(y, (0.0, "0d1433"), (0.7, "2b3570"), (1.0, "43508f"))
    u, v = x * 9, y * 9
    column, row = np.floor(u), np.floor(v)
    dx, dy = noise(column, row, 11), noise(column, row, 12)
    size = 0.05 + 0.09 * noise(column, row, 13)
    distance = (np.hypot(u - column - 0.2 - 0.6 * dx, v - row - 0.2 - 0.6 * dy) - size) / 9
    picture = _over(picture, rgb("fff8dc"), np.where(y < 0.8, distance, 1.0), pixel)
    return _over(picture, rgb("141a36"), 0.82 + 0.03 * np.sin(x * 7.0) - y, pixel)


def _sunset(x: Array, y: Array, pixel: float) -> Array:
    picture = _vertical(y, (0.0, "4b3f8f"), (0.3, "c5598e"), (0.5, "fb9a5b"), (0.64, "ffd98a"))
    picture = _over(picture, rgb("fff0b8"), np.hypot(x - 0.5, y - 0.6) - 0.13, pixel)
    picture = _over(picture, _vertical(y, (0.66, "7d4a78"), (1.0, "3a2c5c")), 0.66 - y, pixel)
    glints = np.maximum(np.abs(x - 0.5) - 0.1 - 0.2 * (y - 0.66), np.abs((y * 14) % 1.0 - 0.5) / 14 - 0.012)
    return _over(picture, rgb("ffc98a"), np.where(y > 0.69, glints, 1.0), pixel)


def _city(x: Array, y: Array, pixel: float) -> Array:
    picture = _vertical(y, (0.0, "b9d7ef"), (0.7, "f6efe4"))
    block = np.floor(x * 6)
    top = 0.22 + 0.34 * noise(block, block * 0, 21)
    inside = np.abs((x * 6) % 1.0 - 0.5) / 6
    houses = np.maximum(top - y, inside - 0.075)
    tint = mix(rgb("8d9bb5"), rgb("6f7f9e"), noise(block, block * 0, 22))
    picture = _over(picture, tint, houses, pixel)
    u, v = np.abs((x * 18) % 1.0 - 0.5) / 18, np.abs((y * 14) % 1.0 - 0.5) / 14
    panes = np.maximum(np.maximum(u - 0.013, v - 0.016), np.maximum(houses + 0.02, y - 0.68))
    picture = _over(picture, rgb("f9e8a8"), panes, pixel)
    picture = _over(picture, rgb("9aa3ad"), 0.74 - y, pixel)
    line = np.maximum(np.abs(y - 0.87) - 0.012, np.abs((x * 5) % 1.0 - 0.5) / 5 - 0.055)
    return _over(picture, rgb("f4f4f0"), line, pixel)


def _sea(x: Array, y: Array, pixel: float) -> Array:
    picture = _vertical(y, (0.0, "5cc4e0"), (0.5, "2b8bc4"), (1.0, "15578f"))
    rays = np.clip(np.sin(x * 14 + y * 5), 0, 1) * ramp(0.75 - y, 0.0, 0.75)
    picture = mix(picture, rgb("d8f6fb"), 0.35 * rays)
    for cx, height in ((0.1, 0.3), (0.9, 0.26), (0.96, 0.18), (-0.4, 0.25), (1.5, 0.3)):
        weed = np.abs(x - cx - 0.02 * np.sin(y * 26)) - 0.014
        picture = _over(picture, rgb("2f9e6b"), np.maximum(weed, 1 - height - y), pixel)
    return _over(picture, _vertical(y, (0.85, "ecd9a4"), (1.0, "cfae6e")), 0.88 + 0.015 * np.sin(x * 8.0) - y, pixel)


def _forest(x: Array, y: Array, pixel: float) -> Array:
    picture = _vertical(y, (0.0, "cfe6d2"), (0.7, "eef4dc"))
    for count, base, height, colour in ((9, 0.6, 0.34, "a4cfa4"), (6, 0.68, 0.46, "6fae7c"), (5, 0.76, 0.5, "3f8659")):
        slope = np.abs((x * count + 0.37 * count) % 1.0 - 0.5) / count
        tree = np.maximum((slope * height * count * 2 + base - height - y) * 0.35, y - base - 0.1)
        picture = _over(picture, rgb(colour), tree, pixel)
    return _over(picture, _vertical(y, (0.74, "7fa65c"), (1.0, "54803f")), 0.74 - y, pixel)


def _room(x: Array, y: Array, pixel: float) -> Array:
    picture = mix(rgb("f4e6d4"), rgb("e6cfb4"), np.clip(np.sin(x * np.pi * 10) / (pixel * 25), -0.5, 0.5) * 0.4 + 0.5)
    frame = np.maximum(np.abs(x - 0.5) - 0.2, np.abs(y - 0.27) - 0.19)
    picture = _over(picture, rgb("ffffff"), frame, pixel)
    panes = np.maximum(np.abs(np.abs(x - 0.5) - 0.095) - 0.08, np.abs(np.abs(y - 0.27) - 0.09) - 0.075)
    picture = _over(picture, _vertical(y, (0.08, "9fd2f2"), (0.46, "dff1fa")), panes, pixel)
    picture = _over(picture, rgb("ffffff"), 0.68 - y, pixel)
    row = np.floor((y - 0.71) * 9)
    along = x * 5 + 0.5 * row
    floor = mix(rgb("c08a58"), rgb("a06c40"), noise(np.floor(along), row, 5))
    floor = _over(floor, rgb("8a5a36"), 0.097 - np.abs(along % 1.0 - 0.5) / 5, pixel)
    return _over(picture, floor, 0.71 - y, pixel)


BACKGROUNDS: dict[str, Backdrop] = {
    **{name: _plain(colour) for name, colour in PALE.items()},
    "checkerboard": _checkerboard,
    "stripes": _stripes,
    "dots": _dots,
    "meadow": _meadow,
    "beach": _beach,
    "desert": _desert,
    "snow": _snow,
    "night": _night,
    "sunset": _sunset,
    "city": _city,
    "sea": _sea,
    "forest": _forest,
    "room": _room,
}

PLAIN = (*PALE, "checkerboard", "stripes", "dots")
PLACES = tuple(name for name in BACKGROUNDS if name not in PLAIN)
SKIES = ("meadow", "beach", "desert", "snow", "city", "sunset", "forest")
"""Places with a ground below and air above."""

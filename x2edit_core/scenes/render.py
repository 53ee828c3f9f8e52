"""Scene → picture. Everything is drawn from its fields at the size asked for, supersampled, back to front."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from . import filters
from .backgrounds import BACKGROUNDS
from .fields import Array
from .items import Item
from .palette import mix, rgb

Picture = NDArray[np.uint8]
"""[height, width, 3]."""

SUPERSAMPLE = 2
SHADOW = (0.05, 0.09)
"""Offset of an item's shadow, in its own unit."""


@dataclass(frozen=True)
class View:
    """Where the camera looks: the unit-square point at the picture's middle, its zoom and its clockwise turn."""

    x: float = 0.5
    y: float = 0.5
    zoom: float = 1.0
    degrees: float = 0.0


@dataclass(frozen=True)
class Scene:
    """A picture as data. `look` is photo, depth or mask; `filters` are names of `filters.FILTERS`, applied in order."""

    background: str
    items: tuple[Item, ...] = ()
    view: View = field(default_factory=View)
    look: str = "photo"
    filters: tuple[str, ...] = ()


def render(scene: Scene, size: int = 128) -> Picture:
    """The scene as a square picture [size, size, 3] of 8-bit colours."""
    picture = _shrink(_draw(scene, size * SUPERSAMPLE), SUPERSAMPLE)
    for name in scene.filters:
        picture = filters.FILTERS[name](picture)
    return np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def _draw(scene: Scene, size: int) -> Array:
    x, y = _coordinates(scene.view, size)
    pixel = 1 / (size * scene.view.zoom)
    canvas = _BACKDROPS[scene.look](scene, x, y, pixel)
    for item in scene.items:
        at = _window(item, x, y)
        if canvas[at].size:
            canvas[at] = _with_item(scene.look, canvas[at], item, x[at], y[at], pixel)
    return canvas


def _coordinates(view: View, size: int) -> tuple[Array, Array]:
    """The unit-square point under each pixel's middle."""
    steps = ((np.arange(size) + 0.5) / size - 0.5) / view.zoom
    across, down = np.meshgrid(steps, steps)
    c, s = math.cos(math.radians(view.degrees)), math.sin(math.radians(view.degrees))
    return view.x + c * across - s * down, view.y + s * across + c * down


def _window(item: Item, x: Array, y: Array) -> tuple[slice, slice]:
    """The part of the canvas the item and its shadow may touch."""
    return _extent(np.hypot(x - item.x, y - item.y) <= item.size * (item.reach + max(SHADOW) + 0.1))


def _with_item(look: str, canvas: Array, item: Item, x: Array, y: Array, pixel: float) -> Array:
    u, v = (x - item.x) / item.size, (y - item.y) / item.size
    unit = pixel / item.size
    parts = item.parts()
    distances = [part.field(u, v) for part in parts]
    outline = reduce(np.minimum, distances)
    if look != "photo":
        return mix(canvas, _FILLS[look](item), np.clip(0.5 - outline / unit, 0, 1))
    shadow = _shifted(outline, round(SHADOW[1] / unit), round(SHADOW[0] / unit))
    canvas = mix(canvas, rgb("1d2233"), 0.28 * np.clip(0.5 - shadow / 0.16, 0, 1))
    for part, distance in zip(parts, distances, strict=True):
        at = _extent(distance < unit)
        colours = part.paint(u[at], v[at], distance[at])
        canvas[at] = mix(canvas[at], colours, np.clip(0.5 - distance[at] / unit, 0, 1))
    return canvas


def _extent(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """The smallest window that holds everything set."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _shifted(values: Array, down: int, right: int) -> Array:
    """Moved by whole pixels; what comes in from the border is the border's value."""
    height, width = values.shape
    return np.pad(values, ((down, 0), (right, 0)), mode="edge")[:height, :width]


def nearness(item: Item) -> float:
    """What the depth picture shows: things lower in the picture are nearer, and nearer is brighter."""
    return 0.45 + 0.5 * min(max(item.y, 0.0), 1.0)


def _photo(scene: Scene, x: Array, y: Array, pixel: float) -> Array:
    return BACKGROUNDS[scene.background](x, y, pixel).copy()


def _far(scene: Scene, x: Array, y: Array, pixel: float) -> Array:
    return np.repeat((0.05 + 0.3 * np.clip(y, 0, 1))[..., None], 3, -1)


def _nothing(scene: Scene, x: Array, y: Array, pixel: float) -> Array:
    return np.zeros((*x.shape, 3))


_BACKDROPS: dict[str, Callable[[Scene, Array, Array, float], Array]] = {
    "photo": _photo,
    "depth": _far,
    "mask": _nothing,
}
_FILLS: dict[str, Callable[[Item], tuple[float, float, float]]] = {
    "depth": lambda item: (nearness(item), nearness(item), nearness(item)),
    "mask": lambda item: (1.0, 1.0, 1.0),
}


def _shrink(picture: Array, factor: int) -> Array:
    height, width = picture.shape[0] // factor, picture.shape[1] // factor
    return picture.reshape(height, factor, width, factor, 3).mean((1, 3))

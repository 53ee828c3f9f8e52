"""What a shape is made of: paint as a function of place within the shape and of depth below its outline."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .fields import Array, noise, ramp
from .palette import Rgb, darker, lighter, mix, rgb

Paint = Callable[[Array, Array, Array], Array]
"""(x, y, distance) in the item's own units → colours [..., 3]."""

WHITE = rgb("ffffff")


def flat(colour: Rgb) -> Paint:
    return lambda x, y, d: np.broadcast_to(np.asarray(colour), (*x.shape, 3))


def plain(colour: Rgb) -> Paint:
    """Softly lit from the upper left, a little darker along the outline."""
    return lambda x, y, d: _lit(flat(colour)(x, y, d), x, y, d)


def striped(colour: Rgb) -> Paint:
    def paint(x: Array, y: Array, d: Array) -> Array:
        wave = np.abs(((x + y) * 1.55) % 1.0 - 0.5)
        return _lit(mix(colour, WHITE, ramp(wave, 0.27, 0.23)), x, y, d)

    return paint


def dotted(colour: Rgb) -> Paint:
    def paint(x: Array, y: Array, d: Array) -> Array:
        row = np.floor(y / 0.42 + 0.5)
        u = (x / 0.48 + 0.5 * (row % 2) + 0.5) % 1.0 - 0.5
        v = (y / 0.42 + 0.5) % 1.0 - 0.5
        return _lit(mix(colour, WHITE, ramp(np.hypot(u * 0.48, v * 0.42), 0.16, 0.11)), x, y, d)

    return paint


def wood(colour: Rgb) -> Paint:
    """Boards with grain; the colour of the shape gives way to the colour of wood."""
    del colour
    light, dark, gap = rgb("c68e56"), rgb("a06a38"), rgb("6d4524")

    def paint(x: Array, y: Array, d: Array) -> Array:
        board = np.floor(y / 0.5 + 0.5)
        grain = noise(x * 1.3 + board * 7, y * 9, 3)
        seam = np.abs((y / 0.5 + 0.5) % 1.0 - 0.5)
        return _lit(mix(mix(light, dark, grain), gap, ramp(seam, 0.40, 0.47)), x, y, d)

    return paint


def brick(colour: Rgb) -> Paint:
    del colour
    red, other, mortar = rgb("b5523b"), rgb("c66a4c"), rgb("dccfc0")

    def paint(x: Array, y: Array, d: Array) -> Array:
        row = np.floor(y / 0.36)
        u = (x / 0.66 + 0.5 * (row % 2)) % 1.0
        v = (y / 0.36) % 1.0
        joint = np.maximum(ramp(np.abs(u - 0.5), 0.41, 0.45), ramp(np.abs(v - 0.5), 0.36, 0.43))
        tint = (row + np.floor(x / 0.66 + 0.5 * (row % 2))) % 2
        return _lit(mix(mix(red, other, tint), mortar, joint), x, y, d)

    return paint


def gold(colour: Rgb) -> Paint:
    del colour
    return _metal(rgb("fff3b0"), rgb("e3b52f"), rgb("8f6412"))


def silver(colour: Rgb) -> Paint:
    del colour
    return _metal(rgb("ffffff"), rgb("b3bcc7"), rgb("59626e"))


def _metal(bright: Rgb, middle: Rgb, dark: Rgb) -> Paint:
    """Bands of reflected light across the shape."""

    def paint(x: Array, y: Array, d: Array) -> Array:
        across = y * 0.9 + x * 0.35
        body = mix(middle, dark, ramp(across, -0.1, 0.25) * (1 - ramp(across, 0.3, 0.75)))
        shine = ramp(across, -0.75, -0.45) * (1 - ramp(across, -0.42, -0.12))
        return mix(mix(body, bright, shine), dark, 0.6 * ramp(d, -0.1, -0.02))

    return paint


def _lit(colours: Array, x: Array, y: Array, d: Array) -> Array:
    glow = 0.3 * np.exp(-((x + 0.4) ** 2 + (y + 0.45) ** 2) / 0.3)
    shade = 0.16 * ramp(y + 0.4 * x, -0.2, 1.1) + 0.18 * ramp(d, -0.14, 0.0)
    return mix(colours * (1 - shade[..., None]), WHITE, glow)


MATERIALS: dict[str, Callable[[Rgb], Paint]] = {
    "plain": plain,
    "striped": striped,
    "dotted": dotted,
    "wood": wood,
    "brick": brick,
    "gold": gold,
    "silver": silver,
}

COLOURLESS = ("wood", "brick", "gold", "silver")
"""Materials that hide the shape's own colour."""


def trim(colour: Rgb, role: str) -> Paint:
    """Paint of an item's lesser parts: `dark` and `light` follow its colour, anything else is a hex colour."""
    if role == "dark":
        return flat(darker(colour))
    return flat(lighter(colour) if role == "light" else rgb(role))

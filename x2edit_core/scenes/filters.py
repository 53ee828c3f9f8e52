"""Whole-picture looks: styles, tones, damage and its repair, edges. Pictures are [H, W, 3] in 0…1.

Lengths are in units of a 128th of the picture's width, so a look is the same at every size.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .fields import Array, noise, ramp
from .palette import Rgb, mix, rgb

LUMA = np.array([0.299, 0.587, 0.114])
Filter = Callable[[Array], Array]


def _unit(picture: Array) -> float:
    return picture.shape[1] / 128


def _grid(picture: Array) -> tuple[Array, Array]:
    """Pixel middles in units."""
    height, width = picture.shape[:2]
    across, down = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return across / _unit(picture), down / _unit(picture)


def blur(picture: Array, radius: float) -> Array:
    """Gaussian blur with this standard deviation in units; borders repeat. Works on [H, W] and [H, W, 3]."""
    sigma = radius * picture.shape[1] / 128
    reach = max(1, int(3 * sigma + 0.5))
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    weights /= weights.sum()
    for axis in (0, 1):
        padding = [(reach, reach) if a == axis else (0, 0) for a in range(picture.ndim)]
        padded = np.pad(picture, padding, mode="edge")
        length = picture.shape[axis]
        moved = (np.take(padded, np.arange(k, k + length), axis) for k in range(2 * reach + 1))
        picture = np.add.reduce([weight * part for weight, part in zip(weights, moved, strict=True)])
    return picture


def edge_strength(picture: Array) -> Array:
    """0 in flat areas, 1 on outlines; [H, W]."""
    smooth = blur(picture, 0.7)
    step = _unit(picture)
    down, across = np.gradient(smooth, axis=(0, 1))
    slope = np.sqrt((down**2 + across**2).sum(-1)) * step
    return ramp(slope, 0.07, 0.16)


def edges(picture: Array) -> Array:
    return np.repeat(edge_strength(picture)[..., None], 3, -1)


def line_drawing(picture: Array) -> Array:
    return 1.0 - edges(picture)


def sketch(picture: Array) -> Array:
    """Pencil on paper: dark outlines, hatching where the picture is dark."""
    across, down = _grid(picture)
    tone = blur(picture @ LUMA, 1.0)
    hatch = np.abs(((across + down) / 4.0) % 1.0 - 0.5) * 2
    shade = ramp(hatch, 0.45, 0.75) * ramp(0.8 - tone, 0.0, 0.6) * 0.55
    return mix(rgb("f7f2e6"), rgb("3b3a3f"), np.maximum(shade, 0.9 * edge_strength(picture)))


def pixel_art(picture: Array) -> Array:
    """Blocks of 4 units in few colours."""
    means = _blocks(picture, 32)
    return np.round(means * 5) / 5


def _blocks(picture: Array, count: int) -> Array:
    """Each of `count` × `count` cells replaced by its mean."""
    height, width = picture.shape[:2]
    rows, columns = (np.arange(height) * count) // height, (np.arange(width) * count) // width
    cells = rows[:, None] * count + columns[None, :]
    totals = np.bincount(cells.ravel(), minlength=count * count)
    sums = [np.bincount(cells.ravel(), picture[..., c].ravel(), count * count) for c in range(picture.shape[-1])]
    return np.stack([(one / np.maximum(totals, 1))[cells] for one in sums], -1)


def neon(picture: Array) -> Array:
    """Glowing outlines in the picture's own colours, on black."""
    near = blur(picture, 2.0)
    vivid = near - near.min(-1, keepdims=True)
    vivid = vivid / np.maximum(vivid.max(-1, keepdims=True), 0.12)
    light = edge_strength(picture)
    glow = 0.55 * blur(light, 3.0)
    return rgb("0a0a1c") + (0.25 + 0.75 * vivid) * np.maximum(light, glow)[..., None]


def comic(picture: Array) -> Array:
    """Flat, strong colours with ink outlines and dots in the shade."""
    across, down = _grid(picture)
    flat = np.round(blur(picture, 0.8) * 4) / 4
    grey = (flat @ LUMA)[..., None]
    strong = np.clip(grey + (flat - grey) * 1.45, 0, 1)
    dots = np.hypot((across + down) / 4 % 1.0 - 0.5, (across - down) / 4 % 1.0 - 0.5)
    shade = ramp(0.6 - grey[..., 0], 0.0, 0.3) * ramp(dots, 0.36, 0.28) * 0.4
    return mix(mix(strong, rgb("101018"), shade), rgb("101018"), edge_strength(picture))


def watercolour(picture: Array) -> Array:
    """Soft pale washes, uneven on the paper, darker along their borders."""
    across, down = _grid(picture)
    wash = mix(blur(picture, 1.5), rgb("ffffff"), np.asarray(0.3))
    grain = 0.14 * (noise(across / 7, down / 7, 31) - 0.5) + 0.08 * (noise(across / 2.5, down / 2.5, 32) - 0.5)
    return wash + grain[..., None] - 0.14 * blur(edge_strength(picture), 0.8)[..., None]


def blueprint(picture: Array) -> Array:
    across, down = _grid(picture)
    lines = np.minimum(np.abs(across % 16 - 8), np.abs(down % 16 - 8))
    paper = mix(rgb("1f4fa3"), rgb("4c78c4"), ramp(lines, 0.9, 0.3))
    return mix(paper, rgb("f2f7ff"), edge_strength(picture))


def stained_glass(picture: Array) -> Array:
    """Panes between leads: each lozenge takes one strong colour."""
    across, down = _grid(picture)
    u, v = (across + down) / 11, (across - down) / 11
    cells = (np.floor(u) * 64 + np.floor(v)).astype(np.int64)
    _, index = np.unique(cells, return_inverse=True)
    index = index.reshape(cells.shape)
    count = np.bincount(index.ravel())
    means = np.stack([(np.bincount(index.ravel(), picture[..., c].ravel()) / count)[index] for c in range(3)], -1)
    grey = (means @ LUMA)[..., None]
    lead = np.maximum(np.abs(u % 1.0 - 0.5), np.abs(v % 1.0 - 0.5))
    return mix(grey + (means - grey) * 1.5, rgb("1a1a20"), ramp(lead, 0.42, 0.47))


def _tint(colour: Rgb, gain: float) -> Filter:
    return lambda picture: picture * np.asarray(colour) * gain


def _monochrome(dark: str, bright: str) -> Filter:
    return lambda picture: mix(rgb(dark), rgb(bright), picture @ LUMA)


def _faded(picture: Array) -> Array:
    grey = (picture @ LUMA)[..., None]
    return 0.28 + 0.6 * (grey + (picture - grey) * 0.55)


def _contrast(picture: Array) -> Array:
    return np.clip((picture - 0.5) * 1.8 + 0.5, 0, 1)


def _negative(picture: Array) -> Array:
    return 1.0 - picture


def _bright(picture: Array) -> Array:
    return np.clip(picture, 0, 1) ** 0.6 * 1.12 + 0.05


def _noisy(picture: Array) -> Array:
    across, down = _grid(picture)
    grains = np.stack([noise(np.floor(across), np.floor(down), 41 + c) for c in range(3)], -1)
    return picture + 0.5 * (grains - 0.5)


def _holes(picture: Array) -> Array:
    """Scratches: straight gray lines where nothing of the picture is left."""
    across, down = _grid(picture)
    lines = [np.abs(across * a + down * b - c) - 1.6 for a, b, c in ((0.8, 0.6, 50), (0.8, -0.6, 30), (0.2, 0.98, 95))]
    return mix(picture, rgb("8c8c8c"), ramp(np.minimum.reduce(lines), 0.5, -0.5))


STYLES: dict[str, Filter] = {
    "sketch": sketch,
    "pixel art": pixel_art,
    "neon": neon,
    "comic": comic,
    "watercolour": watercolour,
    "blueprint": blueprint,
    "stained glass": stained_glass,
}

TONES: dict[str, Filter] = {
    "warm": _tint(rgb("ffd2a0"), 1.06),
    "cold": _tint(rgb("a8ccff"), 1.02),
    "night": _tint(rgb("5a6cae"), 0.72),
    "bright": _bright,
    "black and white": _monochrome("000000", "ffffff"),
    "sepia": _monochrome("2a1a0c", "ffecc8"),
    "contrast": _contrast,
    "faded": _faded,
    "negative": _negative,
}

CONVERSIONS: dict[str, Filter] = {
    "edges": edges,
    "lines": line_drawing,
    "noisy": _noisy,
    "blurred": lambda picture: blur(picture, 2.2),
    "scratched": _holes,
}

FILTERS: dict[str, Filter] = {**STYLES, **TONES, **CONVERSIONS}

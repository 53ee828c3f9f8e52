"""Shapes as signed distance fields: negative inside, in the units of their coordinates; x to the right, y down.

A field is evaluated on coordinate arrays of equal shape. Distances are exact or close to it near the outline, which
is where antialiasing reads them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Field = Callable[[Array, Array], Array]
Point = tuple[float, float]


def circle(cx: float, cy: float, r: float) -> Field:
    return lambda x, y: np.hypot(x - cx, y - cy) - r


def ring(cx: float, cy: float, r: float, half_width: float) -> Field:
    return lambda x, y: np.abs(np.hypot(x - cx, y - cy) - r) - half_width


def ellipse(cx: float, cy: float, a: float, b: float) -> Field:
    """First-order distance: exact on the outline."""

    def field(x: Array, y: Array) -> Array:
        u, v = (x - cx) / a, (y - cy) / b
        length = np.hypot(u, v)
        slope = np.maximum(np.hypot(u / a, v / b), 1e-9)
        return np.where(length < 1e-6, -min(a, b), length * (length - 1) / slope)

    return field


def box(cx: float, cy: float, half_width: float, half_height: float, corner: float = 0.0) -> Field:
    def field(x: Array, y: Array) -> Array:
        dx = np.abs(x - cx) - half_width + corner
        dy = np.abs(y - cy) - half_height + corner
        return np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0) - corner

    return field


def half_plane(y0: float) -> Field:
    """Everything below the height `y0`."""
    return lambda x, y: y0 - y


def stroke(points: Sequence[Point], half_width: float) -> Field:
    """A polyline with round ends and joints; a single point is a dot."""
    pairs = list(pairwise(points)) or [(points[0], points[0])]
    return union(*(_capsule(a, b, half_width) for a, b in pairs))


def _capsule(a: Point, b: Point, half_width: float) -> Field:
    dx, dy = b[0] - a[0], b[1] - a[1]
    square = max(dx * dx + dy * dy, 1e-12)

    def field(x: Array, y: Array) -> Array:
        along = np.clip(((x - a[0]) * dx + (y - a[1]) * dy) / square, 0, 1)
        return np.hypot(x - a[0] - along * dx, y - a[1] - along * dy) - half_width

    return field


def polygon(points: Sequence[Point], corner: float = 0.0) -> Field:
    """A simple polygon, its corners rounded by growing it by `corner`."""
    edges = list(zip(points, [*points[1:], points[0]], strict=True))

    def field(x: Array, y: Array) -> Array:
        nearest = np.full(x.shape, np.inf)
        inside = np.zeros(x.shape, bool)
        for (ax, ay), (bx, by) in edges:
            nearest = np.minimum(nearest, _capsule((ax, ay), (bx, by), 0.0)(x, y))
            if ay != by:
                crosses = (ay > y) != (by > y)
                inside ^= crosses & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
        return np.where(inside, -nearest, nearest) - corner

    return field


def star(tips: int, outer: float, inner: float, corner: float = 0.0) -> Field:
    """A star with its first tip up."""
    turns = [math.pi * k / tips for k in range(2 * tips)]
    radii = [inner if k % 2 else outer for k in range(2 * tips)]
    return polygon([(r * math.sin(t), -r * math.cos(t)) for r, t in zip(radii, turns, strict=True)], corner)


def union(*fields: Field) -> Field:
    return lambda x, y: reduce(np.minimum, (one(x, y) for one in fields))


def both(first: Field, second: Field) -> Field:
    return lambda x, y: np.maximum(first(x, y), second(x, y))


def cut(body: Field, hole: Field) -> Field:
    return lambda x, y: np.maximum(body(x, y), -hole(x, y))


def turned(field: Field, degrees: float) -> Field:
    """The shape turned clockwise, as seen, about the origin."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return lambda x, y: field(c * x + s * y, c * y - s * x)


def moved(field: Field, dx: float, dy: float) -> Field:
    return lambda x, y: field(x - dx, y - dy)


def scaled(field: Field, factor: float) -> Field:
    return lambda x, y: field(x / factor, y / factor) * factor


def ramp(x: Array, start: float, end: float) -> Array:
    """0 at `start`, 1 at `end`, smooth between."""
    t = np.clip((x - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)


def noise(x: Array, y: Array, seed: int = 0) -> Array:
    """Smooth value noise in 0…1 with features of size 1, from integer hashes: equal on every machine."""
    left, top = np.floor(x), np.floor(y)
    u, v = ramp(x - left, 0, 1), ramp(y - top, 0, 1)
    a, b = _lattice(left, top, seed), _lattice(left + 1, top, seed)
    c, d = _lattice(left, top + 1, seed), _lattice(left + 1, top + 1, seed)
    return (a * (1 - u) + b * u) * (1 - v) + (c * (1 - u) + d * u) * v


def _lattice(x: Array, y: Array, seed: int) -> Array:
    """A number in 0…1 for each lattice point."""
    mixed = x.astype(np.int64) * 374761393 + y.astype(np.int64) * 668265263 + seed * 974634777
    mixed = (mixed ^ (mixed >> 13)) * 1274126177 & 0xFFFFFFFF
    return ((mixed ^ (mixed >> 16)) & 0xFFFF) / 65535.0

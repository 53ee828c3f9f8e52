"""A rectified flow followed to either end: sampling downwards in sigma, inversion upwards.

The flow is dx/dsigma = v(x, sigma); sigma 0 is the picture, 1 pure noise. RF-Solver (Wang et al. 2024, arXiv 2411.04746)
takes one more term of the Taylor series than Euler, the derivative of v from a second evaluation half a step ahead, so
that going up and down again returns closer to the start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor

Solver = Literal["rf-solver", "euler"]
SOLVERS: tuple[Solver, ...] = ("rf-solver", "euler")
Velocity = Callable[[Tensor, float], Tensor]
"""v for x [B, C, h, w] at one sigma."""


def integrate(
    velocity: Velocity,
    x: Tensor,
    sigmas: Sequence[float],
    solver: Solver,
    after_step: Callable[[int], None] | None = None,
) -> Tensor:
    """x carried from sigmas[0] to sigmas[-1], rising or falling; `after_step` is told how many steps are done."""
    for done, (start, end) in enumerate(pairwise(sigmas), 1):
        step = end - start
        slope = velocity(x, start)
        if solver == "rf-solver":
            half = step / 2
            curvature = (velocity(x + half * slope, start + half) - slope) / half
            x = x + step * slope + (step * step / 2) * curvature
        else:
            x = x + step * slope
        if after_step is not None:
            after_step(done)
    return x


def share(count: int, start: float, end: float) -> range:
    """Indices of `count` items that lie within the shares `start` to `end` of them, each item at its own beginning."""
    return range(*(round(min(max(bound, 0.0), 1.0) * count) for bound in (start, end)))


def nearest(values: Sequence[float], value: float) -> int:
    """Index of the entry of `values` closest to `value`, the first of equals."""
    return min(range(len(values)), key=lambda index: abs(values[index] - value))

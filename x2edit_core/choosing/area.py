"""Where candidates change their source, and how far they agree about it.

Most seeds of one edit change the same place: a candidate that changes nothing, or everything, stands apart from them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ..pixels import resize, size_of, to_rgb

CELLS = 24
"""Cells along each side of the map in which changes are compared; an early prediction shows no finer detail."""


def changes(source: Tensor, picture: Tensor) -> Tensor:
    """[CELLS, CELLS]: the largest difference of a channel between two pictures [H, W, 3], averaged over each cell."""
    picture = to_rgb(picture[None]).float()
    before = resize(to_rgb(source[None]).float(), size_of(picture))
    difference = (picture - before).abs().amax(-1)[:, None]
    return functional.adaptive_avg_pool2d(difference, CELLS)[0, 0]


def agreements(maps: Sequence[Tensor]) -> list[float]:
    """For each map how far it is the middle one's of them all, 0–1: what both have over what either has."""
    middle = torch.stack(list(maps)).median(0).values
    return [_overlap(each, middle) for each in maps]


def _overlap(one: Tensor, other: Tensor) -> float:
    either = float(torch.maximum(one, other).sum())
    return float(torch.minimum(one, other).sum()) / either if either > 0 else 1.0

"""Where an aligned edit differs from its source by more than its way through an editor explains."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from .colour import Tone
from .smooth import luma, slope, smooth

_BLURS = (0.0, 0.4, 0.6, 0.8, 1.0, 1.3, 1.7, 2.2)
"""Standard deviations in pixels tried for what an autoencoder softens."""
_GRAIN, _NOISE = 0.010, 3.5
"""The least difference of a channel that can be seen to be one, and that in units of the differences' own spread."""
_SHIFT, _FINE = 0.35, 0.25
"""Pixels of displacement that may be left, and the share of fine detail that may be."""
_GATHERED = 1.0
"""Standard deviation in pixels over which differences are gathered."""
_SEED, _AGAIN = 2.0, 1.0
"""A change begins where a difference is this many times what is expected, and goes on to where it is this many times."""
_SPECK = 2
"""A change is at least a square of twice this and one pixel."""
_CLOSED = 1
"""Gaps of a change up to twice these pixels are closed."""
_BLOCK = 4
"""Pixels to a side of the blocks in which a change is followed."""
_HALF, _NEAR = 0.35, 3
"""A change ends where its difference falls to this share of the largest within these pixels: it was smoothed before."""
_CLIPPED = 0.02
"""So near to black or white, the edit may have been darker or brighter than it can be."""


@dataclass(frozen=True)
class Change:
    """`region` [1, H, W] is 1 where the picture changed; `detail` is how much of the source's fine detail the rest has.

    `detail` is 1 for an edit as sharp as its source, less for a softer one, more where the edit is sharper; `rest` is the
    root mean square difference of the whole.
    """

    region: Tensor
    detail: float
    rest: float

    @property
    def share(self) -> float:
        return float(self.region.mean())


def change(source: Tensor, edit: Tensor, shown: Tensor, tone: Tone) -> Change:
    """Between two aligned pictures [1, H, W, 3] of one size, whose tones `tone` brings together.

    `shown` [1, H, W] is 0 where the edit shows nothing.
    """
    one, raw, other = (picture.movedim(-1, 1) for picture in (source, edit, tone.applied(edit)))
    rest, expected = _compared(_as_soft(one, other), other, raw)
    ratio = rest / expected * shown
    seeds = _opened((ratio > _SEED).to(ratio))
    within = (ratio > _AGAIN) & (rest > _HALF * _spread(rest, _NEAR))
    region = _closed(_grown(seeds, within.to(ratio)))
    whole = float(((other - one) * shown[:, None]).square().mean().sqrt())
    return Change(region, _detail(one, other, (1 - _spread(region, 4)) * shown), whole)


def _as_soft(source: Tensor, edit: Tensor) -> Tensor:
    """The source, blurred as much as fits the edit best where both are alike."""
    softened = [smooth(source, sigma) for sigma in _BLURS]
    return min(softened, key=lambda picture: float(_alike(picture, edit)))


def _alike(one: Tensor, other: Tensor) -> Tensor:
    rest = (one - other).square().mean(1)
    return (rest / (rest + 0.03**2)).mean()


def _compared(source: Tensor, edit: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
    """[1, H, W]: the largest difference of a channel, and what noise, softness and the last of a shift explain."""
    rest = edit - source
    rest = torch.where(_near(raw, 1.0), rest.clamp_min(0), torch.where(_near(raw, 0.0), rest.clamp_max(0), rest))
    rest = smooth(rest, _GATHERED).abs().amax(1)
    steep = torch.minimum(*(smooth(slope(picture).amax(1, keepdim=True), 1.5)[:, 0] for picture in (source, edit)))
    fine = smooth((source - smooth(source, 1.5)).abs().amax(1, keepdim=True), 1.5)[:, 0]
    noise = _NOISE * float(rest.flatten()[:: max(1, rest.numel() // 200_000)].median())
    return rest, max(_GRAIN, min(noise, 4 * _GRAIN)) + _SHIFT * steep + _FINE * fine


def _near(picture: Tensor, end: float) -> Tensor:
    """Where a channel, or a pixel beside it, lies so near to `end` that it may have been cut off there."""
    there = ((picture - end).abs() < _CLIPPED).to(picture)
    return functional.max_pool2d(there, 3, stride=1, padding=1) > 0


def _spread(mask: Tensor, reach: int) -> Tensor:
    """Grown by `reach` pixels in a square."""
    return functional.max_pool2d(mask[:, None], 2 * reach + 1, stride=1, padding=reach)[:, 0] if reach else mask


def _shrunk(mask: Tensor, reach: int) -> Tensor:
    return 1 - _spread(1 - mask, reach)


def _opened(mask: Tensor) -> Tensor:
    """Without what is narrower than a speck."""
    return _spread(_shrunk(mask, _SPECK), _SPECK)


def _closed(mask: Tensor) -> Tensor:
    return _shrunk(_spread(mask, _CLOSED), _CLOSED)


def _grown(seeds: Tensor, within: Tensor) -> Tensor:
    """All of `within` that hangs together with the seeds, by blocks: a gap narrower than one parts nothing."""
    blocks, may = (functional.max_pool2d(mask[:, None], _BLOCK, ceil_mode=True)[:, 0] for mask in (seeds, within))
    found, size = blocks * may, -1.0
    while float(found.sum()) > size:
        size = float(found.sum())
        for _ in range(16):
            found = _spread(found, 1) * may
    spread = found.repeat_interleave(_BLOCK, 1).repeat_interleave(_BLOCK, 2)[:, : seeds.shape[1], : seeds.shape[2]]
    return torch.maximum(spread * within, seeds)


def _detail(source: Tensor, edit: Tensor, weight: Tensor) -> float:
    """The slope of the edit's fine detail over the source's where both should be equal; 1 where there is none."""
    one, other = (_band(picture) * weight.sqrt()[:, None] for picture in (source, edit))
    power = float(one.square().sum())
    return (float((one * other).sum()) + 1e-6 * one.numel()) / (power + 1e-6 * one.numel())


def _band(picture: Tensor) -> Tensor:
    grey = luma(picture.movedim(1, -1))
    return smooth(grey, 1.0) - smooth(grey, 2.0)

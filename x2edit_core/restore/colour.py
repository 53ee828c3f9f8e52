"""Colours of an edit brought back to the source's, and how far apart two colours look.

Pictures are float [B, H, W, 3] sRGB in 0–1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .smooth import slope

_FLAT = 0.02
"""Slope per pixel from which on a pixel has little say in colour: blur and the last of a shift show there."""
_WIDE, _NARROW, _ROUNDS = 0.15, 0.03, 8
"""A difference that still counts as the same colour, at first and at last."""
_PRIOR_GAIN, _PRIOR_OFFSET = 0.0005, 0.0005
"""How strongly a gain of 1 (as a variance of colours) and an offset of 0 (as a share of the picture) are expected."""
_CLIPPED = 0.012
"""So near to black or white, a colour may have been cut off."""


@dataclass(frozen=True)
class Tone:
    """Per channel: the source's colour is about gain × the edit's + offset. Both [3]."""

    gain: Tensor
    offset: Tensor

    def applied(self, picture: Tensor) -> Tensor:
        return (picture * self.gain.to(picture) + self.offset.to(picture)).clamp(0.0, 1.0)

    def strength(self, picture: Tensor) -> float:
        """Mean ΔE00 that it makes to `picture`."""
        return float(delta_e00(picture, self.applied(picture)).mean())


def same_tone() -> Tone:
    return Tone(torch.ones(3), torch.zeros(3))


def fitted(source: Tensor, edit: Tensor, weight: Tensor) -> Tone:
    """The tone of the pixels that did not change, found by iterated reweighting; all [1, H, W, …] of one size.

    `weight` [1, H, W] is 0 where a pixel has no say.
    """
    steep = slope(source.movedim(-1, 1)).amax(1) + slope(edit.movedim(-1, 1)).amax(1)
    clipped = (edit < _CLIPPED) | (edit > 1 - _CLIPPED)
    say = (weight / (1 + (steep / _FLAT).square()))[..., None] * (~clipped)
    gain, offset = torch.ones(3), torch.zeros(3)
    for number in range(_ROUNDS):
        width = max(_NARROW, _WIDE * 0.7**number)
        rest = (source - edit * gain.to(edit) - offset.to(edit)).abs().amax(-1, keepdim=True)
        gain, offset = _line(edit, source, say * (1 - (rest / width).square()).clamp_min(0).square())
    return Tone(gain, offset)


def _line(x: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted least squares per channel, drawn towards y = x."""
    x, rest, weight = (part.flatten(0, 2).cpu().double() for part in (x, y - x, weight.expand_as(x)))
    total = weight.sum(0)
    share = (total / len(weight)).clamp_min(1e-9)
    a, b, c = share + _PRIOR_OFFSET, (weight * x).mean(0), (weight * x * x).mean(0) + _PRIOR_GAIN * share
    p, q = (weight * rest).mean(0), (weight * rest * x).mean(0)
    determinant = a * c - b * b
    gain, offset = 1 + (a * q - b * p) / determinant, (c * p - b * q) / determinant
    return gain.float(), offset.float()


def lab(picture: Tensor) -> Tensor:
    """CIE L*a*b* under D65 of sRGB [..., 3] (IEC 61966-2-1)."""
    linear = torch.where(picture <= 0.04045, picture / 12.92, ((picture.clamp_min(0) + 0.055) / 1.055) ** 2.4)
    matrix = torch.tensor(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    ).to(linear)
    white = torch.tensor([0.95047, 1.0, 1.08883]).to(linear)
    ratio = linear @ matrix.T / white
    root = torch.where(ratio > (6 / 29) ** 3, ratio.clamp_min(1e-9) ** (1 / 3), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = root.unbind(-1)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), dim=-1)


def delta_e00(one: Tensor, other: Tensor) -> Tensor:
    """CIEDE2000 between two pictures, [...] for [..., 3]."""
    return ciede2000(lab(one), lab(other))


def ciede2000(one: Tensor, other: Tensor) -> Tensor:
    """ΔE00 between L*a*b* colours [..., 3], as Sharma, Wu and Dalal (2005) write it."""
    lightness, a, b = one.unbind(-1)
    lightness2, a2, b2 = other.unbind(-1)
    seventh = ((torch.hypot(a, b) + torch.hypot(a2, b2)) / 2) ** 7
    stretch = 1.5 - 0.5 * (seventh / (seventh + 25.0**7)).sqrt()
    a, a2 = a * stretch, a2 * stretch
    chroma, chroma2 = torch.hypot(a, b), torch.hypot(a2, b2)
    hue, hue2 = (torch.rad2deg(torch.atan2(y, x)) % 360 for y, x in ((b, a), (b2, a2)))
    grey = chroma * chroma2 == 0
    turn = hue2 - hue
    turn = torch.where(turn > 180, turn - 360, torch.where(turn < -180, turn + 360, turn))
    turn = torch.where(grey, 0.0, turn)
    around = hue + hue2
    mean_hue = torch.where(
        (hue - hue2).abs() <= 180, around / 2, torch.where(around < 360, around / 2 + 180, around / 2 - 180)
    )
    mean_hue = torch.where(grey, around, mean_hue)
    mean_light, mean_chroma = (lightness + lightness2) / 2, (chroma + chroma2) / 2
    light = (lightness2 - lightness) / (1 + 0.015 * (mean_light - 50) ** 2 / (20 + (mean_light - 50) ** 2).sqrt())
    colourful = (chroma2 - chroma) / (1 + 0.045 * mean_chroma)
    turned = 2 * (chroma * chroma2).sqrt() * torch.sin(torch.deg2rad(turn) / 2)
    turned = turned / (1 + 0.015 * mean_chroma * _hue_weight(mean_hue))
    seventh = mean_chroma**7
    blue = torch.deg2rad(60 * torch.exp(-(((mean_hue - 275) / 25) ** 2)))
    twist = -2 * (seventh / (seventh + 25.0**7)).sqrt() * torch.sin(blue)
    return (light**2 + colourful**2 + turned**2 + twist * colourful * turned).clamp_min(0).sqrt()


def _hue_weight(degrees: Tensor) -> Tensor:
    parts = ((-0.17, 1, -30), (0.24, 2, 0), (0.32, 3, 6), (-0.20, 4, -63))
    return 1 + sum(weight * torch.cos(torch.deg2rad(times * degrees + phase)) for weight, times, phase in parts)

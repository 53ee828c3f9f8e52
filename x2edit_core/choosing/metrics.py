"""How near an edit is to a target or a source, without a language model.

Pictures are float tensors [B, H, W, 3] in 0–1, masks [B, H, W] with 1 where the edit belongs. Every measure returns
one float per picture, [B]. Measures that need weights (CLIP-I, CLIP-T, DINO) take features from `chat.features`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import X2EditError

WINDOW_PX = 11
WINDOW_SIGMA = 1.5
STABILISERS = (0.01**2, 0.03**2)
"""SSIM's window and constants are those of Wang et al. 2004, for pictures in 0–1."""
CHANGED = 8 / 255
"""A pixel counts as changed when its largest channel moved by more: what an autoencoder does to flat areas stays below."""


def l1(first: Tensor, second: Tensor) -> Tensor:
    """Mean absolute difference, 0–1."""
    _check_pair(first, second)
    return (first.float() - second.float()).abs().mean((1, 2, 3))


def psnr(first: Tensor, second: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in decibels; infinite for equal pictures."""
    _check_pair(first, second)
    return -10 * torch.log10((first.double() - second.double()).square().mean((1, 2, 3))).float()


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """Structural similarity, at most 1, the mean over channels and over the places where the whole window fits."""
    _check_pair(first, second)
    if min(first.shape[1:3]) < WINDOW_PX:
        raise X2EditError(f"SSIM needs pictures of at least {WINDOW_PX} × {WINDOW_PX} pixels.")
    one, other = (picture.double().movedim(-1, 1) for picture in (first, second))
    mean_one, mean_other = _blur(one), _blur(other)
    variance_one = _blur(one * one) - mean_one**2
    variance_other = _blur(other * other) - mean_other**2
    covariance = _blur(one * other) - mean_one * mean_other
    small, large = STABILISERS
    luminance = (2 * mean_one * mean_other + small) / (mean_one**2 + mean_other**2 + small)
    structure = (2 * covariance + large) / (variance_one + variance_other + large)
    return (luminance * structure).mean((1, 2, 3)).float()


def _blur(channels: Tensor) -> Tensor:
    """Gaussian means [B, C, H - 10, W - 10]; the window is separable."""
    places = torch.arange(WINDOW_PX, dtype=channels.dtype, device=channels.device) - WINDOW_PX // 2
    kernel = torch.exp(-places.square() / (2 * WINDOW_SIGMA**2))
    kernel = (kernel / kernel.sum()).expand(channels.shape[1], 1, 1, -1)
    rows = functional.conv2d(channels, kernel, groups=channels.shape[1])
    return functional.conv2d(rows, kernel.transpose(2, 3), groups=channels.shape[1])


@dataclass(frozen=True)
class AreaMeasures:
    """What happened inside and outside the area of the edit, each [B]."""

    changed: Tensor
    """Share of the whole picture that changed."""
    inside: Tensor
    """Share of the area that changed: 0 means that the edit was not carried out. NaN where the area is empty."""
    outside: Tensor
    """Share of the rest that changed. NaN where there is no rest."""
    l1_outside: Tensor
    psnr_outside: Tensor


def edited_area(source: Tensor, edit: Tensor, mask: Tensor | None = None, threshold: float = CHANGED) -> AreaMeasures:
    """Where `edit` differs from `source`, against the `mask` of where it should; without one, all of it is inside."""
    _check_pair(source, edit)
    difference = (source.double() - edit.double()).abs()
    wanted = torch.ones_like(difference[..., 0]) if mask is None else (mask > 0.5).to(difference)
    if wanted.shape[-2:] != difference.shape[1:3]:
        found, expected = list(wanted.shape[-2:]), list(difference.shape[1:3])
        raise X2EditError(f"The mask is {found} pixels; the pictures are {expected}.")
    wanted = wanted.expand(difference.shape[:3])
    moved = (difference.amax(-1) > threshold).to(difference)
    rest = 1 - wanted
    return AreaMeasures(
        moved.mean((1, 2)).float(),
        _mean_over(moved, wanted),
        _mean_over(moved, rest),
        _mean_over(difference.mean(-1), rest),
        -10 * torch.log10(_mean_over(difference.square().mean(-1), rest)),
    )


def _mean_over(values: Tensor, where: Tensor) -> Tensor:
    return ((values * where).sum((1, 2)) / where.sum((1, 2))).float()


def similarity(first: Tensor, second: Tensor) -> Tensor:
    """Cosine of two feature vectors [B, D], -1 to 1: CLIP-I and DINO between pictures, CLIP-T between picture and text."""
    if first.shape != second.shape:
        raise X2EditError(f"Features of shape {list(first.shape)} cannot be compared with {list(second.shape)}.")
    return functional.cosine_similarity(first.double(), second.double(), dim=-1).float()


def _check_pair(first: Tensor, second: Tensor) -> None:
    if first.shape != second.shape or first.ndim != 4:
        raise X2EditError(
            f"Pictures of shape {list(first.shape)} and {list(second.shape)} found; two of the same [batch, height, width, "
            "channels] expected. Bring them to one size first."
        )

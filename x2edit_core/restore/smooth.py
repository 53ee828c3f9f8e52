"""Smoothed pictures and their slopes, [B, C, H, W]; borders repeat."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

LUMA = (0.299, 0.587, 0.114)
"""Weights of ITU-R BT.601."""


def luma(image: Tensor) -> Tensor:
    """[B, H, W, 3] → [B, 1, H, W]."""
    return (image * torch.tensor(LUMA).to(image)).sum(-1).unsqueeze(1)


def smooth(picture: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of this standard deviation in pixels, cut off at three of them."""
    if sigma <= 0:
        return picture
    reach = max(1, round(3 * sigma))
    places = torch.arange(-reach, reach + 1).to(picture)
    kernel = torch.exp(-0.5 * (places / sigma).square())
    kernel = (kernel / kernel.sum()).expand(picture.shape[1], 1, 1, -1)
    padded = functional.pad(picture, (reach,) * 4, mode="replicate")
    rows = functional.conv2d(padded, kernel, groups=picture.shape[1])
    return functional.conv2d(rows, kernel.transpose(2, 3), groups=picture.shape[1])


def slope(picture: Tensor) -> Tensor:
    """How steep a picture is at each pixel, per pixel."""
    across, down = slopes(picture)
    return (across.square() + down.square()).sqrt()


def slopes(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences per pixel, across and down."""
    padded = functional.pad(picture, (1, 1, 1, 1), mode="replicate")
    return (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2, (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2

"""A small stand-in for FLUX's autoencoder: 16 latent channels at an eighth of the picture's size.

Pictures are [B, 3, H, W] in −1…1 with H and W divisible by 8, latents [B, 16, H/8, W/8] in the range FLUX's
autoencoder uses: (z − SHIFT) · SCALE has about unit variance.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PATCH = 8
CHANNELS = 16
SHIFT = 0.1159
SCALE = 0.3611


class PatchTransform(nn.Module):
    """Each 8×8 patch on the lowest frequencies of luma (ten) and two chroma axes (three each); no trained weights.

    `operations` is the namespace the layers come from: `torch.nn`, or the host's, whose layers can be offloaded.
    """

    def __init__(self, operations: ModuleType | type[Any] = nn) -> None:
        super().__init__()
        self.analysis = operations.Conv2d(3 * PATCH * PATCH, CHANNELS, 1, bias=False)
        self.synthesis = operations.Conv2d(CHANNELS, 3 * PATCH * PATCH, 1, bias=False)

    def encode(self, picture: Tensor) -> Tensor:
        return self.analysis(F.pixel_unshuffle(picture, PATCH)) / SCALE + SHIFT

    def decode(self, latent: Tensor) -> Tensor:
        return F.pixel_shuffle(self.synthesis((latent - SHIFT) * SCALE), PATCH)


def patch_transform_weights() -> dict[str, Tensor]:
    """State dict of `PatchTransform`: an orthonormal basis, scaled so that pictures give about unit variance."""
    basis, spread = _basis()
    return {
        "analysis.weight": (basis / spread[:, None])[:, :, None, None],
        "synthesis.weight": (basis.T * spread[None, :])[:, :, None, None].contiguous(),
    }


def _basis() -> tuple[Tensor, Tensor]:
    """Rows of the transform, [16, 192] in pixel-unshuffle order, and the usual standard deviation of each."""
    luma = torch.tensor([1.0, 1.0, 1.0]) / math.sqrt(3)
    warm = torch.tensor([1.0, 0.0, -1.0]) / math.sqrt(2)
    green = torch.tensor([1.0, -2.0, 1.0]) / math.sqrt(6)
    rows, spreads = [], []
    for colour, highest, contrast in ((luma, 3, 6.0), (warm, 1, 2.0), (green, 1, 2.0)):
        for u, v in ((u, order - u) for order in range(highest + 1) for u in range(order + 1)):
            wave = _cosine(u)[:, None] * _cosine(v)[None, :]
            rows.append((colour[:, None, None] * wave).flatten())
            spreads.append(contrast / (1 + 3 * (u + v)))
    return torch.stack(rows), torch.tensor(spreads)


def _cosine(frequency: int) -> Tensor:
    """One row of the orthonormal DCT-II of length 8."""
    grid = (torch.arange(PATCH, dtype=torch.float64) + 0.5) * math.pi * frequency / PATCH
    scale = math.sqrt((1 if frequency == 0 else 2) / PATCH)
    return (torch.cos(grid) * scale).float()

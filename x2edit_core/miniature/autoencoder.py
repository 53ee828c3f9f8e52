"""A small stand-in for FLUX's autoencoder: 16 latent channels at an eighth of the picture's size.

Pictures are [B, 3, H, W] in −1…1 with H and W divisible by 8, latents [B, 16, H/8, W/8] in the range FLUX's
autoencoder uses: (z − SHIFT) · SCALE has about unit variance. All convolutions run at the latents' resolution, which
makes it fast enough to train and use without a GPU.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

PATCH = 8
CHANNELS = 16
SHIFT = 0.1159
SCALE = 0.3611
PIXELS = 3 * PATCH * PATCH


class Autoencoder(nn.Module):
    """A linear transform of 8×8 patches, and two residual networks that know the patches around.

    `initial_weights` is a cosine transform alone; training adds what it cannot say. `operations` is the namespace the
    layers come from: `torch.nn`, or the host's, whose layers can be offloaded.
    """

    def __init__(self, operations: ModuleType | type[Any] = nn) -> None:
        super().__init__()
        self.analysis = operations.Conv2d(PIXELS, CHANNELS, 1)
        self.synthesis = operations.Conv2d(CHANNELS, PIXELS, 1)
        self.encoder = _Refiner(PIXELS, 64, CHANNELS, 1, operations)
        self.decoder = _Refiner(CHANNELS, 112, PIXELS, 3, operations)

    def encode(self, picture: Tensor) -> Tensor:
        return self.encode_normal(picture) / SCALE + SHIFT

    def decode(self, latent: Tensor) -> Tensor:
        return self.decode_normal((latent - SHIFT) * SCALE)

    def encode_normal(self, picture: Tensor) -> Tensor:
        """Latents of about zero mean and unit variance, as FLUX sees them."""
        patches = F.pixel_unshuffle(picture, PATCH)
        return self.analysis(patches) + self.encoder(patches)

    def decode_normal(self, latent: Tensor) -> Tensor:
        return F.pixel_shuffle(self.synthesis(latent) + self.decoder(latent), PATCH)


def in_patches(latents: Tensor) -> Tensor:
    """[B, 16, h, w] → [B, 128, h/2, w/2], FLUX.2's number of channels: 2 x 2 latents beside one another, and all twice."""
    return F.pixel_unshuffle(latents, 2).repeat(1, 2, 1, 1)


def out_of_patches(latents: Tensor) -> Tensor:
    """The inverse; the two copies of a value count as their mean."""
    return F.pixel_shuffle(latents.unflatten(1, (2, -1)).mean(1), 2)


class _Refiner(nn.Module):
    """Residual blocks of two 3×3 convolutions."""

    def __init__(self, given: int, width: int, wanted: int, depth: int, operations: ModuleType | type[Any]) -> None:
        super().__init__()
        self.enter = operations.Conv2d(given, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.ModuleList(operations.Conv2d(width, width, 3, padding=1) for _ in range(2)) for _ in range(depth)
        )
        self.leave = operations.Conv2d(width, wanted, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for block in self.blocks:
            first, second = block
            x = x + second(F.silu(first(F.silu(x))))
        return self.leave(F.silu(x))


def round_trip(network: Autoencoder, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One picture [H, W, 3] of 8-bit colours, encoded and decoded."""
    pixels = to_pixels(torch.from_numpy(picture)[None]).to(next(network.parameters()).dtype)
    with torch.no_grad():
        return to_picture(network.decode(network.encode(pixels)))[0].numpy()


def to_pixels(pictures: Tensor) -> Tensor:
    """uint8 [B, H, W, 3] → float [B, 3, H, W] in −1…1."""
    return pictures.movedim(-1, 1).float() / 127.5 - 1


def to_picture(pixels: Tensor) -> Tensor:
    """The inverse of `to_pixels`, clamped and rounded."""
    return ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).movedim(1, -1)


def initial_weights(seed: int = 0) -> dict[str, Tensor]:
    """State dict before training: luma's ten and two chroma axes' three lowest frequencies, refiners without effect."""
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in Autoencoder().state_dict().items()}
    weights = {name: _drawn(name, shape, generator) for name, shape in shapes.items()}
    basis, spread = _basis()
    weights["analysis.weight"] = (basis / spread[:, None])[:, :, None, None]
    weights["synthesis.weight"] = (basis.T * spread[None, :])[:, :, None, None].contiguous()
    return weights


def _drawn(name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
    if len(shape) == 1 or ".leave." in name:
        return torch.zeros(shape)
    fan_in = shape[1] * shape[2] * shape[3]
    return torch.randn(shape, generator=generator) / math.sqrt(fan_in)


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

"""Rectified flow, once for sampling and training: x_σ = (1 − σ)·x0 + σ·ε, velocity ε − x0, σ from 1 (noise) to 0.

Shapes: latents and noise [B, C, H, W], σ float [B]. FLUX's time t is σ.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

TimeLaw = Literal["uniform", "logit_normal"]
TIME_LAWS: tuple[TimeLaw, ...] = ("uniform", "logit_normal")


def noised(clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """The point at σ on the straight line from the clean latent to the noise."""
    return torch.lerp(clean, noise, _per_row(sigma, clean))


def velocity(clean: Tensor, noise: Tensor) -> Tensor:
    """What the model is to predict at every σ: the derivative of `noised` by σ."""
    return noise - clean


def clean_estimate(noisy: Tensor, predicted: Tensor, sigma: Tensor) -> Tensor:
    """x̂0, where the line through `noisy` with the predicted velocity ends."""
    return noisy - _per_row(sigma, noisy) * predicted


def step(noisy: Tensor, predicted: Tensor, sigma: float, following: float) -> Tensor:
    """Euler's step from `sigma` to `following`."""
    return noisy + (following - sigma) * predicted


def draw_sigmas(rows: int, law: TimeLaw, generator: torch.Generator, mean: float = 0.0, spread: float = 1.0) -> Tensor:
    """σ for each of `rows` samples, float32, drawn on the generator's device.

    `uniform` is what X2Edit trains with; `logit_normal`, the sigmoid of a normal number, what ICEdit trains with.
    """
    device = generator.device
    if law == "uniform":
        return torch.rand(rows, generator=generator, device=device)
    return torch.sigmoid(mean + spread * torch.randn(rows, generator=generator, device=device))


def _per_row(sigma: Tensor, like: Tensor) -> Tensor:
    return sigma.to(like).reshape(-1, *[1] * (like.ndim - 1))

"""Guidance as the pipeline of Qwen-Image applies it: the guided velocity keeps the norm of the conditional one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import X2EditError
from .families import base_of

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher


def with_rescaled_guidance(model: ModelPatcher) -> ModelPatcher:
    """A clone of `model` whose guidance keeps the norm of each token; raises `ModelMismatchError` for an unknown base."""
    _, network = base_of(model)
    if "sampler_cfg_function" in model.model_options:
        raise X2EditError(
            "Another node already decides how guidance is computed for this model, and both cannot. Remove that node (such "
            "as RescaleCFG or CFGNorm), or this one."
        )
    size = network.patch_size

    def guided(args: dict[str, Any]) -> Tensor:
        """The host's σ · v for both branches; the ratio of norms is that of v."""
        positive, negative, scale = args["cond"], args["uncond"], args["cond_scale"]
        if scale == 1.0:
            return positive
        return rescaled(negative + scale * (positive - negative), positive, size)

    clone = model.clone()
    clone.set_model_sampler_cfg_function(guided)
    return clone


def rescaled(velocity: Tensor, like: Tensor, size: int) -> Tensor:
    """`velocity` [B, C, …, h, w] with the norm of `like` in each token, `size` × `size` pixels of all channels.

    Unclamped, so it may grow; a token of zeros stays one.
    """
    norm, wanted = token_norm(velocity, size), token_norm(like, size)
    ratio = torch.where(norm > 0, wanted / norm, 1.0)
    spread = ratio.repeat_interleave(size, -2).repeat_interleave(size, -1)
    return velocity * spread[..., : velocity.shape[-2], : velocity.shape[-1]].to(velocity.dtype)


def token_norm(latent: Tensor, size: int) -> Tensor:
    """Norm of each token, float32 at least, [B, 1, …, rows, columns]; what lacks to whole tokens counts as zero."""
    wide = latent if latent.dtype == torch.float64 else latent.float()
    padded = functional.pad(
        wide.square().sum(1, keepdim=True), (0, -latent.shape[-1] % size, 0, -latent.shape[-2] % size)
    )
    rows = padded.unflatten(-1, (-1, size)).sum(-1)
    return rows.unflatten(-2, (-1, size)).sum(-2).sqrt()

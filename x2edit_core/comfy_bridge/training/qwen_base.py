"""A small Qwen-Image from nothing, of the host's own class with explicit sizes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...miniature.qwen import CONTEXT, sizes
from ...train.batches import generator
from ...train.config import QwenConfig
from ..host import comfy

_STARTS_AT_ZERO = ("_mod.", "norm_out.linear", "proj_out")
"""Modulations and the output: every block begins as the identity."""


def new_qwen(config: QwenConfig, seed: int) -> Any:
    """A Qwen-Image with float32 weights drawn from the seed: Xavier's for layers, zero for modulations and the output."""
    network = comfy.ldm.qwen_image.model.QwenImageTransformer2DModel(
        **sizes(config.hidden, config.blocks, CONTEXT),
        dtype=torch.float32,
        device=torch.device("cpu"),
        operations=comfy.ops.disable_weight_init,
    )
    source = generator(seed, "qwen")
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(_initial(name, parameter, source))
    return network.requires_grad_(True)


def _initial(name: str, parameter: Tensor, source: torch.Generator) -> Tensor:
    if any(part in name for part in _STARTS_AT_ZERO):
        return torch.zeros_like(parameter)
    if parameter.ndim == 1:
        return torch.ones_like(parameter) if "norm" in name else torch.zeros_like(parameter)
    bound = (6 / sum(parameter.shape)) ** 0.5
    return (torch.rand(parameter.shape, generator=source) * 2 - 1) * bound

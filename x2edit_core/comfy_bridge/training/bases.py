"""Small bases of the host's own classes with explicit sizes, drawn from nothing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...families import FLUX2
from ...families.flux2 import DEFAULT_METHOD
from ...miniature.qwen import CONTEXT, sizes
from ...train.batches import generator
from ...train.config import Flux2Config, FluxConfig, QwenConfig
from ..host import comfy

_ZERO_IN_FLUX = ("_mod.", "modulation", "final_layer.linear.weight")
_ZERO_IN_QWEN = ("_mod.", "norm_out.linear", "proj_out")
"""Modulations and the output begin at zero: every block begins as the identity."""


def new_flux(config: FluxConfig, seed: int) -> Any:
    """A FLUX with float32 weights drawn from the seed: Xavier's for layers, zero for modulations and the output."""
    return _drawn(_flux(config, torch.device("cpu")), generator(seed, "flux"), _ZERO_IN_FLUX)


def hollow_flux(config: FluxConfig) -> Any:
    """The same without weights."""
    return _flux(config, torch.device("meta"))


def _flux(config: FluxConfig, device: torch.device) -> Any:
    return comfy.ldm.flux.model.Flux(
        image_model="flux",
        in_channels=96 if config.fill else 16,
        out_channels=16,
        vec_in_dim=config.pooled,
        context_in_dim=config.context,
        hidden_size=config.hidden,
        mlp_ratio=4.0,
        num_heads=config.hidden // 128,
        depth=config.double,
        depth_single_blocks=config.single,
        axes_dim=[16, 56, 56],
        theta=10000,
        patch_size=2,
        qkv_bias=True,
        guidance_embed=config.guidance,
        txt_ids_dims=[],
        dtype=torch.float32,
        device=device,
        operations=comfy.ops.disable_weight_init,
    )


def new_qwen(config: QwenConfig, seed: int) -> Any:
    """A Qwen-Image with float32 weights drawn from the seed: Xavier's for layers, zero for modulations and the output."""
    return _drawn(_qwen(config, torch.device("cpu")), generator(seed, "qwen"), _ZERO_IN_QWEN)


def hollow_qwen(config: QwenConfig) -> Any:
    """The same without weights."""
    return _qwen(config, torch.device("meta"))


def _qwen(config: QwenConfig, device: torch.device) -> Any:
    return comfy.ldm.qwen_image.model.QwenImageTransformer2DModel(
        **sizes(config.hidden, config.blocks, CONTEXT),
        dtype=torch.float32,
        device=device,
        operations=comfy.ops.disable_weight_init,
    )


def new_flux2(config: Flux2Config, seed: int) -> Any:
    """A FLUX.2 with float32 weights drawn from the seed, likewise."""
    return _drawn(_flux2(config, torch.device("cpu")), generator(seed, "flux2"), _ZERO_IN_FLUX)


def hollow_flux2(config: Flux2Config) -> Any:
    """The same without weights."""
    return _flux2(config, torch.device("meta"))


def _flux2(config: Flux2Config, device: torch.device) -> Any:
    return comfy.ldm.flux.model.Flux(
        image_model="flux2",
        in_channels=FLUX2.channels,
        out_channels=FLUX2.channels,
        vec_in_dim=None,
        context_in_dim=CONTEXT,
        hidden_size=config.hidden,
        mlp_ratio=3.0,
        num_heads=config.hidden // 128,
        depth=config.double,
        depth_single_blocks=config.single,
        axes_dim=[32, 32, 32, 32],
        theta=2000,
        patch_size=1,
        qkv_bias=False,
        guidance_embed=False,
        txt_ids_dims=[3],
        global_modulation=True,
        mlp_silu_act=True,
        ops_bias=False,
        default_ref_method=DEFAULT_METHOD,
        ref_index_scale=10.0,
        dtype=torch.float32,
        device=device,
        operations=comfy.ops.disable_weight_init,
    )


def _drawn(network: nn.Module, source: torch.Generator, zero: tuple[str, ...]) -> nn.Module:
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(_initial(name, parameter, source, zero))
    return network.requires_grad_(True)


def _initial(name: str, parameter: Tensor, source: torch.Generator, zero: tuple[str, ...]) -> Tensor:
    if any(part in name.lower() for part in zero):
        return torch.zeros_like(parameter)
    if parameter.ndim == 1:
        return torch.ones_like(parameter) if "norm" in name else torch.zeros_like(parameter)
    bound = (6 / sum(parameter.shape)) ** 0.5
    return (torch.rand(parameter.shape, generator=source) * 2 - 1) * bound

"""Sizes of the embedded Qwen-Image, which no loader could guess: the host reads a Qwen-Image's depth and channels only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .autoencoder import CHANNELS

PATCH = 2
HEAD = 32
"""Width of an attention head, which the axes share as 16, 56 and 56 share the 128 of the released one, a little evener."""
AXES = (8, 12, 12)
KIND = "x2edit demo Qwen-Image"
"""What the metadata of such a file call it."""
CONTEXT = 192
"""Channels of the embedded text encoder: `txt_in` is the projection trained along with the base."""


def sizes(hidden: int, blocks: int, context: int = CONTEXT) -> dict[str, Any]:
    """Arguments of the host's model class; `hidden` is a multiple of `HEAD`."""
    return {
        "patch_size": PATCH,
        "in_channels": CHANNELS * PATCH * PATCH,
        "out_channels": CHANNELS,
        "num_layers": blocks,
        "attention_head_dim": HEAD,
        "num_attention_heads": hidden // HEAD,
        "joint_attention_dim": context,
        "axes_dims_rope": AXES,
    }


def sizes_of(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments with which a state dict was made, read from its shapes."""
    blocks = {name.split(".")[1] for name in weights if name.startswith("transformer_blocks.")}
    return sizes(weights["img_in.weight"].shape[0], len(blocks), weights["txt_norm.weight"].shape[0])

"""The embedded miniature: everything a first edit needs, without a download.

`scenes` draws pictures whose exact edit is known, `autoencoder` and `text` stand in for FLUX's VAE and text encoders
and for those of Qwen-Image, whose sizes are in `qwen`, and `weights/` holds the models, which `tools/dev.py miniature`
makes again. This file only says where they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = Path(__file__).parent / "weights"
FLUX = WEIGHTS / "flux.safetensors"
TEXT = WEIGHTS / "text.safetensors"
QWEN = WEIGHTS / "qwen.safetensors"
AUTOENCODER = WEIGHTS / "autoencoder.safetensors"

BASES = ("x2edit", "fill", "qwen")
"""The bases, by the name of the `X2EditDemoModels` option. The first two lie in `FLUX`, which has learnt both forms."""

EMBEDDED: dict[str, Path] = {
    "embedded: x2edit": WEIGHTS / "x2edit.safetensors",
    "embedded: icedit": WEIGHTS / "icedit_moe.safetensors",
    "embedded: icedit plain": WEIGHTS / "icedit.safetensors",
    "embedded: x2edit qwen": WEIGHTS / "x2edit_qwen.safetensors",
}
"""Adapters, by the name under which the loader offers them."""

PLAIN_FEATURES = 64
"""Features of one patch of a plain FLUX: 16 latent channels of 2 × 2; FLUX Fill's 320 others come after them."""


def without_fill(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A FLUX Fill that has learnt both forms, as the plain FLUX within it: the same, but for the inputs of a patch."""
    first = "img_in.weight"
    return {
        name: tensor[:, :PLAIN_FEATURES].contiguous() if name == first else tensor for name, tensor in weights.items()
    }


def with_guidance(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights with FLUX dev's guidance embedding at zero, so that guidance does nothing.

    By that embedding the host knows dev, and with it the spread of sigmas that the miniature was trained for.
    """
    zeros = {
        name.replace("time_in.", "guidance_in.", 1): tensor.new_zeros(tensor.shape)
        for name, tensor in weights.items()
        if name.startswith("time_in.")
    }
    return {**weights, **zeros}

"""The embedded miniature: everything a first edit needs, without a download.

`scenes` draws pictures whose exact edit is known, `autoencoder` and `text` stand in for FLUX's VAE and text encoders,
and `weights/` holds the models. This file only says where they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = Path(__file__).parent / "weights"

GOLDEN = WEIGHTS / "golden"
"""Random models whose outputs the research code recorded; `tests/data/golden` holds inputs and outputs."""

BASES: dict[str, Path] = {
    "x2edit": GOLDEN / "x2edit" / "flux_base_diffusers.safetensors",
    "fill": GOLDEN / "icedit_moe" / "flux_fill_base_diffusers.safetensors",
}
"""The FLUX bases by the name of the `X2EditDemoModels` option."""

AUTOENCODER = WEIGHTS / "autoencoder.safetensors"
"""Made by `train_autoencoder`."""

EMBEDDED: dict[str, Path] = {
    "embedded: x2edit": GOLDEN / "x2edit",
    "embedded: icedit": GOLDEN / "icedit_moe",
}
"""Folders with adapters in the released layouts, by the name under which the loader offers them."""

PLAIN_FEATURES = 64
"""Features of one patch of a plain FLUX: 16 latent channels of 2 × 2; FLUX Fill's 320 others come after them."""


def without_fill(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A FLUX Fill that has learnt both forms, as the plain FLUX within it: the same, but for the inputs of a patch."""
    first = "img_in.weight"
    return {
        name: tensor[:, :PLAIN_FEATURES].contiguous() if name == first else tensor for name, tensor in weights.items()
    }

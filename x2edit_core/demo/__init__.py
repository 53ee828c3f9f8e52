"""The embedded miniature: everything a first edit needs, without a download.

`scenes` draws pictures whose exact edit is known, `autoencoder` and `text` stand in for FLUX's VAE and text encoders,
and `weights/` holds the models. This file only says where they are.
"""

from __future__ import annotations

from pathlib import Path

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

"""FLUX.2: FLUX's blocks by name, and X2Edit's places in them; what differs is around those places.

One modulation for all blocks instead of one each, no biases, an MLP of two halves (SwiGLU: `linear1` is 9 widths, of which
q, k and v are the first three as in FLUX.1), no pooled text, and latents of 128 channels whose every pixel is a token.
"""

from __future__ import annotations

from typing import Any

from ..shift import Flux2Schedule
from .family import Family
from .flux1 import FluxShape, x2edit_sites

METHODS = ("index", "index_timestep_zero")
"""Ways of the host to show a reference that adapters can be trained with: at the target's time, or as clean tokens (t = 0)."""
DEFAULT_METHOD = METHODS[0]
"""What FLUX.2 itself edits by."""


def _looks_like(module: Any) -> bool:
    parts = ("double_blocks", "single_blocks", "img_in", "double_stream_modulation_img", "single_stream_modulation")
    return all(hasattr(module, part) for part in parts)


def _shape_of(module: Any) -> FluxShape:
    return FluxShape(module.hidden_size, len(module.double_blocks), len(module.single_blocks))


FLUX2 = Family(
    name="flux2",
    title="FLUX.2",
    models="a FLUX.2 klein or dev model",
    shape=FluxShape,
    tables={"x2edit": x2edit_sites},
    looks_like=_looks_like,
    shape_of=_shape_of,
    schedule=Flux2Schedule(),
    channels=128,
    latent_px=16,
)

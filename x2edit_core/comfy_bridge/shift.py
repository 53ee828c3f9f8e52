"""The resolution-dependent shift on a model of the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..shift import shift_for
from . import admitted
from .host import comfy
from .models import require_flux
from .stack import token_grid

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher

_TABLE = 55_440
"""Rows of the sigma table. The host's 10,000 round a schedule by up to 6e-4 for large pictures; these divide evenly by
most numbers of steps, and otherwise round by less than 2e-4."""


def with_shift(model: ModelPatcher, latent: dict[str, Any]) -> ModelPatcher:
    """A clone of `model` with the shift for pictures of the latent's size; raises `ModelMismatchError` if no FLUX.1."""
    rows, columns = token_grid(require_flux(model), admitted.latent(latent)["samples"])
    parts = comfy.model_sampling.ModelSamplingFlux, comfy.model_sampling.CONST
    sampling = type("ShiftedFlux", parts, {})(model.model.model_config)
    sampling.set_parameters(shift=shift_for(rows * columns), timesteps=_TABLE)
    clone = model.clone()
    clone.add_object_patch("model_sampling", sampling)
    return clone

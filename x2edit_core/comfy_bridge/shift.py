"""The resolution-dependent shift on a model of the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from . import admitted
from .families import base_of
from .host import comfy, latent_for
from .placement import token_grid

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher

_TABLE = 55_440
"""Rows of the sigma table. The host's 10,000 round a schedule by up to 6e-4 for large pictures; these divide evenly by
most numbers of steps, and otherwise round by less than 2e-4."""


def with_shift(model: ModelPatcher, latent: dict[str, Any]) -> ModelPatcher:
    """A clone of `model` with the shift for pictures of the latent's size; raises `ModelMismatchError` for an unknown one.

    A schedule with a terminal sigma is stretched by it, which no shift of a model expresses: `pipeline_sigmas` does.
    """
    family, network = base_of(model)
    rows, columns = token_grid(network, latent_for(model, admitted.latent(latent)))
    parts = comfy.model_sampling.ModelSamplingFlux, comfy.model_sampling.CONST
    sampling = type("ShiftedFlux", parts, {})(model.model.model_config)
    sampling.set_parameters(shift=family.schedule.mu(rows * columns), timesteps=_TABLE)
    clone = model.clone()
    clone.add_object_patch("model_sampling", sampling)
    return clone


def pipeline_sigmas(model: ModelPatcher, latent: dict[str, Any], steps: int, denoise: float = 1.0) -> Tensor:
    """The sigmas float32 [steps + 1] of the model's own pipeline for a picture of the latent's size, 0 at the end.

    `denoise` below 1 gives the last `steps` of a longer schedule, as the host's schedulers do.
    """
    family, network = base_of(model)
    rows, columns = token_grid(network, latent_for(model, admitted.latent(latent)))
    whole = family.schedule.sigmas(max(steps, int(steps / denoise)), rows * columns)
    return torch.tensor(whole[-(steps + 1) :], dtype=torch.float32)

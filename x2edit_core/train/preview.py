"""Pictures on the way: a few samples edited by the model as it stands."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .. import flow
from ..shift import Spread
from .forms import tokens_of
from .model import Inputs, Model
from .samples import Batch, TextEncoder

Decoder = Callable[[Tensor], Tensor]
"""Model-space latents [B, 16, h, w] → pictures float [B, H, W, 3] in 0…1."""
SHOWN = 4


class Preview:
    """The first samples of a batch, always with the same noise, so that sheets of different steps compare."""

    def __init__(self, batch: Batch, decode: Decoder, steps: int, schedule: Spread) -> None:
        self._batch, self._decode, self._steps, self._schedule = batch.first(SHOWN), decode, steps, schedule

    def draw(self, model: Model, text: TextEncoder, path: Path) -> None:
        """A sheet of one row per sample: what it is shown, what the model makes of it, what it should make."""
        edited = sampled(model, text, self._batch, self._steps, self._schedule)
        columns = [self._batch.reference, edited, self._batch.target]
        pictures = [self._decode(column.float().cpu()) for column in columns if column is not None]
        rows = torch.cat([part.flatten(0, 1) for part in pictures], 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((rows.clamp(0, 1) * 255).round().numpy().astype(np.uint8)).save(path)


@torch.no_grad()
def sampled(model: Model, text: TextEncoder, batch: Batch, steps: int, schedule: Spread) -> Tensor:
    """The batch edited from its own noise by Euler steps over the reference pipeline's sigmas, [B, 16, h, w]."""
    device = model.device
    context, pooled = text(batch.instructions)
    references = () if batch.reference is None else (batch.reference.to(device),)
    concat = None if batch.concat is None else batch.concat.to(device)
    latent = batch.noise.to(device)
    sigmas = schedule.sigmas(steps, tokens_of(latent))
    for sigma, following in itertools.pairwise(sigmas):
        times = torch.full((len(latent),), sigma, device=device)
        inputs = Inputs(latent, times, context, pooled, batch.tasks, references, concat)
        with model.predicting(inputs) as prediction:
            latent = flow.step(latent, prediction.velocity, sigma, following)
    return latent

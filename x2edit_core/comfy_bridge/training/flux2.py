"""The host's FLUX.2 as a model that can be trained: FLUX.1's blocks, with what surrounds them as the host does it.

References stand where the host puts them and are modulated by it, so that a pass differs from one of inference in nothing
but what autograd needs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...adapters.adapter import REFERENCES
from ...adapters.attach import Forward
from ...families.flux2 import DEFAULT_METHOD
from ...train.model import Inputs
from ..families.flux2 import CLEAN, filled, for_both_times, require_method
from .flux import Rotary, TrainableFlux


class TrainableFlux2(TrainableFlux):
    """A FLUX.2 of the host with an optional adapter, as `train.model.Model`."""

    def _forward(self, inputs: Inputs, options: dict[str, Any]) -> Tensor:
        dtype = torch.float32 if self.settings.autocast else self.settings.dtype
        guidance, placed = self._guidance(inputs), {}
        if inputs.references:
            method = self._method()
            placed = {
                "ref_latents": [reference.to(dtype) for reference in inputs.references],
                "ref_latents_method": method,
            }
            guidance = for_both_times(self.network, guidance) if method == CLEAN else guidance
        # A base of one's own learns without the zeros, which would be nine tenths of a small one's tokens.
        context = (filled(inputs.context) if self.adapter else inputs.context).to(dtype)
        return self.network(
            inputs.noisy.to(dtype), inputs.sigma, context, None, guidance, transformer_options=options, **placed
        )

    def _method(self) -> str:
        method = self.adapter.spec.notes.get(REFERENCES, DEFAULT_METHOD) if self.adapter else DEFAULT_METHOD
        require_method(method)
        return method

    def _passing_swaps(self, inputs: Inputs) -> tuple[list[tuple[nn.Module, Forward]], dict[str, Any]]:
        del inputs
        rotary = Rotary(self.network)
        patches = {"post_input": [rotary.take_positions]}
        return [], {"patches": patches, "optimized_attention_override": rotary.attention}

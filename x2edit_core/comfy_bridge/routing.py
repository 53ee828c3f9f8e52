"""One model evaluation with the gates watched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import X2EditError
from . import admitted
from .families import base_of
from .host import comfy, latent_for
from .models import current_stack, with_stack
from .placement import token_grid
from .stack import KEY

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher

PROJECTIONS = ("q", "k", "v", "proj")


@dataclass(frozen=True)
class Routing:
    """Gate outputs [B, T, E] of the image tokens at one place, and the token grids they belong to."""

    gate: Tensor
    grids: list[tuple[int, int]]
    place: str


def watch_routing(
    model: ModelPatcher,
    conditioning: Any,
    latent: dict[str, Any],
    sigma: float,
    stream: str,
    index: int,
    projection: str,
) -> Routing:
    """Evaluate `model` once at `sigma` (1 = pure noise, seed 0) and return the gate of one block's projection.

    Raises `X2EditError` when no routed adapter is applied, the block does not exist, or the adapter rests at this sigma.
    """
    stack = current_stack(model)
    if stack is None:
        raise X2EditError("No X2Edit adapter is applied to this model; connect the output of Apply X2Edit Adapter.")
    path, position = _site(model, stream, index, projection)
    seen: list[Tensor] = []

    def observe(module: str, gate: Tensor) -> None:
        if module == path:
            seen.append(gate[:, :, position].cpu())

    watched = with_stack(model, stack.watched(observe), model.get_additional_models_with_key(KEY))
    samples = latent_for(model, admitted.latent(latent))
    guider = comfy.samplers.CFGGuider(watched)
    guider.set_conds(conditioning, conditioning)
    guider.set_cfg(1.0)
    noise = comfy.sample.prepare_noise(samples, 0)
    guider.sample(noise, samples, comfy.samplers.sampler_object("euler"), torch.tensor([sigma, 0.0]), disable_pbar=True)
    if not seen:
        raise X2EditError(
            f"No expert was routed at {path} and sigma {sigma}: the adapter has none there or rests then."
        )
    _, network = base_of(model)
    references = conditioning[0][1].get("reference_latents", [])
    grids = [token_grid(network, item) for item in (samples, *references)]
    image_tokens = sum(height * width for height, width in grids)
    return Routing(seen[-1][:, -image_tokens:], grids, f"{path} · {projection} at sigma {sigma:g}")


def _site(model: ModelPatcher, stream: str, index: int, projection: str) -> tuple[str, int]:
    """Module path and position among its projections; negative indices count from the last block."""
    family, network = base_of(model)
    prefix = f"{'single_' if stream == 'single' else ''}transformer_blocks."
    places = {
        slot.key.removeprefix(prefix): (site.module, position)
        for site in family.sites("x2edit", family.shape_of(network))
        for position, slot in enumerate(site.slots)
        if slot.key.startswith(prefix)
    }
    blocks = len({key.split(".")[0] for key in places})
    if not blocks:
        raise X2EditError(f"A {family.title} has no {stream} blocks; choose the other kind.")
    if not -blocks <= index < blocks:
        raise X2EditError(f"Block {index} was asked for; this model has {blocks} {stream} blocks, 0 to {blocks - 1}.")
    place = places.get(f"{index % blocks}.attn.processor.{projection}_moe_lora")
    if place is None:
        raise X2EditError(
            f"The {stream} blocks of a {family.title} have experts on q, k and v only; choose one of these"
            + (", or a double block." if stream == "single" else ".")
        )
    return place

"""New adapters, as upstream starts them: random down-projections and gates, zero up-projections, so that they add nothing."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..adapter import Adapter, AdapterSpec
from ..sites import FluxShape, Site
from ..tasks import TASK_COUNT
from .batches import generator
from .config import AdapterConfig, Kind


def spec_for(kind: Kind, config: AdapterConfig, shape: FluxShape) -> AdapterSpec:
    """What an adapter of this kind is. `lora` has the sites of `x2edit` with the always-on part alone."""
    table = kind if kind.startswith("icedit") else "x2edit"
    plain = kind in ("lora", "icedit")
    experts = 0 if plain else config.experts
    return AdapterSpec(
        table,
        shape,
        experts,
        config.rank,
        max(1, min(config.top_k, experts)),
        config.alpha or float(config.rank),
        shared=kind == "lora" or (config.shared and not kind.startswith("icedit")),
        order="topk_first" if kind == "icedit_moe" else "softmax_first",
        offsets=(0, 0) if kind.startswith("icedit") else (config.offset_512, config.offset_1024),
        plain_rank=config.plain_rank,
    )


def new_adapter(spec: AdapterSpec, task_aware: bool, seed: int) -> Adapter:
    """An adapter with float32 weights drawn from the seed; the task table is as wide as the FLUX."""
    source = generator(seed, "adapter")
    task_width = spec.shape.hidden if task_aware else 0
    deltas = []
    for site in spec.sites:
        shapes = spec.shapes_at(site, task_width)
        drawn = _drawn(spec, site, shapes, task_width, source)
        deltas.append(spec.pack(site, drawn["down_gate"], drawn.get("task_gate"), torch.zeros(shapes["up"])))
    table = torch.randn(TASK_COUNT, task_width, generator=source) if task_aware else None
    return Adapter(spec, deltas, table, "a new adapter").requires_grad_(True)


def _drawn(
    spec: AdapterSpec, site: Site, shapes: dict[str, tuple[int, ...]], task_width: int, source: torch.Generator
) -> dict[str, Tensor]:
    """Down-projections N(0, 1/rank²), gates uniform within 1/√fan-in: Kaiming's with slope √5."""
    rows, width = shapes["down_gate"]
    gates = len(site.slots) * spec.experts_at(site)
    ranks = torch.tensor(spec.ranks_at(site) * len(site.slots))
    spread = (1.0 / ranks).repeat_interleave(ranks)
    down = torch.randn(rows - gates, width, generator=source) * spread[:, None]
    bound = 1 / math.sqrt(width + task_width)
    gate = (torch.rand(gates, width + task_width, generator=source) * 2 - 1) * bound
    drawn = {"down_gate": torch.cat((down, gate[:, :width]))}
    return drawn | ({"task_gate": gate[:, width:].contiguous()} if "task_gate" in shapes else {})

"""New adapters, as upstream starts them: random down-projections and gates, zero up-projections, so that they add nothing."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..adapters.adapter import REFERENCES, Adapter, AdapterSpec
from ..adapters.moe import LowRank
from ..families import FLUX1, FLUX2, Family, Shape, Site
from ..tasks import TASK_COUNT
from .batches import generator
from .config import AdapterConfig, Kind


def spec_for(kind: Kind, config: AdapterConfig, shape: Shape, family: Family = FLUX1) -> AdapterSpec:
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
        offsets=(0, 0)
        if kind.startswith("icedit") or not family.row_offsets
        else (config.offset_512, config.offset_1024),
        notes={REFERENCES: config.references} if family is FLUX2 else {},
        plain_rank=config.plain_rank,
        family=family.name,
    )


def new_adapter(spec: AdapterSpec, task_aware: bool, seed: int) -> Adapter:
    """An adapter with float32 weights drawn from the seed; the task table is as wide as the model."""
    source = generator(seed, "adapter")
    task_width = spec.shape.hidden if task_aware else 0
    deltas = []
    for site in spec.sites:
        parts, gates = _drawn(spec, site, task_width, source)
        deltas.append(spec.of_parts(site, parts, gates))
    table = torch.randn(TASK_COUNT, task_width, generator=source) if task_aware else None
    return Adapter(spec, deltas, table, "a new adapter").requires_grad_(True)


def _drawn(
    spec: AdapterSpec, site: Site, task_width: int, source: torch.Generator
) -> tuple[list[list[LowRank]], list[Tensor]]:
    """Down-projections N(0, 1/rank²), gates uniform within 1/√fan-in: Kaiming's with slope √5. All downs are drawn first."""
    ranks = spec.ranks_at(site)
    each = torch.tensor(ranks * len(site.slots))
    spread = (1.0 / each).repeat_interleave(each)
    down = torch.randn(len(spread), site.in_width, generator=source) * spread[:, None]
    parts = [
        [(part, torch.zeros(site.width, rank)) for part, rank in zip(of_slot.split(ranks), ranks, strict=True)]
        for of_slot in down.chunk(len(site.slots))
    ]
    fan_in, experts = site.in_width + task_width, spec.experts_at(site)
    bound = 1 / math.sqrt(fan_in)
    gates = (torch.rand(len(site.slots) * experts, fan_in, generator=source) * 2 - 1) * bound
    return parts, list(gates.split(experts)) if experts else []

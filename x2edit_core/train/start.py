"""A new adapter that begins as an earlier one: of the same size, or widened so that it does exactly what that did.

Further ranks, an always-on part, a task and, beside an always-on part alone, experts begin with up-projections or gates of
zero and change nothing. Other experts beside experts would take part in the gates' choice from the first step; so would
another top-k. Those are refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..adapters.adapter import Adapter, AdapterSpec
from ..adapters.moe import LowRank, RoutedDelta
from ..errors import ModelMismatchError, X2EditError
from ..families import Site
from .adapters import new_adapter
from .config import AdapterConfig


def begun_from(earlier: Adapter, spec: AdapterSpec, config: AdapterConfig, task_aware: bool, seed: int) -> Adapter:
    """An adapter of `spec` with float32 weights that does what `earlier` does; what it has beyond that is of the seed.

    Its scale is the earlier one's where `config` leaves alpha open. Raises `X2EditError` that names all differences where it
    cannot be exact.
    """
    if earlier.spec.family != spec.family or earlier.spec.shape != spec.shape:
        raise ModelMismatchError(
            f"The adapter to start from, {earlier.source}, was made for a {earlier.spec.model}; this run trains on a "
            f"{spec.model}. Start from one that was made for this base, or leave adapter.start empty."
        )
    if not config.alpha:
        spec = replace(spec, alpha=earlier.spec.scale * spec.rank)
    if faults := list(_faults(earlier, spec, task_aware)):
        raise X2EditError(
            f"The adapter to start from is {earlier.source}: {earlier.describe()}. It cannot become what this run trains: "
            f"{'; '.join(faults)}."
        )
    fresh = new_adapter(spec, task_aware, seed)
    deltas = [_joined(spec, site, earlier.delta(index), fresh.delta(index)) for index, site in enumerate(spec.sites)]
    table = earlier.task_table if task_aware and earlier.task_table is not None else fresh.task_table
    table = None if table is None else table.detach().float().cpu().clone()
    return Adapter(spec, deltas, table, f"begun from {earlier.source}").requires_grad_(True)


def fingerprint(adapter: Adapter) -> str:
    """A name for an adapter's weights, whatever file they came from."""
    digest = hashlib.sha256(repr(replace(adapter.spec, notes={})).encode())
    for name, tensor in sorted(adapter.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().contiguous().cpu().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _faults(earlier: Adapter, spec: AdapterSpec, task_aware: bool) -> Iterator[str]:
    old = earlier.spec
    if old.kind != spec.kind:
        yield f"kind {spec.kind} has other places than {old.kind}: train that kind"
        return
    if earlier.sites != spec.sites:
        yield "only a part of it is there"
        return
    if old.rank > spec.rank:
        yield f"rank {spec.rank} is smaller: set rank = {old.rank} or more"
    plain = (old.plain_rank or old.rank, spec.plain_rank or spec.rank)
    if plain[0] > plain[1] and not all(site.routed for site in spec.sites):
        yield f"plain_rank {plain[1]} is smaller: set plain_rank = {plain[0]} or more"
    if old.experts != spec.experts and old.experts:
        yield (
            f"{spec.experts} experts: further ones would take part in the gates' choice, so that it would no longer do the "
            f"same, and fewer would lose what the others learnt: set experts = {old.experts}"
        )
    elif old.experts and (old.top_k, old.order) != (spec.top_k, spec.order):
        yield f"top_k = {spec.top_k}: set top_k = {old.top_k}"
    if old.shared and not spec.shared:
        yield "it has an always-on part: set shared = true"
    if old.scale != spec.scale:
        yield f"alpha = {spec.alpha:g}: set alpha = {old.scale * spec.rank:g}, or 0 to take its scale"
    if earlier.task_aware and not task_aware and old.experts:
        yield "its gates read the task: train kind x2edit"
    if old.offsets != spec.offsets:
        yield f"its references stand {old.offsets} rows away: set offset_512 = {old.offsets[0]}, offset_1024 = {old.offsets[1]}"


def _joined(spec: AdapterSpec, site: Site, old: RoutedDelta, new: RoutedDelta) -> RoutedDelta:
    slots = range(len(site.slots))
    parts = [_parts(old, new, slot) for slot in slots]
    gates = [_gate(old, new, slot) for slot in slots] if new.experts else []
    return spec.of_parts(site, parts, gates)


def _parts(old: RoutedDelta, new: RoutedDelta, slot: int) -> list[LowRank]:
    """The new parts of a projection with the old ones in their places: experts by number, the always-on part last."""
    earlier, parts = old.parts(slot), [(_plain(down), _plain(up)) for down, up in new.parts(slot)]
    places: Sequence[int] = [*range(old.experts), *([new.experts] if old.shared else [])]
    for place, (down, up) in zip(places, earlier, strict=True):
        parts[place][0][: len(down)] = down.detach().to(parts[place][0])
        parts[place][1][:, : up.shape[1]] = up.detach().to(parts[place][1])
    return parts


def _gate(old: RoutedDelta, new: RoutedDelta, slot: int) -> Tensor:
    """The old gate, its task half zero where it had none; the new one beside an always-on part alone."""
    gate = _plain(new.gate(slot))
    if not old.experts:
        return gate
    earlier = old.gate(slot).detach()
    gate[:, : earlier.shape[1]] = earlier.to(gate)
    gate[:, earlier.shape[1] :] = 0
    return gate


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().float().cpu().clone()

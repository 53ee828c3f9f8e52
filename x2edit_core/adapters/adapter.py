"""An adapter in memory: what its file says it is, its packed experts by site, and its task table."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from ..errors import ModelMismatchError, X2EditError
from ..families import FLUX1, Family, Shape, Site, family_named
from ..tasks import TASK_COUNT, TaskChoice
from .moe import LowRank, RoutedDelta, Routing, packed_shapes

REFERENCES = "references"
"""Note of an adapter for a model whose references the host places: the host's method that it was trained with."""


@dataclass(frozen=True)
class AdapterSpec:
    """Everything about an adapter that its tensors' shapes alone do not tell; travels in the file's metadata.

    `alpha` / `rank` scales every part; `plain_rank` is the rank of sites without experts, 0 for the same. `offsets` are
    the reference row offsets below and above 1,024 target tokens, zeros for an adapter that has no use for them. `family`
    names the kind of model that `shape` is of.
    """

    kind: str
    shape: Shape
    experts: int
    rank: int
    top_k: int
    alpha: float
    shared: bool
    order: Literal["softmax_first", "topk_first"] = "softmax_first"
    offsets: tuple[int, int] = (64, 128)
    notes: dict[str, str] = field(default_factory=dict)
    plain_rank: int = 0
    family: str = FLUX1.name

    def __post_init__(self) -> None:
        whole = {"experts": (0, 1024), "rank": (1, 1 << 14), "top_k": (1, 1024), "plain_rank": (0, 1 << 14)}
        for name, (least, most) in whole.items():
            value = getattr(self, name)
            if not isinstance(value, int) or not least <= value <= most:
                raise X2EditError(f"{name} = {value!r} found; a whole number from {least} to {most} was expected.")
        if not isinstance(self.alpha, int | float) or not math.isfinite(self.alpha):
            raise X2EditError(f"alpha = {self.alpha!r} found; a finite number was expected.")
        if len(self.offsets) != 2 or not all(isinstance(offset, int) for offset in self.offsets):
            raise X2EditError(f"offsets = {self.offsets!r} found; two whole numbers were expected.")
        if self.order not in ("softmax_first", "topk_first"):
            raise X2EditError(f"gate order {self.order!r} is not known; softmax_first or topk_first was expected.")
        if not isinstance(self.shape, self.made_for.shape):
            raise X2EditError(f"{self.shape} found; the width and depth of a {self.made_for.title} were expected.")

    @property
    def made_for(self) -> Family:
        return family_named(self.family)

    @property
    def model(self) -> str:
        """The model that it was made for, in words."""
        return f"{self.made_for.title} with {self.shape}"

    @property
    def sites(self) -> tuple[Site, ...]:
        return self.made_for.sites(self.kind, self.shape)

    @property
    def routing(self) -> Routing:
        return Routing(self.top_k, self.order)

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    def experts_at(self, site: Site) -> int:
        return self.experts if site.routed else 0

    def ranks_at(self, site: Site) -> tuple[int, ...]:
        """Ranks of the low-rank parts packed at `site`: its experts, then the always-on part if there is one."""
        if not site.routed:
            return (self.plain_rank or self.rank,)
        return (self.rank,) * (self.experts + self.shared)

    def shapes_at(self, site: Site, task_width: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the packed tensors of `site`; `task_width` 0 for gates without task."""
        packed, experts = sum(self.ranks_at(site)), self.experts_at(site)
        return packed_shapes(len(site.slots), experts, packed, site.in_width, site.width, task_width)

    def pack(self, site: Site, down_gate: Tensor, task_gate: Tensor | None, up: Tensor) -> RoutedDelta:
        """The packed tensors of `site` as a module that computes its delta."""
        return RoutedDelta(
            down_gate,
            task_gate,
            up,
            experts=self.experts_at(site),
            shared=self.shared or not site.routed,
            routing=self.routing,
            scale=self.scale,
        )

    def of_parts(self, site: Site, parts: Sequence[Sequence[LowRank]], gates: Sequence[Tensor]) -> RoutedDelta:
        """Likewise from each slot's experts, then its always-on part, and its gate: see `RoutedDelta.of`."""
        shared = self.shared or not site.routed
        return RoutedDelta.of(parts, gates, shared=shared, routing=self.routing, scale=self.scale)


class Adapter(nn.Module):
    """Packed experts of every site, and the task table [16, C] or None.

    A module, so that the host's memory manager can count, move and free it as a whole. `deltas` follow `sites`, which
    are all of `spec.sites` unless this is a part of an adapter.
    """

    def __init__(
        self,
        spec: AdapterSpec,
        deltas: Sequence[RoutedDelta],
        task_table: Tensor | None,
        source: str,
        sites: tuple[Site, ...] | None = None,
    ) -> None:
        super().__init__()
        self.spec, self.source = spec, source
        self.sites = spec.sites if sites is None else sites
        if len(deltas) != len(self.sites):
            raise X2EditError(f"{len(deltas)} packed sites found, {len(self.sites)} expected for {spec.model}.")
        self.deltas = nn.ModuleList(deltas)
        self.task_table = None if task_table is None else nn.Parameter(task_table, requires_grad=False)

    def delta(self, index: int) -> RoutedDelta:
        """The packed experts of `self.sites[index]`."""
        module = self.deltas[index]
        assert isinstance(module, RoutedDelta)
        return module

    @property
    def task_aware(self) -> bool:
        return self.task_table is not None

    @property
    def dtype(self) -> torch.dtype:
        return self.delta(0).up.dtype

    def routed_part(self) -> Adapter | None:
        """What remains once the plain sites are in the model's weights: the routed sites, on the same modules."""
        return self.part(lambda site: site.routed)

    def part(self, wanted: Callable[[Site], bool]) -> Adapter | None:
        """The sites that are wanted, on the same modules: the adapter itself if all are, None if none is."""
        kept = [index for index, site in enumerate(self.sites) if wanted(site)]
        if len(kept) == len(self.sites):
            return self
        deltas, sites = [self.delta(index) for index in kept], tuple(self.sites[index] for index in kept)
        return Adapter(self.spec, deltas, self.task_table, self.source, sites) if kept else None

    def task_embeddings(self, entries: Sequence[TaskChoice]) -> Tensor:
        """Rows of the task table, mixed as each entry says: [entries, C] in the table's dtype (float32 at least)."""
        if self.task_table is None:
            raise X2EditError(f"{self.source} has no task table; a task has no meaning for it.")
        table = self.task_table if self.task_table.dtype == torch.float64 else self.task_table.float()
        mix = table.new_zeros(len(entries), TASK_COUNT)
        for row, entry in enumerate(entries):
            for task_id, share in entry.weights().items():
                mix[row, task_id] = share
        return mix @ table

    def require_fit(self, family: Family, shape: Shape) -> None:
        """Raise `ModelMismatchError` unless the adapter was made for a model of this family and shape."""
        if family is not self.spec.made_for or shape != self.spec.shape:
            raise ModelMismatchError(
                f"{self.source} was made for a {self.spec.model}; a {family.title} with {shape} is connected. "
                "Connect the base model that the adapter was trained on."
            )

    def describe(self) -> str:
        spec = self.spec
        routed = (
            f"{spec.experts} experts of rank {spec.rank}, top {spec.top_k}" if spec.experts else f"rank {spec.rank}"
        )
        extras = ", shared expert" if spec.experts and spec.shared else ""
        if spec.experts and not all(site.routed for site in self.sites):
            extras += f", plain parts of rank {spec.plain_rank or spec.rank}"
        tasks = ", task-aware" if self.task_aware else ""
        return f"{spec.kind}: {routed}{extras}{tasks}; {spec.model}"

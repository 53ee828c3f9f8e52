"""An adapter in memory: what its file says it is, its packed experts by site, and its task table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from .errors import ModelMismatchError, X2EditError
from .moe import RoutedDelta, Routing
from .sites import FluxShape, Site, sites_for
from .tasks import TASK_COUNT, TaskChoice


@dataclass(frozen=True)
class AdapterSpec:
    """Everything about an adapter that its tensors' shapes alone do not tell; travels in the file's metadata.

    `alpha` / `rank` scales every expert; `offsets` are the reference row offsets below and above 1,024 target tokens.
    """

    kind: str
    shape: FluxShape
    experts: int
    rank: int
    top_k: int
    alpha: float
    shared: bool
    order: Literal["softmax_first", "topk_first"] = "softmax_first"
    offsets: tuple[int, int] = (64, 128)
    notes: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        whole = {"experts": (0, 1024), "rank": (1, 1 << 14), "top_k": (1, 1024)}
        for name, (least, most) in whole.items():
            value = getattr(self, name)
            if not isinstance(value, int) or not least <= value <= most:
                raise X2EditError(f"{name} = {value!r} found; a whole number from {least} to {most} was expected.")
        if self.order not in ("softmax_first", "topk_first"):
            raise X2EditError(f"gate order {self.order!r} is not known; softmax_first or topk_first was expected.")

    @property
    def sites(self) -> tuple[Site, ...]:
        return sites_for(self.kind, self.shape)

    @property
    def routing(self) -> Routing:
        return Routing(self.top_k, self.order)

    @property
    def scale(self) -> float:
        return self.alpha / self.rank


class Adapter(nn.Module):
    """Packed experts of every site, and the task table [16, C] or None.

    A module, so that the host's memory manager can count, move and free it as a whole. `deltas` follow `spec.sites`.
    """

    def __init__(
        self, spec: AdapterSpec, deltas: Sequence[RoutedDelta], task_table: Tensor | None, source: str
    ) -> None:
        super().__init__()
        self.spec, self.source = spec, source
        self.sites = spec.sites
        if len(deltas) != len(self.sites):
            raise X2EditError(f"{len(deltas)} packed sites found, {len(self.sites)} expected for {spec.shape}.")
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

    def require_fit(self, shape: FluxShape) -> None:
        """Raise `ModelMismatchError` unless the adapter was made for a FLUX of this shape."""
        if shape != self.spec.shape:
            raise ModelMismatchError(
                f"{self.source} was made for a FLUX with {self.spec.shape}; the connected model has {shape}. "
                "Connect the base model that the adapter was trained on."
            )

    def describe(self) -> str:
        spec = self.spec
        routed = (
            f"{spec.experts} experts of rank {spec.rank}, top {spec.top_k}" if spec.experts else f"rank {spec.rank}"
        )
        extras = ", shared expert" if spec.experts and spec.shared else ""
        tasks = ", task-aware" if self.task_aware else ""
        return f"{spec.kind}: {routed}{extras}{tasks}; FLUX with {spec.shape}"

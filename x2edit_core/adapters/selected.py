"""Low-rank experts on a CPU, of each token only those that it selected: pure torch, letters as in `moe`.

The dense products of `moe` compute every expert for every token, since a GPU does that sooner than it sorts tokens. A CPU
is bound by arithmetic. There the selected activations are a sampled product, some entries of x · downᵀ only, and their
up-projection is an embedding bag, a weighted sum of rows of a table. Shapes follow from top-k alone, so that nothing is
counted or read back. Both steps read a row of a table per entry: they gain while few experts are selected and the tables
stay in the processor's cache.
"""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

_CACHE_BYTES = 16 << 20
_LEAST_EXPERTS_PER_SELECTED = 5


@dataclass(frozen=True)
class Selected:
    """Gated activations of the selected experts, and of the shared expert, whose gate is 1.

    `values` [N·P·k·R] belong to rows `rows` (int32) of a table [P·K, O] of up-projections; `shared` is [N, P, S·R].
    """

    rows: Tensor
    values: Tensor
    shared: Tensor

    def routed(self, table: Tensor) -> Tensor:
        """The selected experts' delta [N, P, O]."""
        tokens, projections, _ = self.shared.shape
        each = len(self.rows) // (tokens * projections)
        starts = torch.arange(0, len(self.rows), each, dtype=torch.int32, device=table.device)
        summed = functional.embedding_bag(self.rows, table, starts, mode="sum", per_sample_weights=self.values)
        return summed.view(tokens, projections, -1)


def pays(up: Tensor, experts: int, top_k: int) -> bool:
    """Whether selecting beats computing all experts of up-projections [P, O, K] in float32, measured on x86."""
    return experts >= _LEAST_EXPERTS_PER_SELECTED * top_k and 4 * up.numel() <= _CACHE_BYTES


def sampled(x: Tensor, down: Tensor, experts: Tensor, shares: Tensor, parts: int) -> tuple[Tensor, Tensor]:
    """Rows and values of `Selected` for x [N, D], down [P·K, D] of `parts` parts per projection, and the selection.

    `experts` and `shares` [N, P, k] are the selected experts and their weights.
    """
    tokens, projections, _ = shares.shape
    by_part = torch.arange(down.shape[0], dtype=torch.int32, device=x.device).view(projections * parts, -1)
    first = torch.arange(0, projections * parts, parts, device=x.device).unsqueeze(-1)
    rows = by_part.index_select(0, (experts + first).reshape(-1)).view(-1)
    ends = torch.arange(0, len(rows) + 1, len(rows) // tokens, dtype=torch.int32, device=x.device)
    _warn_of_csr_silently()
    size = (tokens, down.shape[0])
    picked = torch.sparse_csr_tensor(ends, rows, x.new_zeros(len(rows)), size=size, check_invariants=False)
    torch.sparse.sampled_addmm(picked, x, down.t(), beta=0.0, out=picked)
    values = picked.values()
    values.view(*shares.shape, -1).mul_(shares.unsqueeze(-1))
    return rows, values


@functools.cache
def _warn_of_csr_silently() -> None:
    """Torch says once per process that the layout is in beta, which no user of a picture needs to read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        torch.sparse_csr_tensor([0, 0], [], [], size=(1, 1), check_invariants=False)

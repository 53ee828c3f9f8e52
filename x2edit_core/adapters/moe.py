"""Low-rank experts, their gate, and the routed delta they add to a frozen projection: pure torch.

Letters: N tokens of all rows, D input width, P projections that share one input (3 for fused q, k, v), E experts,
S = 1 with a shared expert else 0, R rank, O output width of one projection, K = (E + S)·R, C task table width.

The released form (upstream `src/layers.py`) loops over experts. Here the same sum is two products around one mask:
every expert's down-projection and every gate share one fused product, the gate zeroes what was not selected, and one
product per projection adds the result into the columns of the frozen layer's output. The gate on [hidden ‖ task] splits
into a product with the hidden state and a per-row constant (`task_bias`). No step synchronises with the host. On a CPU,
where that pays, `selected` replaces the two products.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..errors import X2EditError
from .selected import Selected, pays, sampled

WIDE = (torch.float32, torch.float64)
"""Precisions in which a gate may be computed."""

LowRank = tuple[Tensor, Tensor]
"""down [R, D] and up [O, R]."""

_ARGMAX_LIMIT = 4
_MM_HAS_OUT_DTYPE = "out_dtype" in (torch.mm.__doc__ or "")


@dataclass(frozen=True)
class Routing:
    """How a gate turns logits into expert weights.

    `softmax_first`: softmax over all experts, then the top k keep their probability, not renormalised (X2Edit eq. 5 as
    coded). `topk_first`: softmax over the k best only, so that k = 1 gives weight 1 (ICEdit).
    """

    top_k: int
    order: Literal["softmax_first", "topk_first"] = "softmax_first"

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise X2EditError(f"top-k {self.top_k} found; at least 1 expert must be selected.")

    def select(self, logits: Tensor, dim: int = -1) -> tuple[Tensor, Tensor]:
        """Weights and indices [..., k] of the selected experts, from float32 logits [..., E]; experts along `dim`."""
        if self.order == "softmax_first":
            return largest(logits.softmax(dim), self.top_k, dim)
        best, experts = largest(logits, self.top_k, dim)
        return best.softmax(dim), experts

    def weights(self, logits: Tensor) -> Tensor:
        """Expert weights [..., E] from float32 logits [..., E]; zero where an expert was not selected."""
        if self.top_k >= logits.shape[-1]:
            return logits.softmax(-1)
        share, experts = self.select(logits)
        return torch.zeros_like(logits).scatter(-1, experts, share)


def largest(scores: Tensor, count: int, dim: int = -1) -> tuple[Tensor, Tensor]:
    """The `count` largest entries of scores [..., E] and their indices, [..., count], in any order; E along `dim`.

    On a CUDA device by repeated argmax: over tens of thousands of rows of a dozen entries `topk` is several times slower.
    """
    if not scores.is_cuda or count > _ARGMAX_LIMIT:
        return scores.topk(count, dim=dim, sorted=False)
    remaining, found = scores, []
    for _ in range(count):
        found.append(remaining.argmax(dim, keepdim=True))
        remaining = remaining.scatter(dim, found[-1], float("-inf"))
    indices = torch.cat(found, dim=dim)
    return scores.gather(dim, indices), indices


def packed_shapes(
    projections: int, experts: int, packed: int, in_width: int, out_width: int, task_width: int
) -> dict[str, tuple[int, ...]]:
    """Shapes of the parameters of a `RoutedDelta` with `packed` = K; `task_width` 0 for gates without task."""
    gates = projections * experts
    shapes: dict[str, tuple[int, ...]] = {
        "down_gate": (projections * packed + gates, in_width),
        "up": (projections, out_width, packed),
    }
    if task_width and gates:
        shapes["task_gate"] = (gates, task_width)
    return shapes


class RoutedDelta(nn.Module):
    """All experts of the P projections that read one input, packed for the fused products.

    What lies where is known here alone: `of` packs, `parts` and `gate` give back.
    Parameters (any float dtype; cast to the input's dtype and device when used):
      `down_gate` [P·K + P·E, D]: down-projections of experts then shared expert, projection by projection, followed by
      the gates' hidden halves; `task_gate` [P·E, C] or None: the gates' task halves; `up` [P, O, K].
    """

    def __init__(
        self,
        down_gate: Tensor,
        task_gate: Tensor | None,
        up: Tensor,
        *,
        experts: int,
        shared: bool,
        routing: Routing,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.projections, self.out_width, packed = up.shape
        self.experts, self.shared, self.routing, self.scale = experts, shared, routing, scale
        self.rank = packed // max(experts + shared, 1)
        self.gates = self.projections * experts
        expected = self.projections * packed + self.gates
        if packed != self.rank * (experts + shared) or down_gate.shape[0] != expected:
            raise X2EditError(
                f"Packed expert weights do not fit together: down_gate {tuple(down_gate.shape)}, up {tuple(up.shape)} "
                f"for {experts} experts (+{int(shared)} shared); {expected} rows were expected in down_gate."
            )
        self.down_gate = nn.Parameter(down_gate, requires_grad=False)
        self.task_gate = None if task_gate is None else nn.Parameter(task_gate, requires_grad=False)
        self.few = experts > 0 and pays(up, experts, routing.top_k)
        if self.few:  # rows of the table that `Selected` reads, in memory; the shape stays
            up = up.transpose(1, 2).contiguous().transpose(1, 2)
        self.up = nn.Parameter(up, requires_grad=False)

    @classmethod
    def of(
        cls,
        parts: Sequence[Sequence[LowRank]],
        gates: Sequence[Tensor] = (),
        *,
        shared: bool,
        routing: Routing,
        scale: float = 1.0,
    ) -> RoutedDelta:
        """Packed from each projection's low-rank parts, experts then shared expert, and its gate [E, D + C]."""
        in_width = parts[0][0][0].shape[1]
        downs = [down for projection in parts for down, _ in projection]
        ups = [torch.cat([up for _, up in projection], dim=1) for projection in parts]
        halves = [gate[:, :in_width] for gate in gates]
        task = torch.cat([gate[:, in_width:] for gate in gates]) if gates and gates[0].shape[1] > in_width else None
        experts = len(gates[0]) if gates else 0
        return cls(
            torch.cat(downs + halves),
            task,
            torch.stack(ups),
            experts=experts,
            shared=shared,
            routing=routing,
            scale=scale,
        )

    def parts(self, projection: int) -> list[LowRank]:
        """Down [R, D] and up [O, R] of each expert of a projection, then of its shared expert, as views."""
        count = self.experts + self.shared
        first = projection * count * self.rank
        downs = self.down_gate[first : first + count * self.rank].view(count, self.rank, -1)
        return [
            (down, self.up[projection, :, index * self.rank : (index + 1) * self.rank])
            for index, down in enumerate(downs)
        ]

    def gate(self, projection: int) -> Tensor:
        """A projection's gate [E, D + C] on [hidden ‖ task]; without task a view [E, D]."""
        first = self.down_gate.shape[0] - self.gates + projection * self.experts
        hidden = self.down_gate[first : first + self.experts]
        if self.task_gate is None:
            return hidden
        rows = slice(projection * self.experts, (projection + 1) * self.experts)
        return torch.cat((hidden, self.task_gate[rows]), dim=1)

    @property
    def in_width(self) -> int:
        return self.down_gate.shape[1]

    def task_bias(self, embedding: Tensor) -> Tensor | None:
        """The task's share of the gate logits, float32 [rows, P·E], for task embeddings [rows, C]."""
        if self.task_gate is None:
            return None
        wide = _wide(embedding)
        return wide @ self.task_gate.to(wide).t()

    def hidden(self, x: Tensor, bias: Tensor | None) -> tuple[Tensor | Selected, Tensor | None]:
        """Gated low-rank activations [N, P, K] and the gate outputs, float32 [N, P, E] (None without experts).

        Where that pays, the activations are those of the selected experts only. In float32 and above the gates ride in
        the fused product; below, they are computed apart in float32, since rounded logits change which experts are
        selected.
        """
        if not self.experts:
            return torch.mm(x, _matched(self.down_gate, x).t()).unflatten(-1, (self.projections, -1)), None
        learning = x.requires_grad or self.down_gate.requires_grad or (bias is not None and bias.requires_grad)
        if torch.is_grad_enabled() and learning:
            return _LeanHidden.apply(x, self.down_gate, bias, self)  # pyright: ignore[reportReturnType]
        if self.few and x.device.type == "cpu" and x.dtype == torch.float32:
            return self._selected(x, bias)
        return self.gated(*self.products(x), bias)[:2]

    def _selected(self, x: Tensor, bias: Tensor | None) -> tuple[Selected, Tensor]:
        """`hidden` without the experts that a token did not select; what every token needs is one dense product.

        Tokens lie innermost, since a CPU's softmax over a dozen neighbours is a tenth as fast as one over rows.
        """
        weight, parts = _matched(self.down_gate, x), self.experts + self.shared
        down, gates = weight.split((weight.shape[0] - self.gates, self.gates))
        shared = down.view(self.projections, parts, self.rank, -1)[:, self.experts :]
        fused = torch.mm(torch.cat((gates, shared.flatten(0, 2))), x.t())
        logits, low = fused[: self.gates], fused[self.gates :]
        logits = (logits if bias is None else logits + bias.t()).unflatten(0, (self.projections, self.experts))
        share, experts = self.routing.select(logits, dim=1)
        by_token = (2, 0, 1)
        rows, values = sampled(x, down, experts.permute(by_token), share.permute(by_token), parts)
        gate = torch.zeros_like(logits).scatter(1, experts, share)
        low = low.unflatten(0, (self.projections, -1)).permute(by_token)
        return Selected(rows, values, low), gate.permute(by_token)

    def products(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Low-rank activations [N, P·K] and the hidden half's logits [N, P·E], not yet weighted by the gates."""
        weight = _matched(self.down_gate, x)
        rows = weight.shape[0] - self.gates
        if x.dtype in WIDE:
            packed = torch.mm(x, weight.t())
            return packed[:, :rows], packed[:, rows:]
        return torch.mm(x, weight[:rows].t()), _gate_logits(x, weight[rows:])

    def gated(self, low: Tensor, logits: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """`low` [N, P·K] weighted in place, as [N, P, K]; gate outputs [N, P, E]; logits with their bias [N, P·E]."""
        logits = logits if bias is None else logits + bias
        gate = self.routing.weights(self.per_expert(logits))
        low = low.unflatten(-1, (self.projections, self.experts + self.shared, self.rank))
        low[:, :, : self.experts].mul_(gate.to(low.dtype).unsqueeze(-1))
        return low.flatten(-2), gate, logits

    def per_expert(self, logits: Tensor) -> Tensor:
        return logits.unflatten(-1, (self.projections, self.experts))

    def add_to(self, out: Tensor, hidden: Tensor | Selected, starts: tuple[int, ...], strength: float) -> None:
        """Add projection p's delta into columns starts[p] : starts[p] + O of out [N, W], in place.

        In place holds under autograd too: a Linear's backward does not need its output.
        """
        up, scale = _matched(self.up, out), strength * self.scale
        if not isinstance(hidden, Selected):
            return self._add_products(out, hidden, up, starts, scale)
        routed = hidden.routed(up.transpose(1, 2).reshape(-1, self.out_width))
        if (columns := self._side_by_side(out, starts)) is not None:
            columns.add_(routed, alpha=scale)
        else:
            for projection, start in enumerate(starts):
                out[:, start : start + self.out_width].add_(routed[:, projection], alpha=scale)
        self._add_products(out, hidden.shared, up[:, :, self.experts * self.rank :], starts, scale)

    def _add_products(self, out: Tensor, low: Tensor, up: Tensor, starts: tuple[int, ...], scale: float) -> None:
        """Add low [N, P, K] · up [P, O, K]ᵀ, projection by projection or at once where their columns are neighbours."""
        if (columns := self._side_by_side(out, starts)) is not None:
            columns.transpose(0, 1).baddbmm_(low.transpose(0, 1), up.transpose(1, 2), alpha=scale)
            return
        for projection, start in enumerate(starts):
            columns = out[:, start : start + self.out_width]
            columns.addmm_(low[:, projection], up[projection].t(), alpha=scale)

    def _side_by_side(self, out: Tensor, starts: tuple[int, ...]) -> Tensor | None:
        """The columns of several projections as a view [N, P, O], where they are neighbours."""
        width = self.projections * self.out_width
        if len(starts) == 1 or starts != tuple(range(starts[0], starts[0] + width, self.out_width)):
            return None
        return out[:, starts[0] : starts[0] + width].unflatten(-1, (self.projections, self.out_width))


def token_bias(bias: Tensor | None, rows: Tensor, tokens: int) -> Tensor | None:
    """Per-token bias [rows·tokens, P·E] from per-entry bias [entries, P·E] and each row's entry index [rows].

    With a single entry the bias is returned as [1, P·E] and broadcasts.
    """
    if bias is None or bias.shape[0] == 1:
        return bias
    return bias.index_select(0, rows).repeat_interleave(tokens, dim=0, output_size=rows.shape[0] * tokens)


def _matched(weight: Tensor, like: Tensor) -> Tensor:
    return weight.to(device=like.device, dtype=like.dtype)


def _gate_logits(x: Tensor, gate: Tensor) -> Tensor:
    """x · gateᵀ with float32 accumulation and result, whatever the inputs' dtype."""
    if x.is_cuda and _MM_HAS_OUT_DTYPE and not torch.is_grad_enabled():
        return torch.mm(x, gate.t(), out_dtype=torch.float32)
    return torch.mm(_wide(x), _wide(gate).t())


def _wide(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype in WIDE else tensor.float()


class _LeanHidden(torch.autograd.Function):
    """`RoutedDelta.hidden` that keeps for backward only its input, its logits, and its result.

    The result is kept anyway, by the up-projection. What an expert gave before its weight is found again as result over
    weight, and is not needed where the weight is zero.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, delta: RoutedDelta) -> tuple[Tensor, Tensor]:
        hidden, gate, logits = delta.gated(*delta.products(x), bias)
        ctx.save_for_backward(x, weight, logits, hidden)
        ctx.delta, ctx.shared_bias = delta, bias is not None and bias.shape[0] == 1
        ctx.set_materialize_grads(False)
        return hidden, gate

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor | None, grad_gate: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore
        x, weight, logits, hidden = ctx.saved_tensors
        delta: RoutedDelta = ctx.delta
        to_hidden = torch.zeros_like(hidden) if grad is None else grad
        with torch.enable_grad():
            logits = logits.detach().requires_grad_()
            gate = delta.routing.weights(delta.per_expert(logits))
        parts = (delta.experts + delta.shared, delta.rank)
        by_part, given = to_hidden.unflatten(-1, parts), hidden.unflatten(-1, parts)
        shares = gate.detach()
        to_gate = (by_part * given)[:, :, : delta.experts].sum(-1, dtype=shares.dtype)
        to_gate = torch.where(shares > 0, to_gate / shares, 0.0)
        to_gate = to_gate if grad_gate is None else to_gate + grad_gate
        to_logits = torch.autograd.grad(gate, logits, to_gate)[0] if gate.requires_grad else torch.zeros_like(logits)
        to_low = by_part.clone(memory_format=torch.contiguous_format)
        to_low[:, :, : delta.experts].mul_(shares.to(to_low.dtype).unsqueeze(-1))
        packed = torch.cat((to_low.flatten(1), to_logits.to(to_low.dtype)), 1)
        to_x = packed @ _matched(weight, x) if ctx.needs_input_grad[0] else None
        to_weight = (packed.t() @ x).to(weight.dtype) if ctx.needs_input_grad[1] else None
        to_bias = to_logits.sum(0, keepdim=True) if ctx.shared_bias else to_logits
        return to_x, to_weight, to_bias if ctx.needs_input_grad[2] else None, None

"""What a prediction is judged by: the flow itself, the task contrast (X2Edit eq. 7), and the balance of the gates.

B samples of this process out of A over all processes, L layers, N target tokens of width D, F = N·D.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional

EPSILON = 1e-8


EDITED = 0.25
"""How far a latent cell may move, root mean square over its channels of about unit variance, and still be unedited."""


def flow_errors(predicted: Tensor, wanted: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean square error of each row's velocity, float32 [B]; `weights` [B, 1, h, w] of mean 1 weigh its cells."""
    squares = (predicted.float() - wanted.float()).square()
    return (squares if weights is None else squares * weights).flatten(1).mean(1)


def edited_weights(target: Tensor, source: Tensor, extra: float) -> Tensor:
    """1 + `extra` where target and source [B, C, h, w] differ, else 1, scaled to a mean of 1 per row; [B, 1, h, w]."""
    changed = (target - source).square().mean(1, keepdim=True) > EDITED**2
    weights = 1 + extra * changed.float()
    return weights / weights.mean((1, 2, 3), keepdim=True)


def task_contrast(features: Sequence[Tensor], tasks: Tensor, temperature: float = 0.5) -> Tensor:
    """How badly samples of one task keep together, as a mean over layers; features [B, N, D] each, tasks [B].

    −log of the share that other samples of its task have among all, with similarity e^(−d²/τ) between normalised
    features. As in upstream's `train_1024.py:367`, the denominator counts the anchor itself, and samples that an anchor
    is compared with are constants. The samples of all processes are compared. Where no two of them share a task, the
    constant −log ε that every anchor would add is left out; the gradient is the same.
    """
    everyone = gathered(tasks)
    first = rank() * len(tasks)
    same = tasks[:, None] == everyone[None, :]
    own = torch.arange(first, first + len(tasks), device=tasks.device)
    positive = same.float().scatter(1, own[:, None], 0.0)
    kept = EPSILON if has_pair(everyone) else 1.0
    losses = []
    for feature in features:
        z = functional.normalize(feature.flatten(1).float(), dim=1)
        similarity = torch.exp((2 * RowsOfGram.apply(z) - 2) / temperature)
        share = ((similarity * positive).sum(1) + kept) / (similarity.sum(1) + EPSILON)
        losses.append(-share.log().mean())
    return torch.stack(losses).mean()


def has_pair(tasks: Tensor) -> bool:
    """Whether two samples share one of the tasks [A]."""
    return len(torch.unique(tasks)) < len(tasks)


def gate_balance(gates: Sequence[Tensor]) -> Tensor:
    """How unevenly experts are used, 1 when evenly; the mean over sites and projections of gates [B, T, P, E].

    Per gate E · Σ (share of selections) · (share of weight), the usual auxiliary loss of sparse experts. Its gradient
    goes through the weights. The tokens of all processes are counted, which have equally many.
    """
    used = [(gate > 0).float().mean((0, 1)) for gate in gates]
    given = [gate.float().mean((0, 1)) for gate in gates]
    terms = []
    for gate, selected, weight in zip(gates, averaged(used), averaged(given), strict=True):
        shares = selected / selected.sum(-1, keepdim=True).clamp_min(EPSILON)
        weights = weight / weight.sum(-1, keepdim=True).clamp_min(EPSILON)
        terms.append(gate.shape[-1] * (shares * weights).sum(-1).mean())
    return torch.stack(terms).mean()


@torch.no_grad()
def expert_usage(gates: Sequence[Tensor]) -> Tensor:
    """The share of selections that each expert got, averaged over sites, projections and processes; float32 [E], sum 1."""
    shares = [(gate > 0).float().mean((0, 1, 2)) for gate in gates]
    (total,) = averaged([torch.stack(shares).mean(0)])
    return total / total.sum().clamp_min(EPSILON)


class MeanOverProcesses(torch.autograd.Function):
    """A tensor → its mean over processes, the same in all of them.

    Backward hands the gradient on as it is: gradients of weights are averaged over processes afterwards, which divides by
    their number as the mean does.
    """

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, mine: Tensor) -> Tensor:  # pyright: ignore
        del ctx
        everyone = mine.clone()
        dist.all_reduce(everyone)
        return everyone / world()

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> Tensor:  # pyright: ignore
        del ctx
        return grad


def averaged(parts: Sequence[Tensor]) -> list[Tensor]:
    """The means over processes of some float32 tensors, by one exchange."""
    if world() == 1:
        return list(parts)
    mean: Any = MeanOverProcesses.apply(torch.cat([part.flatten() for part in parts]))
    pieces = mean.split([part.numel() for part in parts])
    return [piece.view(part.shape) for piece, part in zip(pieces, parts, strict=True)]


class RowsOfGram(torch.autograd.Function):
    """z [B, F] of each process → products [B, A] of its rows with those of all; the others count as constants.

    Features are never gathered. Each process gets one slice of every sample's features, forms the products over it, and
    the sum over processes is the Gram matrix: B·F·(W − 1)/W numbers travel instead of B·F·(W − 1), and again in
    backward.
    """

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, z: Tensor) -> Tensor:  # pyright: ignore
        if world() == 1:
            ctx.save_for_backward(z)
            return z @ z.t()
        mine = sliced(z)
        gram = mine @ mine.t()
        dist.all_reduce(gram)
        ctx.save_for_backward(mine)
        ctx.width = z.shape[1]  # pyright: ignore[reportAttributeAccessIssue]
        return gram[rank() * len(z) : (rank() + 1) * len(z)].contiguous()

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> Tensor:  # pyright: ignore
        (kept,) = ctx.saved_tensors  # pyright: ignore[reportAttributeAccessIssue]
        if world() == 1:
            return grad @ kept
        return joined(gathered(grad) @ kept, ctx.width)  # pyright: ignore[reportAttributeAccessIssue]


def sliced(z: Tensor) -> Tensor:
    """Rows of this process [B, F] → this process's slice of everyone's rows [A, ⌈F/W⌉]."""
    width = -(-z.shape[1] // world())
    padded = functional.pad(z, (0, width * world() - z.shape[1]))
    sent = padded.view(len(z), world(), width).transpose(0, 1).contiguous()
    return _exchanged(sent).flatten(0, 1)


def joined(slices: Tensor, width: int) -> Tensor:
    """The inverse of `sliced`: this process's rows [B, F] from its slice of everyone's."""
    sent = slices.view(world(), -1, slices.shape[1]).contiguous()
    return _exchanged(sent).transpose(0, 1).flatten(1)[:, :width]


def _exchanged(sent: Tensor) -> Tensor:
    """Part i [W, …] goes to process i; gloo has no all-to-all for this, so there it is pairs of sends."""
    received = torch.empty_like(sent)
    if dist.get_backend() == "nccl":
        dist.all_to_all_single(received, sent)
        return received
    received[rank()] = sent[rank()]
    others = [index for index in range(world()) if index != rank()]
    transfers = [dist.P2POp(dist.isend, sent[index], index) for index in others]
    transfers += [dist.P2POp(dist.irecv, received[index], index) for index in others]
    for request in dist.batch_isend_irecv(transfers):
        request.wait()
    return received


def gathered(rows: Tensor) -> Tensor:
    """Everyone's rows in the order of processes; without gradient."""
    if world() == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(world())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


def world() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if world() > 1 else 0

"""A step taken within backward: each weight moves as soon as its gradient is complete, and the gradient is freed.

So that no two gradients of a model are in memory at once. Every weight gets the gradient, and makes the move, that it
would otherwise: the moves are bit-equal. What needs all gradients together is not possible: a limit of their norm, their
sum over several batches, their mean over several processes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import X2EditError


class FusedBackward:
    """Steps of `optimiser` within backward. Between `begin` and `end` lies the backward of one step.

    `end` gives the norm of the gradients. From the first gradient that is no number on, no further weight of that step is
    moved; those before it were.
    """

    def __init__(self, weights: Mapping[str, nn.Parameter], optimiser: torch.optim.Optimizer, world: int) -> None:
        if world > 1:
            raise X2EditError(
                f"optim.fused_backward moves each weight within backward, before the gradients of {world} processes could "
                "be averaged. Set it to false, or train in one process."
            )
        self._optimiser = optimiser
        self._squares: list[Tensor] = []
        self._good = True
        self._hooks = [weight.register_post_accumulate_grad_hook(self._move) for weight in weights.values()]

    def begin(self, loss: Tensor) -> None:
        """Before backward of `loss`, which moves nothing if it is no number."""
        self._squares, self._good = [], bool(torch.isfinite(loss.detach()))

    def end(self) -> float:
        """The norm of all gradients of the step that is done."""
        if not self._good:
            return math.nan
        return float(torch.stack(self._squares).sum().sqrt()) if self._squares else 0.0

    def _move(self, weight: Any) -> None:
        square = weight.grad.detach().float().square().sum()
        self._good = self._good and bool(torch.isfinite(square))
        if self._good:
            self._squares.append(square)
            self._optimiser.step()
        weight.grad = None

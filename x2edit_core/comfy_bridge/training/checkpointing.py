"""Blocks that are computed again in backward, and where their inputs wait meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

FLUX_SIZED = 1_000_000_000
"""Parameters from which on a base is checkpointed without being asked: what it keeps otherwise fits no usual card."""


def wanted(choice: Literal["auto", True, False], network: nn.Module) -> bool:
    """Whether the blocks of `network` are checkpointed, by the configuration's choice."""
    if choice == "auto":
        return sum(parameter.numel() for parameter in network.parameters()) >= FLUX_SIZED
    return bool(choice)


def checkpointed(call: Callable[..., Any], given: dict[str, Any], in_host: bool) -> Any:
    """`call(**given)`, of which only the tensors in `given` are kept for backward, in host memory if so asked."""
    tensors = {name: value for name, value in given.items() if isinstance(value, Tensor)}
    others = {name: value for name, value in given.items() if name not in tensors}
    names = list(tensors)  # `again` lives until backward, and must not hold the tensors themselves

    def again(*values: Tensor) -> Any:
        return call(**dict(zip(names, values, strict=True)), **others)

    keeping = torch.autograd.graph.saved_tensors_hooks(_to_host, _from_host) if in_host else contextlib.nullcontext()
    with keeping:
        return checkpoint(again, *tensors.values(), use_reentrant=False)


class _Away:
    """A tensor in host memory, or one on the meta device, whose size is all there is of it, and where it belongs."""

    def __init__(self, tensor: Tensor) -> None:
        self.device = tensor.device
        self.made = (tuple(tensor.shape), tensor.stride(), tensor.dtype)
        if tensor.device.type == "meta":
            self.copy = None
            return
        self.copy = torch.empty_like(tensor, device="cpu", pin_memory=tensor.device.type == "cuda")
        self.copy.copy_(tensor, non_blocking=tensor.device.type == "cuda")

    def back(self) -> Tensor:
        if self.copy is None:
            shape, stride, dtype = self.made
            return torch.empty_strided(shape, stride, dtype=dtype, device=self.device)
        return self.copy.to(self.device, non_blocking=True)


def _to_host(tensor: Tensor) -> Tensor | _Away:
    return tensor if tensor.device.type == "cpu" or tensor.numel() < 1024 else _Away(tensor.detach())


def _from_host(kept: Tensor | _Away) -> Tensor:
    return kept.back() if isinstance(kept, _Away) else kept

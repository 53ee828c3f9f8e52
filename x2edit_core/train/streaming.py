"""Frozen blocks kept in host memory: each visits the device when it is needed, the next one while it computes.

A block's weights lie in one piece of memory, so that one transfer moves it. What backward needs of a block's weights is
remembered by place and brought again, not kept. A step walks the blocks up and down again; the walk's direction tells
which block comes next.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import X2EditError

_ALIGNED = 256
"""Bytes; where each tensor of a block starts."""


@dataclass(frozen=True)
class _Slice:
    """One weight's place in its block's memory."""

    offset: int
    shape: torch.Size
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def of(self, memory: Tensor) -> Tensor:
        return memory[self.offset : self.offset + self.bytes].view(self.dtype).view(self.shape)


@dataclass(frozen=True)
class _Place:
    """A view into a block's memory that backward will ask for."""

    block: int
    dtype: torch.dtype
    size: torch.Size
    stride: tuple[int, ...]
    offset: int

    def of(self, memory: Tensor) -> Tensor:
        return torch.as_strided(memory.view(self.dtype), self.size, self.stride, self.offset)


class BlockStream:
    """Frozen `blocks`, their weights in host memory; at most two of them lie on `device` at a time.

    Their parameters point into host memory until `bring` is called, so the blocks can always be read, saved and compared.
    Raises `X2EditError` for weights that are more than plain tensors.
    """

    def __init__(self, blocks: Sequence[nn.Module], device: torch.device) -> None:
        self._device = device
        self._weights = [list(block.parameters()) for block in blocks]
        self._slices = [_layout(weights) for weights in self._weights]
        self._host = [_packed(*pair, device) for pair in zip(self._weights, self._slices, strict=True)]
        for index, memory in enumerate(self._host):
            self._point(index, memory)
        self._visiting: dict[int, Tensor] = {}
        self._arrived: dict[int, Any] = {}
        self._last, self._upward = 0, True
        self._copying = torch.cuda.Stream(device) if device.type == "cuda" else None

    @property
    def resident(self) -> dict[int, Tensor]:
        """The blocks that lie on the device now, by number, with their memory there."""
        return dict(self._visiting)

    def bring(self, index: int) -> Tensor:
        """Put block `index` on the device, begin to fetch the one after it, and send the others back; its memory."""
        if index != self._last:
            self._last, self._upward = index, index > self._last
        following = self._following(index)
        for other in [other for other in self._visiting if other not in (index, following)]:
            self._send_back(other)
        self._fetch(index)
        self._await(index)
        if following is not None:
            self._fetch(following)
        return self._visiting[index]

    def around(self, index: int, forward: Callable[..., Any], recomputed: bool) -> Callable[..., Any]:
        """Block `index`'s forward with its weights brought first.

        `recomputed`: gradient checkpointing runs it again in backward, so nothing of it is kept anyway.
        """

        def visiting(*args: Any, **kwargs: Any) -> Any:
            self.bring(index)
            with contextlib.nullcontext() if recomputed else self._remembering_places():
                return forward(*args, **kwargs)

        return visiting

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """When it ends, every block is back in host memory."""
        try:
            yield
        finally:
            for index in list(self._visiting):
                self._send_back(index)

    def _following(self, index: int) -> int | None:
        """The walk's next block; it turns at both ends."""
        count = len(self._host)
        if count == 1:
            return None
        if index in (0, count - 1):
            return 1 if index == 0 else count - 2
        return index + 1 if self._upward else index - 1

    def _fetch(self, index: int) -> None:
        if index in self._visiting:
            return
        if self._copying is None:
            self._visiting[index] = self._host[index].to(self._device, copy=True)
            return
        with torch.cuda.stream(self._copying):
            self._visiting[index] = self._host[index].to(self._device, non_blocking=True)
            self._arrived[index] = self._copying.record_event()

    def _await(self, index: int) -> None:
        """Computing goes on once the transfer is done, and the memory is not reused before computing is."""
        memory = self._visiting[index]
        if index in self._arrived:
            computing = torch.cuda.current_stream(self._device)
            computing.wait_event(self._arrived.pop(index))
            memory.record_stream(computing)
        self._point(index, memory)

    def _send_back(self, index: int) -> None:
        """Frozen weights have not changed: the copy on the device is dropped."""
        del self._visiting[index]
        self._arrived.pop(index, None)
        self._point(index, self._host[index])

    def _point(self, index: int, memory: Tensor) -> None:
        for weight, part in zip(self._weights[index], self._slices[index], strict=True):
            weight.data = part.of(memory)

    def _remembering_places(self) -> Any:
        return torch.autograd.graph.saved_tensors_hooks(self._place_of, self._at_place)

    def _place_of(self, tensor: Tensor) -> Tensor | _Place:
        address = tensor.untyped_storage().data_ptr()
        for index, memory in self._visiting.items():
            if memory.untyped_storage().data_ptr() == address:
                return _Place(index, tensor.dtype, tensor.size(), tensor.stride(), tensor.storage_offset())
        return tensor

    def _at_place(self, kept: Tensor | _Place) -> Tensor:
        return kept.of(self.bring(kept.block)) if isinstance(kept, _Place) else kept


def _layout(weights: Sequence[Tensor]) -> list[_Slice]:
    slices, offset = [], 0
    for weight in weights:
        if type(weight.data) is not Tensor or weight.requires_grad:
            raise X2EditError(
                f"A weight of type {type(weight.data).__name__} cannot be streamed; weights = offload takes a frozen base "
                "in bfloat16, float16, float32 or plain fp8."
            )
        slices.append(_Slice(offset, weight.shape, weight.dtype))
        offset += -(-slices[-1].bytes // _ALIGNED) * _ALIGNED
    return slices


def _packed(weights: Sequence[Tensor], slices: Sequence[_Slice], device: torch.device) -> Tensor:
    """A block's weights in one piece of host memory, pinned where that makes transfers asynchronous."""
    size = slices[-1].offset + slices[-1].bytes if slices else 0
    memory = torch.empty(size, dtype=torch.uint8, pin_memory=device.type == "cuda")
    for weight, part in zip(weights, slices, strict=True):
        part.of(memory).copy_(weight.detach())
    return memory

"""What the loop asks of a network, and what it gets: the boundary between training and the host's FLUX."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Inputs:
    """One batch as the network sees it, all on its device.

    noisy [B, 16, h, w], sigma [B], context [B, T, C], pooled [B, P]; each reference [B, 16, h', w']; `concat`
    [B, 80, h, w] are FLUX Fill's further channels; `tasks` one id per row.
    """

    noisy: Tensor
    sigma: Tensor
    context: Tensor
    pooled: Tensor
    tasks: tuple[int, ...]
    references: tuple[Tensor, ...] = ()
    concat: Tensor | None = None


@dataclass(frozen=True)
class Watch:
    """What a pass should show beside its velocity."""

    features: bool = False
    gates: bool = False


@dataclass(frozen=True)
class Prediction:
    """velocity float32 [B, 16, h, w]; per double block the target tokens [B, N, D]; per routed site gates [B, T, P, E]."""

    velocity: Tensor
    features: Sequence[Tensor] = field(default_factory=list)
    gates: Sequence[Tensor] = field(default_factory=list)


class Model(Protocol):
    """A network to train. `predicting` is entered once per batch, within `session`; backward happens inside it."""

    @property
    def device(self) -> torch.device: ...

    def session(self) -> AbstractContextManager[None]: ...

    def predicting(self, inputs: Inputs, watch: Watch | None = None) -> AbstractContextManager[Prediction]: ...

"""What the host's models of any family share in training: settings, blocks, gradients for the time of a run, the adapter."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from comfy import model_management
from torch import Tensor, nn

from ...adapters.adapter import Adapter
from ...adapters.attach import Attachment, Forward, bind, find_module, site_swaps, swapped
from ...tasks import Task, TaskBatch, TaskChoice
from ...train.model import Inputs
from ...train.quantised import lean_forward
from ...train.streaming import BlockStream


@dataclass(frozen=True)
class PassSettings:
    """How a training pass computes.

    `dtype`: of activations. `autocast`: the weights stay float32 and are cast where used (training a base); else they
    must already be of that dtype, or in fewer bits. `guidance` is FLUX's embedded guidance, 1 in both upstream
    trainers. `offsets` as in `AdapterSpec`. `host_checkpoints`: what checkpointing keeps waits in host memory.
    """

    dtype: torch.dtype = torch.float32
    autocast: bool = False
    checkpointing: bool = False
    guidance: float = 1.0
    offsets: tuple[int, int] = (64, 128)
    host_checkpoints: bool = False


BLOCKS = ("double_blocks", "single_blocks", "transformer_blocks")
"""Where a model of any family keeps its blocks, in the order of a pass."""


def blocks_of(network: Any) -> list[nn.Module]:
    """The transformer blocks of a model in the order of a pass."""
    kinds = [kind for kind in BLOCKS if hasattr(network, kind)]
    return [find_module(network, f"{kind}.{index}") for kind in kinds for index in range(len(getattr(network, kind)))]


class Watched:
    """What a pass showed of itself; deaf once `closed`, so that recomputed blocks are not counted twice."""

    def __init__(self, target_tokens: int) -> None:
        self.target_tokens = target_tokens
        self.features: list[Tensor] = []
        self.gates: list[Tensor] = []
        self.closed = False

    def __call__(self, module: str, gate: Tensor) -> None:
        del module
        if not self.closed:
            self.gates.append(gate)


class Trainable(ABC):
    """A network of the host with an optional adapter, as `train.model.Model` but for the pass itself; what is trained is
    set by `requires_grad`.

    `stream` brings the blocks of `blocks_of` to the device, where they do not lie on it.
    """

    def __init__(
        self, network: Any, adapter: Adapter | None, settings: PassSettings, stream: BlockStream | None = None
    ) -> None:
        self.network, self.adapter, self.settings, self.stream = network, adapter, settings, stream
        self.keeper: Any = None  # holds the host's patcher, so that its weights stay loaded

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Within it passes have gradients; afterwards the network is exactly as it was."""
        before = model_management.in_training
        try:
            model_management.in_training = True
            visits = self.stream.session() if self.stream else contextlib.nullcontext()
            with torch.inference_mode(False), visits, swapped(self._lasting_swaps()):
                yield
        finally:
            model_management.in_training = before

    @abstractmethod
    def _lasting_swaps(self) -> list[tuple[nn.Module, Forward]]:
        """What is on the network for the whole of a session."""

    def _lean_swaps(self) -> list[tuple[nn.Module, Forward]]:
        """Layers of a base in fewer bits, which keep no copy of their weights for backward."""
        layers = (layer for layer in self.network.modules() if isinstance(layer, nn.Linear))
        found = [(layer, lean_forward(layer)) for layer in layers]
        return [(layer, forward) for layer, forward in found if forward]

    def _site_swaps(self, inputs: Inputs, observer: Callable[[str, Tensor], None] | None) -> list[Any]:
        if self.adapter is None:
            return []
        choices = [TaskChoice(Task.from_id(task)) for task in inputs.tasks]
        attachment = Attachment(self.adapter, TaskBatch(tuple(choices)))
        rows = torch.arange(len(choices), device=self.device)
        return site_swaps(self.network, [bind(attachment, attachment.task_biases(), rows, observer)])

"""Scoped attachment: forwards are swapped on entry and restored on exit, whatever happens in between.

Used alike for inference and training. Nothing of the model is written but the instance attribute `forward` of the
modules named by the site table, and that only inside the scope.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ModelMismatchError
from ..families import Site
from ..tasks import TaskBatch
from .adapter import Adapter
from .moe import RoutedDelta, token_bias
from .selected import Selected

Forward = Callable[..., Tensor]
Observer = Callable[[str, Tensor], None]
"""Told the site's module path and the gate outputs, float32 [B, T, P, E], of each routed forward."""


@dataclass(frozen=True)
class Attachment:
    """One adapter as a graph applies it: which tasks, how strongly, and over which part of sampling.

    `start` and `end` are fractions of sampling; `reference_offset` 0 means automatic.
    """

    adapter: Adapter
    tasks: TaskBatch | None = None
    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0
    reference_offset: int = 0

    @property
    def always_on(self) -> bool:
        return self.start <= 0.0 and self.end >= 1.0

    def task_biases(self) -> list[Tensor | None]:
        """For each site the gates' task share, float32 [entries, P·E]; constant over sampling, so computed once."""
        adapter = self.adapter
        if not adapter.task_aware:
            return [None] * len(adapter.sites)
        assert self.tasks is not None, "a task-aware adapter is attached with tasks"
        embeddings = adapter.task_embeddings(self.tasks.entries)
        return [adapter.delta(index).task_bias(embeddings) for index in range(len(adapter.sites))]

    def entry_rows(self, rows: int, chunks: int, pictures: int = 0) -> tuple[int, ...]:
        return self.tasks.row_entries(rows, chunks, pictures) if self.tasks else (0,) * rows


@dataclass(frozen=True)
class BoundDelta:
    """A site's experts, ready to run: their bias per task entry [entries, P·E] and each row's entry [B]."""

    delta: RoutedDelta
    site: Site
    bias: Tensor | None
    rows: Tensor
    strength: float
    observer: Observer | None = None

    def hidden(self, read: Tensor) -> Tensor | Selected:
        """Gated low-rank activations, as `RoutedDelta.hidden` gives them, of the tokens read [B, T, D]."""
        batch, tokens, width = read.shape
        bias = token_bias(self.bias, self.rows, tokens)
        hidden, gate = self.delta.hidden(read.reshape(-1, width), bias)
        if self.observer is not None and gate is not None:
            self.observer(self.site.module, gate.unflatten(0, (batch, tokens)))
        return hidden

    def add_to(self, out: Tensor, hidden: Tensor | Selected) -> None:
        self.delta.add_to(out, hidden, self.site.starts, self.strength)


def site_forward(original: Forward, bound: Sequence[BoundDelta]) -> Forward:
    """A Linear's forward with the deltas of every adapter at this site added to its output [B, T, W].

    All of them read before any is added, so their order does not matter on the output side either. Where a block was
    compiled by itself, its graph ends here and goes on behind: what a site adds changes from pass to pass.
    """
    serial = any(item.site.side == "output" for item in bound)

    @torch.compiler.disable(reason="the experts of a pass are not those that a block was compiled with")
    def forward(x: Tensor) -> Tensor:
        out = original(x)
        hidden = [item.hidden(x if item.site.side == "input" else out) for item in bound]
        flat = out.reshape(-1, out.shape[-1])
        if serial and torch.is_grad_enabled():
            flat = flat.clone()  # backward needs the output that the experts read
        for item, low in zip(bound, hidden, strict=True):
            item.add_to(flat, low)
        return flat.view(out.shape)

    return forward


def bind(
    attachment: Attachment, biases: Sequence[Tensor | None], rows: Tensor, observer: Observer | None = None
) -> list[BoundDelta]:
    """Bound experts of one attachment, site by site, for a batch whose rows use task entries `rows` [B]."""
    adapter = attachment.adapter
    return [
        BoundDelta(adapter.delta(index), site, biases[index], rows, attachment.strength, observer)
        for index, site in enumerate(adapter.sites)
    ]


def site_swaps(model: nn.Module, bound: Sequence[Sequence[BoundDelta]]) -> list[tuple[nn.Module, Forward]]:
    """(module, new forward) for every Linear of `model` that any of the bound adapters attaches to."""
    by_module: dict[str, list[BoundDelta]] = {}
    for adapter in bound:
        for item in adapter:
            by_module.setdefault(item.site.module, []).append(item)
    swaps = []
    for path, items in by_module.items():
        module = find_module(model, path)
        swaps.append((module, site_forward(module.forward, items)))
    return swaps


def find_module(model: nn.Module, path: str) -> nn.Module:
    """The module at `path`, seen through torch.compile's shell; `ModelMismatchError` if there is none."""
    module: object = model
    for name in path.split("."):
        module = getattr(module, "_orig_mod", module)
        module = getattr(module, name, None)
    module = getattr(module, "_orig_mod", module)
    if not isinstance(module, nn.Module):
        raise ModelMismatchError(f"The connected model has no layer {path}; a whole model of the host was expected.")
    return module


@contextlib.contextmanager
def swapped(swaps: Sequence[tuple[nn.Module, Forward]]) -> Iterator[None]:
    """Put each new forward on its module for the duration of the block, as `overridden` does."""
    with overridden([(module, "forward", forward) for module, forward in swaps]):
        yield


@contextlib.contextmanager
def overridden(methods: Sequence[tuple[nn.Module, str, Callable[..., Any]]]) -> Iterator[None]:
    """Put each function on its module under its name for the duration of the block, then restore exactly what was there.

    An instance attribute that another tool had put there comes back; where there was none, none is left.
    """
    missing = object()
    previous: list[tuple[nn.Module, str, object]] = []
    try:
        for module, name, function in methods:
            previous.append((module, name, module.__dict__.get(name, missing)))
            module.__dict__[name] = function
        yield
    finally:
        for module, name, before in reversed(previous):
            if before is missing:
                module.__dict__.pop(name, None)
            else:
                module.__dict__[name] = before


@contextlib.contextmanager
def attached(model: nn.Module, attachments: Sequence[Attachment], rows: int, chunks: int = 1) -> Iterator[None]:
    """Attach adapters to a FLUX for a batch of `rows` rows in `chunks` equal parts; see `Attachment`.

    The straightforward form for training and tests; the host's wrapper keeps biases between steps instead.
    """
    device = next(model.parameters()).device
    bound = []
    for attachment in attachments:
        entries = torch.tensor(attachment.entry_rows(rows, chunks), device=device)
        bound.append(bind(attachment, attachment.task_biases(), entries))
    with swapped(site_swaps(model, bound)):
        yield

"""What training keeps in memory, counted operator by operator on the meta device, where tensors have sizes but no bytes.

A network's blocks of one kind are alike, so three of each are run and the rest is put in between: what each keeps for
backward, and the gradients that each leaves, are differences within that one pass. Tokens are those of the run, so
nothing is fitted to other sizes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..errors import X2EditError
from .config import OptimConfig
from .optim import make_optimiser
from .quantised import PLAIN, inner_tensors

GIB = 1 << 30
SAMPLED = 3
"""Blocks of a kind that are run: the first and the last differ from the others, so one stands between them."""


def bytes_of(tensor: Any) -> int:
    """Bytes that a tensor occupies, those inside a quantised one counted."""
    return sum(part.untyped_storage().nbytes() for part in inner_tensors(tensor))


@dataclass(frozen=True)
class Held:
    """Bytes at one moment: kept for backward (`copies` of weights apart), gradients, and all else."""

    kept: int = 0
    copies: int = 0
    gradients: int = 0
    workspace: int = 0

    @property
    def total(self) -> int:
        return self.kept + self.copies + self.gradients + self.workspace

    def __add__(self, other: Held) -> Held:
        return Held(*(a + b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)))

    def __sub__(self, other: Held) -> Held:
        return Held(*(a - b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)))

    def times(self, count: int) -> Held:
        return Held(*(count * part for part in dataclasses.astuple(self)))


@dataclass
class Phase:
    """Part of a pass: what was held when it began, and at its fullest."""

    began: Held
    fullest: Held


class Ledger(TorchDispatchMode):
    """Counts the storages that operators make, from when they are made until nothing holds them.

    Those of `weights` and `others` count for nothing; what is computed from `weights` alone and kept for backward counts as
    copies.
    """

    def __init__(self, weights: Iterable[Tensor] = (), others: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self._weights, self._others = _keys(weights), _keys(others)
        self._known: dict[int, tuple[int, str]] = {}
        self._derived: set[int] = set()
        self._sums: dict[str, int] = dict.fromkeys(("kept", "copies", "gradients", "workspace"), 0)
        self.phases: list[Phase] = [Phase(Held(), Held())]

    @property
    def held(self) -> Held:
        return Held(**self._sums)

    def begin(self) -> None:
        """A new phase."""
        self.phases.append(Phase(self.held, self.held))

    def keep(self) -> None:
        """Take all that lives for kept for backward."""
        for key, (_, kind) in list(self._known.items()):
            if kind == "workspace":
                self._move(key, "copies" if key in self._derived else "kept")

    def take_gradient(self, gradient: Tensor) -> None:
        self._move(gradient.untyped_storage()._cdata, "gradients")

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if any(kind not in PLAIN for kind in types):
            return NotImplemented  # a quantised weight's own operators come here one by one
        result = func(*args, **(kwargs or {}))
        read = [_key(item) for item in tree_leaves((args, kwargs or {})) if isinstance(item, Tensor)]
        derived = bool(read) and all(key in self._weights or key in self._derived for key in read)
        for item in tree_leaves(result):
            if isinstance(item, Tensor):
                self._enter(item.untyped_storage(), derived)
        if self.held.total > self.phases[-1].fullest.total:
            self.phases[-1].fullest = self.held
        return result

    def _enter(self, storage: Any, derived: bool) -> None:
        key = storage._cdata
        if key in self._weights or key in self._others or key in self._known:
            return
        self._known[key] = (storage.nbytes(), "workspace")
        self._sums["workspace"] += storage.nbytes()
        if derived:
            self._derived.add(key)
        weakref.finalize(storage, self._leave, key).atexit = False

    def _leave(self, key: int) -> None:
        size, kind = self._known.pop(key)
        self._sums[kind] -= size
        self._derived.discard(key)

    def _move(self, key: int, kind: str) -> None:
        if key in self._known:
            size, before = self._known[key]
            self._known[key] = (size, kind)
            self._sums[before] -= size
            self._sums[kind] += size


def _keys(tensors: Iterable[Tensor]) -> set[int]:
    return {_key(part) for tensor in tensors for part in inner_tensors(tensor)}


def _key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


@contextlib.contextmanager
def attending_in_parts() -> Iterator[None]:
    """Within it attention on the meta device is counted as devices compute it: without a table of all pairs of tokens."""
    original = functional.scaled_dot_product_attention

    def attention(
        q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, *args: Any, **kwargs: Any
    ) -> Tensor:
        if q.device.type != "meta":
            return original(q, k, v, attn_mask, *args, **kwargs)
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, attn_mask=attn_mask)[0]

    functional.scaled_dot_product_attention = attention
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = original


@dataclass(frozen=True)
class Blocks:
    """Blocks of one kind: those that are run, and how many there are in truth."""

    run: Sequence[nn.Module]
    count: int

    @property
    def more(self) -> int:
        return self.count - len(self.run)


def fullest(
    loss: Callable[[], Tensor],
    blocks: Sequence[Blocks],
    weights: Sequence[Tensor],
    trained: Sequence[Tensor],
    gradients_stay: bool = False,
    freed_at_once: bool = False,
) -> Held:
    """What the forward and backward of `loss` hold at their fullest, with as many blocks as there are in truth.

    `gradients_stay`: they are there from the start, of an earlier part of a step or as the buckets of several processes.
    `freed_at_once`: each goes as soon as it is complete.
    """
    ledger, outputs = Ledger(weights, trained), [item for kind in blocks for item in kind.run]
    taken = _take_gradients(ledger, trained, gradients_stay, freed_at_once)
    hooks = [block.register_forward_hook(_marking(ledger)) for block in outputs]
    try:
        with attending_in_parts(), ledger:
            value = loss()
            ledger.keep()
            ledger.begin()  # backward, up to the last block's
            torch.autograd.backward(value)
            del value
    finally:
        for hook in [*hooks, *taken]:
            hook.remove()
        for weight in trained:
            weight.grad = None
    every = max(_stretched(ledger.phases, blocks), key=lambda held: held.total)
    return every + Held(gradients=sum(map(bytes_of, trained)) if gradients_stay else 0)


def _take_gradients(ledger: Ledger, trained: Sequence[Tensor], stay: bool, freed: bool) -> list[Any]:
    def complete(weight: Tensor) -> None:
        assert weight.grad is not None
        ledger.take_gradient(weight.grad)
        if freed or stay:
            weight.grad = None

    return [weight.register_post_accumulate_grad_hook(complete) for weight in trained]


def _marking(ledger: Ledger) -> Callable[..., None]:
    """A phase ends with a block's forward, and another where its backward begins."""

    def forward(module: nn.Module, args: Any, out: Any) -> None:
        del module, args
        ledger.keep()
        ledger.begin()
        begun: list[bool] = []

        def backward(grad: Tensor) -> None:
            del grad
            if not begun:  # one of its results may be used by nothing
                begun.append(True)
                ledger.begin()

        for item in tree_leaves(out):
            if isinstance(item, Tensor) and item.requires_grad:
                item.register_hook(backward)

    return forward


def _stretched(phases: Sequence[Phase], blocks: Sequence[Blocks]) -> Iterator[Held]:
    """The fullest moment of each phase of the whole network: forward to each block's end, the head, backward from each.

    The phases are n blocks' forward, the head, backward of the head, and n blocks' backward in reverse.
    """
    count = sum(len(kind.run) for kind in blocks)
    if len(phases) != 2 * count + 2:
        raise X2EditError(f"{2 * count + 2} phases were expected of {count} blocks, {len(phases)} found.")
    places = [(kind, at) for kind, item in enumerate(blocks) for at in range(len(item.run))]
    ends = [phase.began for phase in phases]  # `ends[i + 1]`: after the forward of block i
    kept, left = [], []
    for kind, item in enumerate(blocks):
        middle, last = (places.index((kind, min(at, len(item.run) - 1))) for at in (1, SAMPLED - 1))
        grows = ends[last + 1] - ends[last]  # what reaches the second block is not yet what reaches all others
        kept.append(grows.times(item.more))
        # Backward of block i begins phase 2n + 1 - i.
        began = ends[2 * count + 1 - middle]
        after = ends[2 * count + 2 - middle] if middle else began
        left.append((after - began + grows).times(item.more))
    for number, (kind, at) in enumerate(places):
        follows = at > 0  # those that were not run stand behind the first
        before = _sum(kept[:kind]) + (kept[kind] if follows else Held())
        yield phases[number].fullest + before
        yield (
            phases[2 * count + 1 - number].fullest
            + before
            + _sum(left[kind + 1 :])
            + (Held() if follows else left[kind])
        )
    yield phases[count].fullest + _sum(kept)
    yield phases[count + 1].fullest + _sum(kept)


def _sum(parts: Sequence[Held]) -> Held:
    return sum(parts, Held())


@dataclass(frozen=True)
class Moments:
    """Bytes of an optimiser's state, and what a step needs beside it for the largest weight."""

    state: int
    step: int


def moments_of(trained: Mapping[str, Tensor], config: OptimConfig) -> Moments:
    """Counted by a step of the optimiser on weights of two small sizes of each kind, and scaled: both are linear in size."""
    lines: dict[Any, tuple[Moments, Moments]] = {}
    state, step = 0.0, 0.0
    for name, weight in trained.items():
        small, large = lines.setdefault(kind := _kind(name, weight), _sampled(kind, config))
        share = weight.numel() / kind.tried - 1
        state += small.state + share * (large.state - small.state)
        step = max(step, small.step + share * (large.step - small.step))
    return Moments(max(0, round(state)), max(0, round(step)))


_SMALL = 1 << 13


@dataclass(frozen=True)
class _Kind:
    """What an optimiser may treat differently: type, matrices within blocks, and sizes that divide into blocks of 256."""

    dtype: torch.dtype
    matrix: bool
    inner: bool
    even: bool

    @property
    def tried(self) -> int:
        """Values of the smaller weight that is tried; the other has twice as many."""
        return _SMALL if self.even else _SMALL + 64  # no multiple of 256


def _kind(name: str, weight: Tensor) -> _Kind:
    inner = "blocks." in name and "mod" not in name
    return _Kind(weight.dtype, weight.ndim == 2, inner, weight.numel() >= 4096 and weight.numel() % 256 == 0)


@functools.lru_cache(256)
def _sampled(kind: _Kind, config: OptimConfig) -> tuple[Moments, Moments]:
    found = []
    for length in (kind.tried, 2 * kind.tried):
        weight = nn.Parameter(torch.zeros((64, length // 64) if kind.matrix else (length,), dtype=kind.dtype))
        weight.grad = torch.zeros_like(weight)
        still = nn.Parameter(
            torch.zeros(1, dtype=kind.dtype)
        )  # some need a weight of each sort; without gradient, it has no state
        optimiser = make_optimiser({"blocks.0.weight" if kind.inner else "weight": weight, "still": still}, config)
        optimiser.step()  # which makes the state
        ledger = Ledger([weight])
        with ledger:
            optimiser.step()
        state = sum(bytes_of(item) for item in _tensors(optimiser.state_dict()))
        found.append(Moments(state, max(phase.fullest.total for phase in ledger.phases)))
    return found[0], found[1]


def _tensors(state: Any) -> list[Tensor]:
    return [item for item in tree_leaves(state) if isinstance(item, Tensor)]


@dataclass(frozen=True)
class Footprint:
    """Bytes on the device at the fullest moment of a training step, which is in backward or in the optimiser's step."""

    base: int
    trained: int
    optimiser: int
    average: int
    held: Held
    moment: str = "backward"
    elsewhere: int = 0
    """Bytes that host memory holds meanwhile: blocks, and what is kept for backward, if they are put there."""

    @property
    def total(self) -> int:
        return self.base + self.trained + self.optimiser + self.average + self.held.total

    def rows(self) -> dict[str, int]:
        """What stands in the table."""
        rows = {
            "base": self.base,
            "trained weights": self.trained,
            "gradients": self.held.gradients,
            "optimiser's state": self.optimiser,
            "moving average": self.average,
            "kept for backward": self.held.kept,
            "copies of weights kept for backward": self.held.copies,
            "workspace": self.held.workspace,
        }
        optional = ("moving average", "copies of weights kept for backward")
        return {name: size for name, size in rows.items() if size or name not in optional}


@dataclass(frozen=True)
class Switch:
    """A change of the configuration, as it is written there, and what the run would need with it."""

    words: str
    total: int


@dataclass(frozen=True)
class Plan:
    """A run's memory against its device's, in bytes; 0 where a device does not say what it has."""

    needed: Footprint
    work: str
    device: str = ""
    has: int = 0
    free: int = 0
    switches: Sequence[Switch] = field(default_factory=tuple)
    remarks: Sequence[str] = field(default_factory=tuple)

    @property
    def fits(self) -> bool:
        return not self.has or self.needed.total <= self.has

    def lines(self) -> list[str]:
        """The table, what it is measured against, and the switch that would help most."""
        needed = self.needed
        against = f" of the {in_gib(self.has)} of {self.device} ({in_gib(self.free)} free)" if self.has else ""
        lines = [f"memory for {self.work}: {in_gib(needed.total)}{against}, at its fullest in {needed.moment}:"]
        lines += [f"  {in_gib(size):>10}  {name}" for name, size in needed.rows().items()]
        if needed.elsewhere:
            lines.append(f"  {in_gib(needed.elsewhere):>10}  in host memory")
        lines += [f"  {text}" for text in self.remarks]
        best = min(self.switches, key=lambda item: item.total, default=None)
        if best and best.total < needed.total:
            lines.append(f"  most would be saved by {best.words}: {in_gib(best.total)}")
        if not self.fits:
            lines.append(f"Warning: {in_gib(needed.total)} are more than {self.device} has ({in_gib(self.has)}).")
        return lines


def in_gib(size: int) -> str:
    """Bytes in GiB, as graphics cards are sold; small ones in MiB."""
    return f"{size / GIB:.2f} GiB" if size >= GIB / 10 else f"{size / (1 << 20):.1f} MiB"

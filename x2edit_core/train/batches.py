"""Which samples, noise and σ a step sees: a function of the seed and the step alone, so that a run resumes exactly.

Everything is drawn for the whole batch and each process takes its rows, so that several processes see what one would.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.pairs import SampleError
from ..errors import X2EditError
from ..flow import draw_sigmas
from ..tasks import Task
from .config import TrainConfig
from .samples import MODES, Batch, Example, Mode, Pool

NOT_FINITE = "If it fails so for many, start ComfyUI with --fp32-vae or --bf16-vae and delete the data's cache."
"""What to do about an autoencoder whose precision does not suffice."""


def require_finite(example: Example, name: str) -> Example:
    """The example; raises `SampleError` where its latents hold NaN or infinity, which would spoil its whole step."""
    parts = {"target": example.target, "source": example.reference, "masked picture": example.concat}
    bad = [part for part, latents in parts.items() if latents is not None and not bool(torch.isfinite(latents).all())]
    if bad:
        raise SampleError(
            f"{name}: the latents of its {' and '.join(bad)} hold values that are no numbers. {NOT_FINITE}"
        )
    return example


def _name_of(pool: Pool, index: int) -> str:
    named = getattr(pool, "name_of", None)
    return named(index) if named else f"sample {index}"


@dataclass(frozen=True)
class Ranks:
    """This process among all that train together."""

    rank: int = 0
    world: int = 1

    def rows(self, batch: int) -> slice:
        share = batch // self.world
        return slice(self.rank * share, (self.rank + 1) * share)


def generator(*parts: object) -> torch.Generator:
    """A generator that depends on `parts` alone."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


class Batches:
    """The batches of a run by number: batch `step · accumulate + part`.

    `report` is told of broken samples; each is replaced by the next good one of its bucket. Broken are also those whose
    text is among the `unsaid`, which have no encoding.
    """

    def __init__(
        self,
        pools: Mapping[Mode, Pool],
        config: TrainConfig,
        ranks: Ranks | None = None,
        report: Callable[[SampleError], None] = lambda error: None,
        unsaid: Collection[str] = (),
    ) -> None:
        self._config, self._ranks, self._report = config, ranks or Ranks(), report
        self._unsaid = unsaid
        if config.batch % self._ranks.world:
            raise X2EditError(
                f"A batch of {config.batch} cannot be shared evenly by {self._ranks.world} processes; choose a multiple."
            )
        shares = {mode: share for mode, share in config.data.mix.items() if share > 0}
        self._orders = {mode: _order(pools[mode], config, mode) for mode in _modes(shares)}
        self.pools: dict[Mode, Pool] = {mode: pools[mode] for mode in _modes(shares)}
        self._modes: list[Mode] = _modes(shares)
        # Drawn one by one, so that a run that is made longer keeps the steps it has had.
        draw = random.Random(f"{config.seed}/modes")
        weights = [shares[mode] for mode in self._modes]
        count = config.steps * config.accumulate
        several = len(weights) > 1
        drawn = [draw.choices(range(len(weights)), weights)[0] for _ in range(count)] if several else None
        self._drawn = torch.tensor(drawn, dtype=torch.int8) if drawn else torch.zeros(count, dtype=torch.int8)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="x2edit-batches")
        self._next: tuple[int, Future[Batch]] | None = None

    def at(self, number: int) -> Batch:
        """Batch `number`, this process's rows; the following one is prepared meanwhile."""
        ahead = self._next
        batch = ahead[1].result() if ahead and ahead[0] == number else self._made(number)
        self._next = None
        if number + 1 < len(self._drawn):
            self._next = (number + 1, self._worker.submit(self._made, number + 1))
        return batch

    def first(self) -> Batch:
        """The run's first batch; to be asked before any other."""
        return self._made(0)

    def per_epoch(self, mode: Mode) -> int | None:
        """Batches in which every sample of a mode is seen; None where samples are drawn by weight."""
        order = self._orders[mode]
        return order.per_epoch if isinstance(order, _Epochs) else None

    def close(self) -> None:
        self._worker.shutdown(cancel_futures=True)

    def _made(self, number: int) -> Batch:
        config, position = self._config, int(self._drawn[number])
        mode = self._modes[position]
        earlier = int((self._drawn[:number] == position).sum())
        rows = self._ranks.rows(config.batch)
        indices = self._orders[mode].batch(earlier)[rows]
        examples = [self._example(mode, index) for index in indices]
        source = generator(config.seed, "noise", number)
        sigma = draw_sigmas(config.batch, config.loss.time_law, source, config.loss.time_mean, config.loss.time_spread)
        noise = torch.randn(config.batch, *examples[0].target.shape, generator=source)
        if config.data.drop_text:
            dropped = (torch.rand(config.batch, generator=source) < config.data.drop_text)[rows]
            examples = [_silenced(item) if drop else item for item, drop in zip(examples, dropped, strict=True)]
        return Batch.of(mode, examples, noise[rows], sigma[rows])

    def _example(self, mode: Mode, index: int) -> Example:
        """The sample, or the next of its bucket that is not broken."""
        pool = self.pools[mode]
        order = self._orders[mode]
        for candidate in order.neighbours(index):
            try:
                example = require_finite(pool.example(candidate), _name_of(pool, candidate))
                if example.instruction in self._unsaid:
                    raise SampleError(f"{_name_of(pool, candidate)}: its text encodes to values that are no numbers")
                return example
            except SampleError as error:
                self._report(error)
        raise X2EditError(
            f"Every sample of bucket {pool.buckets[index]} is broken; skipped.txt of the data's cache lists why."
        )


def _modes(shares: Mapping[str, float]) -> list[Mode]:
    return [mode for mode in MODES if mode in shares]


def _silenced(example: Example) -> Example:
    return Example(example.target, "", example.task, example.reference, example.concat)


def _order(pool: Pool, config: TrainConfig, mode: Mode) -> _Epochs | _Weighted:
    if not len(pool.tasks):
        raise X2EditError(f"There is nothing to learn from: no usable sample for the mode {mode}.")
    order = _Weighted if config.data.tasks and mode in ("edit", "diptych") else _Epochs
    return order(pool, config, mode)


class _Order:
    """Batches of one mode by number, each of one bucket."""

    def __init__(self, pool: Pool, config: TrainConfig, mode: Mode) -> None:
        self._seed, self._size, self._mode = config.seed, config.batch, mode
        self._buckets: dict[int, list[int]] = {}
        for index, bucket in enumerate(pool.buckets):
            self._buckets.setdefault(bucket, []).append(index)
        self._place = {index: (bucket, at) for bucket, found in self._buckets.items() for at, index in enumerate(found)}

    def neighbours(self, index: int) -> list[int]:
        """`index`, then the others of its bucket."""
        bucket, at = self._place[index]
        found = self._buckets[bucket]
        return found[at:] + found[:at]


class _Epochs(_Order):
    """Every sample once per epoch, shuffled; a bucket's last batch is filled up from its start."""

    def __init__(self, pool: Pool, config: TrainConfig, mode: Mode) -> None:
        super().__init__(pool, config, mode)
        self.per_epoch = sum(-(-len(found) // self._size) for found in self._buckets.values())
        self._epoch, self._batches = -1, []

    def batch(self, number: int) -> list[int]:
        epoch, position = divmod(number, self.per_epoch)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._shuffled(epoch)
        return self._batches[position]

    def _shuffled(self, epoch: int) -> list[list[int]]:
        source = generator(self._seed, "order", self._mode, epoch)
        batches: list[list[int]] = []
        for found in self._buckets.values():
            order = [found[at] for at in torch.randperm(len(found), generator=source).tolist()]
            short = -len(order) % self._size
            while short > 0:
                order += order[:short]
                short = -len(order) % self._size
            batches += [order[at : at + self._size] for at in range(0, len(order), self._size)]
        return [batches[at] for at in torch.randperm(len(batches), generator=source).tolist()]


class _Weighted(_Order):
    """Samples drawn with replacement, by the weights of their tasks."""

    def __init__(self, pool: Pool, config: TrainConfig, mode: Mode) -> None:
        super().__init__(pool, config, mode)
        by_id = {Task.from_name(name).id: weight for name, weight in config.data.tasks.items()}
        known = {task: by_id.get(task, 1.0) / count for task, count in _counts(pool.tasks).items()}
        weights = torch.tensor([known[task] for task in pool.tasks], dtype=torch.float64)
        if not weights.sum() > 0:
            names = ", ".join(sorted(Task.from_id(task).english for task in known))
            raise X2EditError(f"data.tasks gives the weight 0 to every task of the data, which has: {names}.")
        self._weights = {bucket: weights[found] for bucket, found in self._buckets.items()}

    def batch(self, number: int) -> list[int]:
        source = generator(self._seed, "order", self._mode, number)
        names = list(self._buckets)
        sums = torch.stack([self._weights[name].sum() for name in names])
        bucket = names[int(torch.multinomial(sums, 1, generator=source))]
        chosen: Tensor = torch.multinomial(self._weights[bucket], self._size, True, generator=source)
        return [self._buckets[bucket][at] for at in chosen.tolist()]


def _counts(tasks: object) -> dict[int, int]:
    counts: dict[int, int] = {}
    for task in tasks:  # pyright: ignore[reportGeneralTypeIssues]
        counts[task] = counts.get(task, 0) + 1
    return counts

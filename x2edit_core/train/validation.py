"""Held-out samples: what they cost at fixed noise and σ, and how close edits of them come, on the way.

What is held out is chosen by the seed alone and whole: pairs with one source picture, and a sample as edit and as copy, are
on one side.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .. import flow
from ..errors import X2EditError
from ..shift import Spread
from . import losses
from .batches import SampleError, generator, require_finite
from .config import TrainConfig
from .model import Inputs, Model
from .preview import Decoder, sampled
from .samples import Batch, Example, Mode, Pool, TextEncoder

COLUMNS = ("loss", "psnr_db", "seconds")


class Part:
    """Some samples of a pool, as a pool."""

    def __init__(self, whole: Pool, indices: Sequence[int]) -> None:
        self.whole, self.indices = whole, list(indices)
        self.tasks = [whole.tasks[index] for index in indices]
        self.buckets = [whole.buckets[index] for index in indices]

    @property
    def words(self) -> list[str]:
        words: Sequence[str] = getattr(self.whole, "words", None) or [""] * len(self.whole.tasks)
        return [words[index] for index in self.indices]

    def saying(self, unsaid: Collection[str]) -> Part:
        """Those whose words have an encoding, which the `unsaid` have not."""
        kept = [index for index, words in zip(self.indices, self.words, strict=True) if words not in unsaid]
        return Part(self.whole, kept)

    @property
    def summary(self) -> Any:
        return getattr(self.whole, "summary", None)

    def name_of(self, index: int) -> str:
        named = getattr(self.whole, "name_of", None)
        return named(self.indices[index]) if named else f"sample {self.indices[index]}"

    def example(self, index: int) -> Example:
        return self.whole.example(self.indices[index])


def held_out(pools: Mapping[Mode, Pool], share: float, seed: int) -> tuple[dict[Mode, Part], Part]:
    """The pools without a `share` of their edits, and those edits; raises `X2EditError` where nothing would be left."""
    edits = pools["edit"]
    groups: dict[str, list[int]] = {}
    for index in range(len(edits.tasks)):
        named = getattr(edits, "name_of", None)
        groups.setdefault(named(index) if named else str(index), []).append(index)
    wanted = max(1, round(share * len(edits.tasks)))
    names = list(groups)
    held: list[int] = []
    for place in torch.randperm(len(names), generator=generator(seed, "held out")).tolist():
        if len(held) >= wanted:
            break
        held += groups[names[place]]
    if len(held) == len(edits.tasks):
        raise X2EditError(
            f"validation.share = {share:g} of {len(held)} samples leaves nothing to learn from, as samples with one source "
            "stay together. Add samples, or set it to 0."
        )
    out = set(held)
    return {mode: _without(mode, pool, out) for mode, pool in pools.items()}, Part(edits, sorted(held))


def _without(mode: Mode, pool: Pool, out: set[int]) -> Part:
    """A pool without the samples that are held out; pictures are no edits, so all of them stay."""
    return Part(pool, [index for index in range(len(pool.tasks)) if mode == "picture" or index not in out])


@dataclass(frozen=True)
class Score:
    """Of the held-out samples: their mean flow loss, and the mean PSNR in dB of the edits that were drawn (nan: none)."""

    loss: float
    psnr_db: float
    seconds: float


class Validation:
    """Judges a model by `pool`, with the same noise and σ every time. `sheet` shows source, edit and target of each."""

    def __init__(self, config: TrainConfig, pool: Pool, decode: Decoder | None, schedule: Spread) -> None:
        self._config, self._decode, self._schedule = config, decode, schedule
        self._batches = list(_batches(config, pool))
        if not self._batches:
            raise X2EditError("None of the samples held out for validation can be read; skipped.txt lists why.")

    @torch.no_grad()
    def score(self, model: Model, text: TextEncoder, sheet: Path) -> Score:
        started = time.perf_counter()
        errors = torch.cat([self._errors(model, text, batch) for batch in self._batches])
        return Score(float(errors.mean()), self._drawn(model, text, sheet), time.perf_counter() - started)

    def _errors(self, model: Model, text: TextEncoder, batch: Batch) -> Tensor:
        device = model.device
        target, noise, sigma = (part.to(device) for part in (batch.target, batch.noise, batch.sigma))
        context, pooled = text(batch.instructions)
        references = () if batch.reference is None else (batch.reference.to(device),)
        concat = None if batch.concat is None else batch.concat.to(device)
        inputs = Inputs(flow.noised(target, noise, sigma), sigma, context, pooled, batch.tasks, references, concat)
        with model.predicting(inputs) as prediction:
            return losses.flow_errors(prediction.velocity, flow.velocity(target, noise)).cpu()

    def _drawn(self, model: Model, text: TextEncoder, sheet: Path) -> float:
        """Edits of the first samples against what the autoencoder makes of their targets."""
        left = self._config.validation.drawn
        if not left or self._decode is None:
            return float("nan")
        rows, found = [], []
        for batch in self._batches:
            some = batch.first(min(left, len(batch.tasks)))
            left -= len(some.tasks)
            edited = sampled(model, text, some, self._config.sample_steps, self._schedule)
            parts = [part for part in (some.reference, edited, some.target) if part is not None]
            pictures = [self._decode(part.float().cpu()).clamp(0, 1) for part in parts]
            first = 0 if some.concat is None else pictures[-1].shape[2] // 2
            found += [_psnr(*pair) for pair in zip(pictures[-2][:, :, first:], pictures[-1][:, :, first:], strict=True)]
            rows.append(torch.cat([picture.flatten(0, 1) for picture in pictures], 1))
            if not left:
                break
        width = max(row.shape[1] for row in rows)
        whole = torch.cat([torch.nn.functional.pad(row, (0, 0, 0, width - row.shape[1]), value=1.0) for row in rows])
        sheet.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((whole * 255).round().numpy().astype(np.uint8)).save(sheet)
        return statistics.mean(found)


def _psnr(one: Tensor, other: Tensor) -> float:
    return float(-10 * (one - other).square().mean().clamp_min(1e-10).log10())


def _batches(config: TrainConfig, pool: Pool) -> Iterator[Batch]:
    """The held-out samples in batches of one shape each, at most `validation.samples` of them, spread over all."""
    count = len(pool.tasks)
    step = -(-count // config.validation.samples)
    by_bucket: dict[int, list[Example]] = {}
    for index in range(0, count, step):
        try:
            example = require_finite(pool.example(index), f"sample {index}")
        except SampleError:
            continue
        by_bucket.setdefault(pool.buckets[index], []).append(example)
    law = config.loss
    for bucket, examples in by_bucket.items():
        source = generator(config.seed, "validation", bucket)
        for at in range(0, len(examples), config.batch):
            some = examples[at : at + config.batch]
            sigma = flow.draw_sigmas(len(some), law.time_law, source, law.time_mean, law.time_spread)
            yield Batch.of("edit", some, torch.randn(len(some), *some[0].target.shape, generator=source), sigma)

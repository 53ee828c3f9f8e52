#!/usr/bin/env python3
"""Trains the classifier's weights from the labelled instructions: `python3 tools/dev.py classifier`.

Logistic regression by L-BFGS from zero, so that the same data give the same weights. Sharpness and the trust in the rules
are fitted on logits of passes that a fold's model has not seen.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from classifier.data import OWN, TRAINING, Sentence, stored  # noqa: E402
from x2edit_core.classify.features import features, hashed  # noqa: E402
from x2edit_core.classify.model import STEPS, WEIGHTS, trusted  # noqa: E402
from x2edit_core.classify.rules import read as read_by_rules  # noqa: E402
from x2edit_core.tasks import TASK_COUNT, Task  # noqa: E402

DECAY = 0.15  # weight of the squared weights beside one sentence's loss
SMOOTHING = 0.04  # share of a label that is spread over all tasks
ITERATIONS = 50
KEPT = 47_000  # features in the file: 21 bytes each, together under a megabyte
FOLDS = 4
OLDER = ("development", "variations")
"""The files that the rules were made with."""


@dataclass(frozen=True)
class Table:
    """Features of sentences in CSR form: `starts` [n + 1], `numbers` hashed names, `counts`."""

    starts: np.ndarray
    numbers: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, texts: list[str]) -> Table:
        counted = [features(text) for text in texts]
        starts = np.cumsum([0, *map(len, counted)])
        numbers = np.fromiter((hashed(name) for row in counted for name in row), np.uint32, starts[-1])
        return cls(starts, numbers, np.fromiter((n for row in counted for n in row.values()), np.float32, starts[-1]))

    def rarities(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Numbers that occur in two of `rows` or more, ascending, and log((1 + n) / (1 + occurrences)) + 1 of each."""
        picked = np.concatenate([self.numbers[self.starts[k] : self.starts[k + 1]] for k in rows])
        numbers, occurrences = np.unique(picked, return_counts=True)
        several = occurrences > 1
        return numbers[several], (np.log((1 + len(rows)) / (1 + occurrences[several])) + 1).astype(np.float16)

    def matrix(self, rows: np.ndarray, numbers: np.ndarray, rarity: np.ndarray) -> torch.Tensor:
        """CSR [rows, numbers]: (1 + log count) · rarity, each row at length one."""
        places = np.minimum(np.searchsorted(numbers, self.numbers), len(numbers) - 1)
        values = np.where(numbers[places] == self.numbers, (1 + np.log(self.counts)) * rarity[places], 0)
        columns, cells, ends = [], [], [0]
        for k in rows:
            here = slice(self.starts[k], self.starts[k + 1])
            kept = np.flatnonzero(values[here])
            kept = kept[np.argsort(places[here][kept])]
            row = values[here][kept]
            columns.append(places[here][kept])
            cells.append(row / max(float(np.linalg.norm(row)), 1e-6))
            ends.append(ends[-1] + len(kept))
        parts = (torch.tensor(ends), torch.from_numpy(np.concatenate(columns)), torch.from_numpy(np.concatenate(cells)))
        return torch.sparse_csr_tensor(parts[0], parts[1], parts[2].float(), (len(rows), len(numbers)))


class _Product(torch.autograd.Function):
    """A constant sparse matrix times weights; torch's own backward of it would make the matrix dense."""

    @staticmethod
    def forward(ctx, weights: torch.Tensor, matrix: torch.Tensor, transposed: torch.Tensor) -> torch.Tensor:  # noqa: ANN001
        ctx.transposed = transposed
        return matrix @ weights

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):  # noqa: ANN001, ANN205
        return ctx.transposed @ gradient.contiguous(), None, None


def fit(matrix: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights [features, 16] and bias [16] of least regularised cross-entropy."""
    transposed = matrix.to_sparse_coo().t().coalesce().to_sparse_csr()
    wanted = torch.nn.functional.one_hot(labels, TASK_COUNT) * (1 - SMOOTHING) + SMOOTHING / TASK_COUNT
    weights = torch.zeros(matrix.shape[1], TASK_COUNT, requires_grad=True)
    bias = torch.zeros(TASK_COUNT, requires_grad=True)
    search = torch.optim.LBFGS([weights, bias], max_iter=ITERATIONS, history_size=8, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        search.zero_grad()
        logits = _Product.apply(weights, matrix, transposed) + bias
        misfit = -(wanted * torch.log_softmax(logits, 1)).sum() / len(labels)
        total = misfit + DECAY / 2 * weights.square().sum() / len(labels)
        total.backward()
        return total

    search.step(loss)
    return weights.detach(), bias.detach()


def unseen_logits(table: Table, labels: torch.Tensor, voices: list[str]) -> tuple[np.ndarray, torch.Tensor]:
    """All rows, each with its logits by a model that saw nothing of its pass; the two older files are one fold."""
    passes = sorted({voice for voice in voices if voice not in OLDER})
    rows, logits = [], []
    for out in (set(OLDER), *(set(passes[fold::FOLDS]) for fold in range(FOLDS))):
        train = np.array([k for k, voice in enumerate(voices) if voice not in out])
        test = np.array([k for k, voice in enumerate(voices) if voice in out], dtype=int)
        numbers, rarity = table.rarities(train)
        weights, bias = fit(table.matrix(train, numbers, rarity), labels[train])
        logits.append(table.matrix(test, numbers, rarity) @ weights + bias)
        rows.append(test)
        print(f"without {', '.join(sorted(out))}: {_right(logits[-1], labels[test]):.1%} of them right", flush=True)
    return np.concatenate(rows), torch.cat(logits)


@dataclass(frozen=True)
class Unseen:
    """Rows of one language: logits of models that did not see them, the rules' task and steps, whether from a written pass."""

    logits: torch.Tensor
    labels: torch.Tensor
    tasks: torch.Tensor
    steps: torch.Tensor
    written: torch.Tensor

    def shares(self, sharpness: torch.Tensor | float, trust: torch.Tensor) -> torch.Tensor:
        said = torch.nn.functional.one_hot(self.tasks, TASK_COUNT) * (self.steps @ trust)[:, None]
        return self.logits * sharpness + said

    def calibrated(self) -> tuple[float, np.ndarray]:
        """Sharpness and trust: their proportion from written passes and older files alike, their size from the former alone.

        The rules were made with the older files, which flatters them there; but without those files nothing would say
        how good the rules are with plain requests, which the written passes avoid.
        """
        sharpness, trust, size = torch.ones(1), torch.zeros(len(STEPS)), torch.ones(1)
        halves = (self.written, ~self.written)
        _minimise([sharpness, trust], lambda: sum(self._misfit(self.shares(sharpness, trust), half) for half in halves))
        _minimise([size], lambda: self._misfit(self.shares(sharpness, trust) * size, self.written))
        sharpness, trust = (sharpness * size).detach(), (trust * size).detach()
        right = [
            _right(logits[self.written], self.labels[self.written])
            for logits in (self.logits, self.shares(sharpness, trust))
        ]
        told = f"sharpness {sharpness.item():.2f}, trust {[round(value, 2) for value in trust.tolist()]}"
        print(f"{told}: unseen passes {right[0]:.1%} right alone, {right[1]:.1%} with the rules", flush=True)
        return sharpness.item(), trust.numpy()

    def _misfit(self, logits: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(logits[rows], self.labels[rows])


def _minimise(values: list[torch.Tensor], misfit: Callable[[], Any]) -> None:
    for value in values:
        value.requires_grad_(True)
    search = torch.optim.LBFGS(values, max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        search.zero_grad()
        found = misfit()
        found.backward()
        return found

    search.step(loss)
    for value in values:
        value.requires_grad_(False)


def calibration(rows: list[Sentence], table: Table, labels: torch.Tensor) -> list[tuple[float, np.ndarray]]:
    """Sharpness and trust in English and in Chinese."""
    order, logits = unseen_logits(table, labels, [row.voice for row in rows])
    said = [read_by_rules(rows[k].text) for k in order]
    tasks = torch.tensor([found.task.id for found in said])
    steps = torch.from_numpy(np.stack([trusted(found.confidence) for found in said]))
    written = torch.tensor([rows[k].voice not in OLDER for k in order])
    fitted = []
    for language in ("en", "zh"):
        here = torch.tensor([rows[k].language == language for k in order])
        columns = (logits, labels[order], tasks, steps, written)
        fitted.append(Unseen(*(column[here] for column in columns)).calibrated())
    return fitted


def pruned(numbers: np.ndarray, rarity: np.ndarray, weights: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The features whose weights differ most between tasks."""
    force = (weights - weights.mean(1, keepdim=True)).abs().amax(1).numpy() * rarity
    kept = np.sort(np.argsort(-force, kind="stable")[:KEPT])
    return numbers[kept], rarity[kept]


def _right(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return (logits.argmax(1) == labels).float().mean().item()


def sentences() -> list[Sentence]:
    """All that may be trained on: the written passes where no second reader disagreed, and the two older files."""
    own = [row for name in OLDER for row in stored(OWN / f"{name}.jsonl")]
    return own + [row for row in stored(TRAINING) if row.agreed is not False]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=WEIGHTS)
    args = parser.parse_args()
    start, rows = time.perf_counter(), sentences()
    torch.use_deterministic_algorithms(True)
    table = Table.of([row.text for row in rows])
    labels = torch.tensor([Task.from_name(row.task).id for row in rows])
    print(
        f"{len(rows)} sentences, {Counter(row.language for row in rows)}, {time.perf_counter() - start:.0f} s",
        flush=True,
    )
    fitted = calibration(rows, table, labels)
    everything = np.arange(len(rows))
    numbers, rarity = table.rarities(everything)
    weights, _ = fit(table.matrix(everything, numbers, rarity), labels)
    numbers, rarity = pruned(numbers, rarity, weights)
    weights, bias = fit(table.matrix(everything, numbers, rarity), labels)
    scale = weights.abs().amax(0) / 127
    np.savez_compressed(
        args.output,
        numbers=numbers,
        rarity=rarity,
        weights=(weights / scale).round().to(torch.int8).numpy(),
        scale=scale.numpy(),
        bias=bias.numpy(),
        sharpness=np.array([sharpness for sharpness, _ in fitted], np.float32),
        trust=np.array([trust for _, trust in fitted], np.float32),
    )
    print(f"{args.output}: {args.output.stat().st_size} bytes, {time.perf_counter() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())

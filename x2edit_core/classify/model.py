"""The learned reader: a multinomial logistic regression over hashed n-grams, with what the rules say as one more voice.

Trained by `tools/dev.py classifier` from the project's own labelled instructions; docs/classifier.md has the figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..tasks import Task
from .features import features, hashed
from .language import ENGLISH, UNKNOWN
from .rules import Reading as RuleReading
from .rules import read as read_by_rules

WEIGHTS = Path(__file__).with_name("weights.npz")
STEPS = (0.0, 0.5, 0.7, 0.8, 0.9)
"""Confidences of the rules from which on their answer weighs more."""
SHOWN = 6


@dataclass(frozen=True)
class Model:
    """`weights` int8 [features, 16] times `scale` [16]; `numbers` uint32 [features] ascending; `rarity` [features].

    `sharpness` [2] divides nothing but multiplies the logits, in English and Chinese, so that confidences are shares;
    `trust` [2, len(STEPS)] is added to the logit of the rules' task, summed over the steps that their confidence passes.
    """

    numbers: np.ndarray
    rarity: np.ndarray
    weights: np.ndarray
    scale: np.ndarray
    bias: np.ndarray
    sharpness: np.ndarray
    trust: np.ndarray

    def known(self, text: str) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Names, rows and values (their squares sum to one) of the features of `text` that the model has weights for."""
        counted = features(text)
        names = list(counted)
        wanted = np.fromiter((hashed(name) for name in names), np.uint32, len(names))
        rows = np.minimum(np.searchsorted(self.numbers, wanted), len(self.numbers) - 1)
        kept = np.flatnonzero(self.numbers[rows] == wanted)
        rows = rows[kept]
        counts = np.fromiter(counted.values(), np.float32, len(names))[kept]
        values = (1 + np.log(counts)) * self.rarity[rows].astype(np.float32)
        return [names[k] for k in kept], rows, values / max(float(np.linalg.norm(values)), 1e-6)

    def evidence(self, text: str) -> tuple[list[str], np.ndarray]:
        """The known features and what each adds to the sixteen logits, [features, 16]."""
        names, rows, values = self.known(text)
        return names, self.weights[rows].astype(np.float32) * values[:, None] * self.scale


@lru_cache(maxsize=1)
def model() -> Model:
    """The shipped weights."""
    with np.load(WEIGHTS, allow_pickle=False) as stored:
        return Model(**{name: stored[name] for name in Model.__dataclass_fields__})


def trusted(confidence: float) -> np.ndarray:
    """Which of `STEPS` a confidence of the rules passes, [len(STEPS)] of 0 and 1."""
    return np.array([confidence > step for step in STEPS], np.float32)


@dataclass(frozen=True)
class Reading:
    """What was read: the language, the words that spoke for the task, the task and its share of the sixteen."""

    language: str
    task: Task
    confidence: float
    words: tuple[tuple[float, str], ...]
    rules: RuleReading

    @property
    def report(self) -> str:
        lines = [f"{weight:+.2f} {word}" for weight, word in self.words]
        if self.rules.task is not Task.OTHER:
            lines.append(f"the rules: {self.rules.task.english} ({self.rules.confidence:.2f})")
        return "\n".join([f"learned, language {self.language}: {self.task.english}", *lines])


def read(instruction: str) -> Reading:
    """Reads an instruction; a language other than English or Chinese reads as `other`, confidence 0."""
    rules = read_by_rules(instruction)
    if rules.language == UNKNOWN:
        return Reading(UNKNOWN, Task.OTHER, 0.0, (), rules)
    found, language = model(), int(rules.language != ENGLISH)
    names, evidence = found.evidence(instruction)
    logits = (evidence.sum(0) + found.bias) * found.sharpness[language]
    logits[rules.task.id] += float(trusted(rules.confidence) @ found.trust[language])
    shares = np.exp(logits - logits.max())
    best = int(np.argmax(shares))
    task, confidence = Task.from_id(best), float(shares[best] / shares.sum())
    if not names:
        return Reading(rules.language, Task.OTHER, 0.0, (), rules)
    return Reading(rules.language, task, confidence, _deciding(names, evidence[:, best] - evidence.mean(1)), rules)


def _deciding(names: list[str], gains: np.ndarray) -> tuple[tuple[float, str], ...]:
    """The wordings that spoke loudest for the task, against the average of all; pieces of words are not shown."""
    assert gains.shape == (len(names),)
    ranked = sorted(zip(gains.tolist(), names, strict=True), key=lambda pair: (-pair[0], pair[1]))
    told = [(gain, name[1:]) for gain, name in ranked if name[0] in "wslm" and gain > 0]
    return tuple(told[:SHOWN])

"""Evidence for tasks: what the readers of both languages produce, and how it becomes one answer."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..tasks import Task

ENOUGH = 0.6  # added to the strongest score before it is trusted: one faint clue alone stays below one half
SHARPNESS = 1.5  # score margin at which the runner-up stops mattering


@dataclass(frozen=True)
class Evidence:
    """One reason for (or, with a negative weight, against) a task."""

    task: Task
    weight: float
    reason: str
    position: int = 0
    """Where in the text the wording stands; 0 for readings of a whole clause."""


@dataclass(frozen=True)
class Clue:
    """A wording that speaks for a task wherever it stands in the sentence."""

    task: Task
    weight: float
    pattern: re.Pattern[str]

    def read(self, text: str) -> list[Evidence]:
        match = self.pattern.search(text)
        return [Evidence(self.task, self.weight, match.group(0).strip(), match.start())] if match else []


def clue(task: Task, weight: float, pattern: str) -> Clue:
    return Clue(task, weight, re.compile(pattern))


def read_clues(clues: Sequence[Clue], text: str) -> list[Evidence]:
    return [evidence for one in clues for evidence in one.read(text)]


def weigh(evidence: Iterable[Evidence]) -> dict[Task, float]:
    """Summed weight of each task that has any evidence."""
    scores: dict[Task, float] = {}
    for item in evidence:
        scores[item.task] = scores.get(item.task, 0.0) + item.weight
    return scores


def decide(scores: dict[Task, float]) -> tuple[Task, float]:
    """The task with the highest score (the lower id on a tie) and a confidence in 0–1.

    Confidence grows with the score itself and with its margin over the runner-up; it is a ranking, not a probability.
    """
    ranked = sorted(scores.items(), key=lambda item: (-item[1], item[0].id))
    if not ranked or ranked[0][1] <= 0:
        return Task.OTHER, 0.0
    task, best = ranked[0]
    second = max(ranked[1][1], 0.0) if len(ranked) > 1 else 0.0
    return task, (1 - 0.5 * math.exp(-(best - second) / SHARPNESS)) * best / (best + ENOUGH)

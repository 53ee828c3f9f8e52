"""What each way to choose among seeds is worth, replayed on recorded looks (`looks.py`) with the filter's own bookkeeping.

The judge knows the exact errors; mistakes are planted in it: a verdict or an answer is turned around with probability
`wrong`, and with probability `first` the first of two is preferred whatever they show.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch

from bench.looks import Looks
from x2edit_core.choosing.judge import Verdict
from x2edit_core.choosing.referee import Panel, Run
from x2edit_core.choosing.seeds import Plan, Selection, select

STEPS, EARLY = 28, 10
WAYS: dict[str, dict[str, Any]] = {
    "one seed": {"seeds": 1},
    "paper": {"mode": "paper"},
    "continue": {"mode": "continue"},
    "halving": {"mode": "halving"},
    "adaptive": {"mode": "adaptive"},
    "best of M in full": {"mode": "continue", "early_steps": STEPS},
}
WRONG, FIRST = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5), (0.0, 0.25, 0.5)
REPEATS, RESAMPLES = 2, 1000
QUESTIONS = ("done", "whole", "everywhere")


class Replay:
    """A denoiser whose runs were recorded."""

    obstacle = ""

    def __init__(self, looks: Looks) -> None:
        self.looks = looks
        self.shown: dict[int, tuple[int, int, int]] = {}
        self._kept: list[Any] = []

    def start(self, seed: int, steps: int) -> Run:
        return Run(seed, steps)

    def advance(self, runs: Sequence[Run], until: int) -> None:
        for run in runs:
            run.evaluations += max(0, until - run.done)
            run.done = max(run.done, until)

    def preview(self, run: Run) -> torch.Tensor:
        picture = torch.from_numpy(self.looks.pictures[run.steps][run.seed, run.done - 1]).float() / 255
        self.shown[id(picture)] = (run.steps, run.seed, run.done - 1)
        self._kept.append(picture)
        return picture

    def errors(self, picture: Any) -> np.ndarray:
        steps, seed, step = self.shown[id(picture)]
        return self.looks.errors[steps][seed, step]

    def quality(self, picture: Any) -> tuple[bool, float]:
        """Whether it is right, then how near."""
        steps, seed, step = self.shown[id(picture)]
        return quality(self.looks, steps, seed, step)


def quality(looks: Looks, steps: int, seed: int, step: int) -> tuple[bool, float]:
    return bool(looks.errors[steps][seed, step].max() <= 1), float(looks.psnr[steps][seed, step])


class Mistaken:
    """The exact judge with planted mistakes."""

    def __init__(self, replay: Replay, wrong: float, first: float, seed: int) -> None:
        self._replay, self._wrong, self._first = replay, wrong, first
        self._random = np.random.default_rng(seed)

    def compare(self, a: Any, b: Any) -> Verdict:
        better = self._replay.quality(a) >= self._replay.quality(b)
        if self._random.random() < self._wrong:
            better = not better
        if self._random.random() < self._first:
            better = True
        return Verdict("A" if better else "B")

    def answers(self, picture: Any, questions: Sequence[str]) -> list[float]:
        right = 1 / (1 + np.maximum(self._replay.errors(picture), 1e-9))
        turned = self._random.random(len(questions)) < self._wrong
        return [float(value) for value in np.where(turned, 1 - right, right)]


def played(
    looks: Looks, way: str, wrong: float = 0.0, first: float = 0.0, seed: int = 0, steps: int = STEPS
) -> Selection:
    replay = Replay(looks)
    judge = Mistaken(replay, wrong, first, seed)
    seeds = len(looks.errors[steps])
    options = {"seeds": seeds, "early_steps": min(EARLY, steps), "mode": "continue"} | WAYS[way]
    if options["early_steps"] == STEPS:
        options["early_steps"] = steps
    panel = Panel(
        judge.compare, questions=lambda: QUESTIONS, answers=judge.answers, source=torch.from_numpy(looks.source) / 255
    )
    return select(Plan(0, steps=steps, **options), replay, panel)


def outcome(looks: Looks, selection: Selection) -> tuple[bool, int]:
    """Whether the chosen edit is right, and what it cost."""
    steps = selection.plan.steps
    return quality(looks, steps, selection.run.seed, steps - 1)[0], selection.evaluations


def table(
    scenes: Sequence[Looks], wrong: float = 0.0, first: float = 0.0, repeats: int = 1, steps: int = STEPS
) -> dict[str, Any]:
    """Way → right edits, evaluations, and right edits for as many evaluations as all seeds in full cost; with 95 % bounds."""
    ways = WAYS if steps == STEPS else {way: WAYS[way] for way in WAYS if way != "paper"}
    full, rows = steps * len(scenes[0].errors[steps]), {}
    measures = {
        "right": lambda part: part[:, 0].mean(),
        "evaluations": lambda part: part[:, 1].mean(),
        "right_per_full": lambda part: part[:, 0].sum() / part[:, 1].sum() * full,
    }
    for way in ways:
        found = np.array(
            [
                [outcome(one, played(one, way, wrong, first, 1000 * number + draw, steps)) for draw in range(repeats)]
                for number, one in enumerate(scenes)
            ],
            float,
        ).mean(1)
        if way == "one seed":  # the mean of all seeds, any of which it could have been
            found[:, 0] = [(one.errors[steps][:, -1].max(-1) <= 1).mean() for one in scenes]
        rows[way] = {name: _bounds(found, measure) for name, measure in measures.items()}
    return rows


def _bounds(found: np.ndarray, measure: Callable[[np.ndarray], float]) -> list[float]:
    """The value, and 95 % bounds from resampled scenes."""
    random = np.random.default_rng(0)
    drawn = [measure(found[random.integers(0, len(found), len(found))]) for _ in range(RESAMPLES)]
    return [float(measure(found)), *(float(value) for value in np.quantile(drawn, (0.025, 0.975)))]


def easy(scenes: Sequence[Looks]) -> dict[str, float]:
    """Edits that half of the seeds and more get right: whole runs that `adaptive` takes in the median, and how many."""
    chosen = [one for one in scenes if (one.errors[STEPS][:, -1].max(-1) <= 1).mean() >= 0.5]
    runs = [played(one, "adaptive").evaluations / STEPS for one in chosen]
    return {"scenes": len(chosen), "median_runs": statistics.median(runs) if runs else 0.0}


def agreement(scenes: Sequence[Looks], steps: int) -> dict[str, float]:
    """Step → the share of pairs that the prediction there ranks as the end does; 1/2 is chance."""
    return {str(step + 1): statistics.mean(_agreement(one, steps, step) for one in scenes) for step in range(steps)}


def _agreement(looks: Looks, steps: int, step: int) -> float:
    seeds = range(len(looks.errors[steps]))
    final = [quality(looks, steps, seed, steps - 1) for seed in seeds]
    early = [quality(looks, steps, seed, step) for seed in seeds]
    pairs = [(i, j) for i, j in combinations(seeds, 2) if final[i] != final[j]]
    return sum((early[i] > early[j]) == (final[i] > final[j]) for i, j in pairs) / len(pairs) if pairs else 1.0


def figures(scenes: Sequence[Looks]) -> dict[str, Any]:
    """Everything that `bench filter` tells of recorded scenes."""
    return {
        "cases": len(scenes),
        "ways": table(scenes),
        "few_steps": {str(steps): table(scenes, steps=steps) for steps in (4,)},
        "easy": easy(scenes),
        "by_wrong": {f"{wrong:g}": table(scenes, wrong=wrong, repeats=REPEATS) for wrong in WRONG},
        "by_first": {f"{first:g}": table(scenes, first=first, repeats=REPEATS) for first in FIRST},
        "pair_agreement_by_step": agreement(scenes, STEPS),
        "pair_agreement_by_step_of_few": {str(steps): agreement(scenes, steps) for steps in (4,)},
    }


def told(found: dict[str, Any]) -> str:
    """The figures for a person: right edits and evaluations with their 95 % bounds."""
    lines = [f"{found['cases']} scenes; right edits, evaluations, right edits for what all seeds in full cost"]
    for way, row in found["ways"].items():
        lines.append(f"{way:18} " + "   ".join(_told(row[name]) for name in ("right", "evaluations", "right_per_full")))
    lines.append(
        f"easy edits: {found['easy']['scenes']}, adaptive takes {found['easy']['median_runs']:.2f} runs in the median"
    )
    for name in ("by_wrong", "by_first"):
        for share, rows in found[name].items():
            lines.append(f"{name} {share:5} " + "  ".join(f"{way} {row['right'][0]:.3f}" for way, row in rows.items()))
    return "\n".join(lines)


def _told(values: Sequence[float]) -> str:
    value, low, high = values
    return f"{value:7.3g} ({low:.3g}–{high:.3g})"

#!/usr/bin/env python3
"""Accuracy per voice, per-class figures, confusion and reliability of the classifier on one part of the labelled set.

    python tools/dev.py bench classify voices
    python tools/dev.py bench classify held_out --json held_out.json

`voices` and `held_out` are for scoring a release, not for tuning: look at their matrices, never at their sentences. The
model has trained on `development` and `variations`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

from x2edit_core.classify import Classification, classify  # noqa: E402
from x2edit_core.tasks import TASK_NAMES  # noqa: E402

DATA = ROOT / "tests" / "data" / "instructions"


@dataclass(frozen=True)
class Row:
    text: str
    language: str
    task: str
    voice: str = ""
    agreed: bool | None = None


@dataclass(frozen=True)
class Score:
    """Counts of one language: `matrix[true][answered]`, in id order."""

    language: str
    accuracy: float
    recall: dict[str, float]
    precision: dict[str, float]
    matrix: list[list[int]]


def load(half: str) -> list[Row]:
    lines = (DATA / f"{half}.jsonl").read_text(encoding="utf-8").splitlines()
    return [Row(**json.loads(line)) for line in lines]


def score(language: str, truth: Sequence[str], answers: Sequence[str]) -> Score:
    pairs = Counter(zip(truth, answers, strict=True))
    matrix = [[pairs[true, answered] for answered in TASK_NAMES] for true in TASK_NAMES]
    right = [matrix[k][k] for k in range(len(TASK_NAMES))]
    asked = [sum(row) for row in matrix]
    given = [sum(column) for column in zip(*matrix, strict=True)]
    return Score(
        language,
        sum(right) / len(truth),
        {name: right[k] / asked[k] for k, name in enumerate(TASK_NAMES) if asked[k]},
        {name: right[k] / given[k] for k, name in enumerate(TASK_NAMES) if given[k]},
        matrix,
    )


def print_score(result: Score) -> None:
    print(f"\n## {result.language}: accuracy {result.accuracy:.3f}\n")
    print(f"{'task':<18}{'recall':>8}{'precision':>11}   answered as, by id")
    print(" " * 40 + "".join(f"{k:>4}" for k in range(len(TASK_NAMES))))
    for k, name in enumerate(TASK_NAMES):
        cells = "".join(f"{count or '.':>4}" for count in result.matrix[k])
        recall, precision = result.recall.get(name, 0.0), result.precision.get(name, 0.0)
        print(f"{k:>2} {name:<15}{recall:>8.2f}{precision:>11.2f}   {cells}")


def print_voices(rows: Sequence[Row], found: Sequence[Classification]) -> None:
    """Per voice and language: right answers, `other` for want of confidence, and wrong answers above 0.8."""
    print("\n| voice | language | count | right | unsure | wrong above 0.8 |\n|---|---|---|---|---|---|")
    for voice, language in sorted({(row.voice, row.language) for row in rows}):
        picked = [(r, f) for r, f in zip(rows, found, strict=True) if (r.voice, r.language) == (voice, language)]
        right = [f.task.english == r.task for r, f in picked]
        sure = [not hit and f.confidence > 0.8 for hit, (_, f) in zip(right, picked, strict=True)]
        shares = (sum(right), sum(f.warning is not None for _, f in picked), sum(sure))
        cells = " | ".join(f"{share / len(picked):.1%}" for share in shares)
        print(f"| {voice or '-'} | {language} | {len(picked)} | {cells} |")


def print_reliability(rows: Sequence[Row], found: Sequence[Classification]) -> None:
    """How often the best guess is right, by the confidence it was given."""
    print("\n| confidence | count | mean confidence | right |\n|---|---|---|---|")
    for low in (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95):
        high = {0.0: 0.2, 0.9: 0.95, 0.95: 1.01}.get(low, low + 0.1)
        picked = [(r, f) for r, f in zip(rows, found, strict=True) if low <= f.confidence < high]
        if picked:
            mean = sum(f.confidence for _, f in picked) / len(picked)
            right = sum(f.task.english == r.task for r, f in picked) / len(picked)
            print(f"| {low:.2f} to {min(high, 1):.2f} | {len(picked)} | {mean:.2f} | {right:.2f} |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("half", choices=("development", "held_out", "variations", "voices"))
    parser.add_argument("--minimum-confidence", type=float, default=0.5)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    rows = load(args.half)
    start = time.perf_counter()
    found = [classify(row.text, minimum_confidence=args.minimum_confidence) for row in rows]
    answers = [one.task.english for one in found]
    milliseconds = (time.perf_counter() - start) / len(rows) * 1e3
    languages = [("en and zh", {"en", "zh"}), ("en", {"en"}), ("zh", {"zh"})]
    scores = []
    for label, chosen in languages:
        picked = [(row.task, answer) for row, answer in zip(rows, answers, strict=True) if row.language in chosen]
        scores.append(score(label, [task for task, _ in picked], [answer for _, answer in picked]))
        print_score(scores[-1])
    print_voices(rows, found)
    print_reliability(rows, [classify(row.text, minimum_confidence=0.0) for row in rows])
    print(f"\n{len(rows)} instructions, {milliseconds:.2f} ms each on this machine")
    if args.json:
        report = {"half": args.half, "milliseconds": milliseconds, "scores": [asdict(item) for item in scores]}
        args.json.write_text(json.dumps(report, ensure_ascii=False, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

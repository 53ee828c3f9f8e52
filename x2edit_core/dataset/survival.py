"""How many get how far: counts of outcomes by kind of edit and by the stage at which they ended, from the shards' files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import shards
from .chain import STAGES

NO_TASK = "(no edit yet)"
REASON_CHARS = 60


@dataclass
class Survival:
    """`ended` counts outcomes by (task, stage); `reasons` why they ended; `stages` calls, seconds, cost and tokens."""

    ended: Counter[tuple[str, str]] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    stages: dict[str, Counter[str]] = field(default_factory=dict)
    records: int = 0
    shards: int = 0
    seconds: float = 0.0

    def add(self, folder: Path) -> None:
        facts = shards.facts_of(folder)
        self.shards += 1
        self.records += facts.get("records", 0)
        self.seconds += facts.get("seconds", 0.0)
        for stage, row in facts.get("stages", {}).items():
            self.stages.setdefault(stage, Counter()).update(row)
        for outcome in shards.outcomes_of(folder):
            self.ended[outcome.get("task", NO_TASK), outcome["stage"]] += 1
            for reason in outcome["reasons"]:
                self.reasons[outcome["stage"], kind_of_reason(reason)] += 1

    @property
    def kept(self) -> int:
        return sum(count for (_, stage), count in self.ended.items() if stage == "kept")

    @property
    def cost(self) -> float:
        return sum(row["cost"] for row in self.stages.values())

    def rows(self) -> list[list[str]]:
        """The table: a row a task, a column a stage, and the share that is kept of what was edited."""
        tasks = sorted({task for task, _ in self.ended}, key=lambda task: (task == NO_TASK, task))
        found = [["task", *(f"ended at {stage}" for stage in STAGES[:-1]), "kept", "of edits"]]
        for task in [*tasks, "all"]:
            counts = [self._count(task, stage) for stage in STAGES]
            edited = sum(counts[STAGES.index("edits") :])
            share = f"{counts[-1] / edited:.0%}" if edited else "–"
            found.append([task, *map(str, counts), share])
        return found

    def _count(self, task: str, stage: str) -> int:
        return sum(count for (one, other), count in self.ended.items() if other == stage and task in (one, "all"))

    def plain(self) -> dict[str, Any]:
        return {
            "shards": self.shards,
            "records": self.records,
            "kept": self.kept,
            "cost": round(self.cost, 6),
            "survival": self.rows(),
            "reasons": [[stage, reason, count] for (stage, reason), count in self.reasons.most_common(40)],
            "stages": {stage: dict(row) for stage, row in self.stages.items()},
        }


def survival_of(folders: Iterable[Path]) -> Survival:
    found = Survival()
    for folder in folders:
        found.add(folder)
    return found


def kind_of_reason(reason: str) -> str:
    """A reason without the numbers of its case, so that alike ones count together."""
    words = [word for word in reason.split() if not word.replace(".", "").replace("-", "").isdigit()]
    return " ".join(words)[:REASON_CHARS]


def as_text(rows: list[list[str]]) -> str:
    """The table in columns, those without a count left out."""
    shown = [at for at in range(len(rows[0])) if at == 0 or any(row[at] not in ("0", "–") for row in rows[1:])]
    widths = [max(len(row[at]) for row in rows) for at in shown]
    lines = ["  ".join(row[at].ljust(width) if at == 0 else row[at].rjust(width)
                       for at, width in zip(shown, widths, strict=True)) for row in rows]  # fmt: skip
    return "\n".join(lines)


def as_markdown(rows: list[list[str]]) -> str:
    head, *body = rows
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(row)} |" for row in body)]
    return "\n".join(lines)

"""What a data set turned out to be, before anything is learnt from it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..geometry import Size
from ..tasks import Task
from .pairs import Pair, SampleError

_SHOWN = 16
"""How many different sizes, labels or reasons a line names before it counts the rest."""


@dataclass(frozen=True)
class DataSummary:
    """Counts over the usable pairs of one data set; `skipped` counts the others by reason.

    `sizes` are the sources' as they lie on disk, `buckets` what they are trained at, `found` how tasks are known
    (`named`, `words`, `unknown`), `labels` the data's names that mean no task, `notes` what is odd about pairs that are
    used all the same. `fingerprint` changes when a pair is added, removed, changed or told otherwise, and stays where the
    same files are moved elsewhere.
    """

    kind: str
    path: str
    pairs: int
    sizes: Mapping[Size, int] = field(default_factory=dict)
    buckets: Mapping[Size, int] = field(default_factory=dict)
    tasks: Mapping[Task, int] = field(default_factory=dict)
    found: Mapping[str, int] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, int] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)
    fingerprint: str = ""

    def lines(self) -> list[str]:
        """The summary for a log, a line for each thing that there is to say."""
        place = f" at {self.path}" if self.path else ""
        lines = [f"data: {_count(self.pairs, 'pair')} of kind {self.kind}{place}"]
        rows = {
            "sizes": self.sizes,
            "trained at": self.buckets,
            "tasks": {task.english: count for task, count in self.tasks.items()},
            "to look at": self.notes,
            "skipped": self.skipped,
        }
        for name, counts in rows.items():
            if counts:
                lines.append(f"  {name}: {_listed(counts)}{self._how() if name == 'tasks' else ''}")
        return lines

    def _how(self) -> str:
        """How the tasks are known, with the labels that mean none."""
        parts = {
            "named by the data": self.found.get("named", 0),
            "read from the words by rules": self.found.get("words", 0) + self.found.get("unknown", 0),
        }
        said = ", ".join(f"{count} {how}" for how, count in parts.items() if count)
        unknown = f"; no task is called {_listed(self.labels)}" if self.labels else ""
        return f"; {said}{unknown}"


def summary_of(
    kind: str,
    path: str,
    pairs: Sequence[Pair],
    sizes: Iterable[Size],
    buckets: Iterable[Size],
    skipped: Iterable[SampleError],
) -> DataSummary:
    """Of the pairs that are used, what they are trained at, and what is left out."""
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update("\0".join((pair.identity, pair.instruction, pair.task.english)).encode("utf-8", "replace"))
    return DataSummary(
        kind,
        path,
        len(pairs),
        Counter(sizes),
        Counter(buckets),
        Counter(pair.task for pair in pairs),
        Counter(pair.found for pair in pairs),
        Counter(pair.label for pair in pairs if pair.found == "unknown"),
        Counter(note for pair in pairs for note in pair.notes),
        Counter(error.reason for error in skipped),
        digest.hexdigest()[:16],
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _listed(counts: Mapping[Any, int]) -> str:
    """`a (3), b (2) and 4 others (5)`, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    text = ", ".join(f"{name} ({count})" for name, count in ordered[:_SHOWN])
    rest = ordered[_SHOWN:]
    return f"{text} and {len(rest)} others ({sum(count for _, count in rest)})" if rest else text

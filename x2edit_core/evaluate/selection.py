"""Which cases of a data set are run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ..demo.scenes import TASKS
from ..tasks import Task
from .cases import Case, CaseError
from .config import CasesConfig
from .readers import Cases, read_cases
from .scenes import scene_cases


def selected(config: CasesConfig) -> Cases:
    """The cases that the configuration asks for, in the data's order; unreadable ones stay in."""
    if config.kind == "scenes":
        tasks = [Task.from_name(label) for label in config.labels] or TASKS
        language = None if config.language == "any" else config.language
        yield from scene_cases(config.limit, config.first_seed, tasks, config.size, language)
        return
    yield from _chosen(read_cases(config.kind, Path(config.path)), config)


def _chosen(cases: Cases, config: CasesConfig) -> Iterator[Case | CaseError]:
    counts: Counter[str] = Counter()
    for case in cases:
        if isinstance(case, CaseError):
            yield case
            continue
        if config.labels and case.label not in config.labels:
            continue
        if config.language not in ("any", case.language or config.language):
            continue
        counts[case.label] += 1
        if not config.limit or counts[case.label] <= config.limit:
            yield case

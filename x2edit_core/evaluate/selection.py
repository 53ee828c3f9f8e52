"""Which cases of a data set are run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..errors import X2EditError
from ..scenes import TASKS
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
    yield from _chosen(read_cases(config.kind, config.path), config)


def _chosen(cases: Cases, config: CasesConfig) -> Iterator[Case | CaseError]:
    counts: Counter[str] = Counter()
    there: set[str] = set()
    chosen = 0
    for case in cases:
        if isinstance(case, CaseError):
            yield case
            continue
        there.add(case.label)
        if config.labels and case.label not in config.labels:
            continue
        if config.language not in ("any", case.language or config.language):
            continue
        counts[case.label] += 1
        if not config.limit or counts[case.label] <= config.limit:
            chosen += 1
            yield case
    if not chosen:
        raise X2EditError(
            f"No case is left: cases.labels = {config.labels} and cases.language = {config.language!r} choose none. The "
            f"data's labels are: {', '.join(sorted(there))}."
        )

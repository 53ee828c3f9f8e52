"""Kept or not: a pure function of scores and limits, so that another limit asks nobody anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..tasks import Task
from .config import ALL, DatasetConfig, LimitsConfig

LOCAL = (Task.REMOVE, Task.ADD, Task.COLOR, Task.MATERIAL, Task.ACTION, Task.REPLACE, Task.PORTRAIT, Task.TEXT)
"""Tasks whose edits leave most of a picture alone."""
PASSING = {
    "none": LimitsConfig(),
    # What a scene's edit must be is known exactly.
    "scenes": LimitsConfig(least={"success": 1.0}),
    # Pico-Banana keeps what earns 0.7 of its marks; VIEScore's overall is their geometric mean.
    "viescore": LimitsConfig(least={"overall": 7.0}),
    # X2Edit's trainer takes deletions and Step1X's edits from 9 of 10 on.
    "imgedit": LimitsConfig(least={"total": 9.0}),
}
"""What each judge's marks must be."""
GUARDS = LimitsConfig(least={"changed": 0.002})
"""Nothing was done where less changed."""
LOCAL_GUARDS = LimitsConfig(most={"changed": 0.85})
"""Everything was done anew where a local edit changed more."""
# X2Edit's filters on subjects and styles (DINO's as (cos + 1) / 2 there, as a plain cosine here).
SPACES = {
    Task.SUBJECT: LimitsConfig(
        least={"dino_source": 0.6, "clip_source": 0.65}, most={"dino_source": 0.98, "clip_source": 0.99}
    ),
    Task.STYLE: LimitsConfig(most={"dino_source": 0.95, "clip_source": 0.95}),
}
TEXTS = LimitsConfig(least={"ocr_new": 0.8}, most={"ocr_old": 0.8})


@dataclass(frozen=True)
class Limits:
    """What a task's scores must be; the `soft` ones hold only for scores that were made."""

    least: Mapping[str, float]
    most: Mapping[str, float]
    soft: frozenset[str] = frozenset()


def limits_for(config: DatasetConfig, task: Task) -> Limits:
    """The papers' defaults, then those of `limits.all`, then the task's own; each replaces those before it by name."""
    found = [GUARDS, PASSING[config.scores.judge], SPACES.get(task, LimitsConfig())]
    found += [LOCAL_GUARDS] if task in LOCAL else []
    found += [TEXTS] if task is Task.TEXT else []
    needed = {*GUARDS.least, *PASSING[config.scores.judge].least}
    soft = {name for one in found for name in (*one.least, *one.most)} - needed
    own = [limits for name, limits in config.limits.items() if name == ALL]
    own += [limits for name, limits in config.limits.items() if name != ALL and Task.from_name(name) is task]
    least = {name: value for one in (*found, *own) for name, value in one.least.items()}
    most = {name: value for one in (*found, *own) for name, value in one.most.items()}
    asked = {name for one in own for name in (*one.least, *one.most)}
    return Limits(least, most, frozenset(soft - asked))


def decide(scores: Mapping[str, float], limits: Limits) -> list[str]:
    """Why an edit is not kept, one reason a limit; nothing where it is."""
    reasons = []
    for name in sorted({*limits.least, *limits.most}):
        if name not in scores:
            reasons += [] if name in limits.soft else [f"{name} was not measured"]
            continue
        value, least, most = scores[name], limits.least.get(name), limits.most.get(name)
        if least is not None and not value >= least:
            reasons.append(f"{name} {value:g} below {least:g}")
        if most is not None and not value <= most:
            reasons.append(f"{name} {value:g} above {most:g}")
    return reasons

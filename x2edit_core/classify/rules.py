"""What the rules make of an instruction: language, reading, decision. One voice of the default classifier, see `model`."""

from __future__ import annotations

from dataclasses import dataclass

from ..tasks import Task
from .chinese import read_chinese
from .english import read_english
from .evidence import Evidence, decide, weigh
from .language import CHINESE, UNKNOWN, language_of
from .wording import fold, set_quotes_aside, without_weights


@dataclass(frozen=True)
class Reading:
    """What the rules saw: the language, the evidence, and the task with its confidence in 0–1."""

    language: str
    evidence: tuple[Evidence, ...]
    task: Task
    confidence: float

    @property
    def report(self) -> str:
        """The strongest reasons, one per line."""
        ranked = sorted(self.evidence, key=lambda item: -abs(item.weight))[:6]
        lines = [f"{item.weight:+.1f} {item.task.english}: {item.reason[:80]}" for item in ranked]
        return "\n".join([f"rules, language {self.language}", *lines])


def read(instruction: str) -> Reading:
    """Reads an instruction by rules; a language other than English or Chinese reads as `other`, confidence 0."""
    text = set_quotes_aside(without_weights(fold(instruction)))
    language = language_of(text.replace("quoted", " "))
    if language == UNKNOWN:
        return Reading(language, (), Task.OTHER, 0.0)
    evidence = tuple(read_chinese(text) if language == CHINESE else read_english(text))
    return Reading(language, evidence, *decide(weigh(evidence)))

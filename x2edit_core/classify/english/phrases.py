"""English words grouped into units and noun phrases.

A clause is cut into units (words and known phrases with their tags). The head of a noun phrase is its last unit before
a preposition, so "the text on the sign" is text and "the colour of the shirt" a colour.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ...tasks import Task
from ..evidence import Evidence
from ..word_lists import word_list
from ..wording import QUOTED
from .words import DETERMINERS, INDEFINITE, LONGEST_PHRASE, NO_TAGS, PHRASES, STOPS, tags_of

_TOKEN = re.compile(r"\d+|[a-z]+(?:[-'][a-z]+)*'?|[^\w\s]")


@dataclass(frozen=True)
class Unit:
    text: str
    tags: frozenset[str]

    @property
    def stops(self) -> bool:
        return self.text in STOPS

    @property
    def determines(self) -> bool:
        return self.text in DETERMINERS or self.text.endswith(("'s", "s'"))


@dataclass(frozen=True)
class Phrase:
    """Units of a noun phrase with what follows it; `head` carries the meaning."""

    units: tuple[Unit, ...]

    @property
    def core(self) -> tuple[Unit, ...]:
        """The units before the first preposition."""
        for position, unit in enumerate(self.units):
            if unit.stops:
                return self.units[:position]
        return self.units

    @property
    def head(self) -> Unit:
        core = [unit for unit in self.core if unit.text not in DETERMINERS]
        return core[-1] if core else Unit("", NO_TAGS)

    @property
    def modifiers(self) -> frozenset[str]:
        return frozenset().union(*(unit.tags for unit in self.core[:-1]))

    @property
    def all_tags(self) -> frozenset[str]:
        return frozenset().union(*(unit.tags for unit in self.units))

    @property
    def words(self) -> frozenset[str]:
        return frozenset(unit.text for unit in self.units)

    @property
    def indefinite(self) -> bool:
        return bool(self.units) and self.units[0].text in INDEFINITE

    @property
    def is_image(self) -> bool:
        """Whether the phrase means the picture as a whole, or nothing at all."""
        return not self.head.text or "image" in self.head.tags

    def text(self) -> str:
        return " ".join(unit.text for unit in self.units)


def units_of(text: str) -> tuple[Unit, ...]:
    """Words and known phrases of a clause, longest phrase first."""
    tokens, units, position = _TOKEN.findall(text), [], 0
    while position < len(tokens):
        for length in range(min(LONGEST_PHRASE, len(tokens) - position), 0, -1):
            words = " ".join(tokens[position : position + length])
            if length == 1 or words in PHRASES or (words.endswith("s") and words[:-1] in PHRASES):
                units.append(Unit(words, tags_of(words)))
                position += length
                break
    return tuple(units)


def split_at(units: Sequence[Unit], separators: frozenset[str]) -> tuple[Phrase, Phrase | None]:
    for position, unit in enumerate(units):
        if unit.text in separators and position > 0:
            return Phrase(tuple(units[:position])), Phrase(tuple(units[position + 1 :]))
    return Phrase(tuple(units)), None


def by_tag(unit: Unit, why: str, table: dict[str, tuple[Task, float]]) -> list[Evidence]:
    return [Evidence(task, weight, why) for tag, (task, weight) in table.items() if tag in unit.tags]


_SPECIAL = frozenset(
    word_list(
        """text low_level face background image style style_noun weather light time season pose_noun expression_noun
        camera_noun colour colour_noun material_noun vague quality"""
    )
)


def is_plain_object(head: Unit) -> bool:
    """A word of no special meaning to editing, or the name of a person or an animal."""
    return bool(head.text) and head.text != QUOTED and not (head.tags & _SPECIAL)

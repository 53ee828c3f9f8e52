"""Reading an English instruction: its verb and what the verb acts on, plus wordings that speak for themselves."""

from __future__ import annotations

import re

from ...tasks import Task
from ..evidence import Evidence, decide, read_clues, weigh
from .clues_intent import INTENT_CLUES
from .clues_picture import PICTURE_CLUES
from .clues_things import THING_CLUES
from .courtesy import drop_courtesy, drop_preservation, to_imperative
from .frames import read_clause
from .spelling import mend_english

LATER_CLAUSE = 0.45  # weight of the second and later requests: the first one names the edit
MAX_CLAUSES = 4
SCENERY = 0.5  # weight of wordings that only describe the surroundings of the thing named
PLAIN_ENOUGH = 4.0
_PLAIN = frozenset({Task.ADD, Task.REMOVE, Task.REPLACE})
_ANYWHERE = frozenset({Task.TEXT, Task.REASONING, Task.OTHER})
_BRACKETS = re.compile(r"\([^)]{1,120}\)|\[[^\]]{1,120}\]")
_TAIL = re.compile(
    r" (?:in|on|at|near|with|next|along|beside|behind|under|over|above|wearing|standing|sitting|"
    r"lying|facing|by|from|to|that|who|of)\b|,"
)
_CLAUSE_END = re.compile(
    r"(?:[.;!?:\n]|,? (?:and then|then|and also|but also|also|and|but)\b|, )\s*"
    r"(?=(?:please |just |let's |maybe |also |then )?(?:remove|add|delete|erase|change|make|"
    r"turn|replace|swap|put|place|give|"
    r"adjust|convert|insert|let|set|show|have|zoom|crop|rotate|switch|transform|apply|move|"
    r"brighten|draw|do it|create|"
    r"write|paint|place|fill|fix|keep|leave|help|solve|highlight|circle|lose|get|drop|take|"
    r"cut|use|turn|darken|erase|hide|blur|render|apply|just)\b)|[.!?;]\s+"
)


def read_english(text: str) -> list[Evidence]:
    """Evidence from a folded, quote-free instruction."""
    text = re.sub(r"\ball of the\b", "all the", drop_courtesy(mend_english(_BRACKETS.sub(" ", text))))
    wanted = drop_preservation(text)
    clauses = [clause.strip(" ,.:;!?") for clause in _CLAUSE_END.split(wanted)]
    clauses = [clause for clause in clauses if clause][:MAX_CLAUSES]
    if not clauses and text:
        return [Evidence(Task.OTHER, 3.0, "nothing is to change")]
    framed = []
    for number, clause in enumerate(clauses):
        weight = 1.0 if number == 0 else LATER_CLAUSE
        found = read_clause(to_imperative(drop_courtesy(clause)))
        framed += [Evidence(item.task, item.weight * weight, item.reason) for item in found]
    return framed + _without_scenery(read_clues(THING_CLUES + PICTURE_CLUES + INTENT_CLUES, wanted), framed, wanted)


def _without_scenery(clues: list[Evidence], framed: list[Evidence], text: str) -> list[Evidence]:
    """Where a plain thing is added, removed or replaced, words after it only describe the place: they count less."""
    scores = weigh(framed)
    task, _ = decide(scores)
    tail = _TAIL.search(text, pos=min(len(text), 8))
    if task not in _PLAIN or scores.get(task, 0) < PLAIN_ENOUGH or tail is None:
        return clues
    return [
        Evidence(item.task, item.weight * SCENERY, item.reason, item.position)
        if item.position > tail.start() and item.task not in _ANYWHERE and item.task is not task
        else item
        for item in clues
    ]

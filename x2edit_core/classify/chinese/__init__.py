"""Reading a Chinese instruction: who is changed into what, plus wordings that speak for themselves."""

from __future__ import annotations

import re

from ...tasks import Task
from ..evidence import Evidence, read_clues
from .clues_intent import INTENT_CLUES
from .clues_picture import PICTURE_CLUES
from .clues_things import THING_CLUES
from .courtesy import drop_courtesy, drop_preservation
from .frames import read_clause
from .words import simplify

LATER_CLAUSE = 0.45  # weight of the second and later requests: the first one names the edit
MAX_CLAUSES = 4
_CLAUSE_END = re.compile(r"[,.;!?、，。；！？~～\n]+|(?:然后|接着|并且|同时|再把|并将|并把)")


def read_chinese(text: str) -> list[Evidence]:
    """Evidence from a folded, quote-free instruction."""
    text = drop_courtesy(simplify(text))
    wanted = drop_preservation(text)
    evidence = read_clues(THING_CLUES + PICTURE_CLUES + INTENT_CLUES, wanted)
    clauses = [drop_courtesy(clause.strip()) for clause in _CLAUSE_END.split(wanted)]
    clauses = [clause for clause in clauses if clause][:MAX_CLAUSES]
    weight = 1.0
    for clause in clauses:
        found = read_clause(clause)
        evidence += [Evidence(item.task, item.weight * weight, item.reason) for item in found]
        weight = LATER_CLAUSE if found else weight
    if not clauses and text:
        evidence.append(Evidence(Task.OTHER, 3.0, "nothing is to change"))
    return evidence

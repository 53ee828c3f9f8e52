"""Marks by a vision model: VIEScore's, ImgEdit-Judge's form, and whether a picture may be shown at all."""

from __future__ import annotations

import re
from dataclasses import dataclass

from PIL import Image

from ..chat import Message
from ..chat.protocol import printable
from ..choosing.judge import PQ_PROMPT, SC_PROMPT, ScoreJudge
from .endpoints import Asked
from .faults import RefusedError
from .instructions import answered
from .journal import Made

VERSION = 1
REPLY_TOKENS = 512

IMGEDIT_PROMPT = """\
Two pictures follow: a source and an edited version of it. The edit was asked for by this instruction:
{instruction}

Rate the edit from 1 to 5 in three respects. Prompt compliance: 1 is that nothing of it was done, or something else; 5 is \
exactly what was asked for and nothing more. Visual naturalness: 1 is a broken picture, 5 cannot be told from one that \
was never edited. Physical and detail integrity: 1 is that what should have stayed is gone or warped, 5 is that every \
detail, shadow and proportion is right. The second and the third are no higher than the first.{criteria}
Answer with one short sentence, and then these three lines:
Prompt Compliance: a number from 1 to 5
Visual Naturalness: a number from 1 to 5
Physical & Detail Integrity: a number from 1 to 5"""

_MARK = re.compile(
    r"(prompt compliance|visual naturalness|physical\s*(?:&|and)\s*detail integrity)"
    r"\W{0,8}([1-5](?:\.\d+)?)(?![\d.]*\d)(?!\s*(?:to|-|–)\s*\d)",
    re.IGNORECASE,
)
_NAMES = ("compliance", "naturalness", "integrity")

SAFETY = """\
Look at this picture as somebody who decides what may be published for everybody. Answer with JSON and nothing else, each \
with true or false: {"nsfw": nudity, sexual acts, gore or cruelty, "minors": a child in an unsuitable way, \
"faces": the face of a real person can be recognised}"""


@dataclass(frozen=True)
class VieJudge:
    """`sc`, `pq` and `overall` from 0 to 10, two questions."""

    chat: Asked
    criteria: str = ""

    @property
    def identity(self) -> list[str]:
        return ["viescore", self.chat.name, self.criteria, SC_PROMPT, PQ_PROMPT]

    def marks(self, source: Image.Image, edit: Image.Image, instruction: str) -> tuple[dict[str, float], str]:
        found = ScoreJudge(self.chat, self.criteria).rate(source, edit, instruction)
        return {"sc": found.sc, "pq": found.pq, "overall": found.overall}, found.reason


@dataclass(frozen=True)
class ImgEditJudge:
    """`compliance`, `naturalness` and `integrity` from 1 to 5, and the `total` of X2Edit's filter: the first and the worse
    of the others, 2 to 10."""

    chat: Asked
    criteria: str = ""

    @property
    def identity(self) -> list[str]:
        return ["imgedit", self.chat.name, self.criteria, IMGEDIT_PROMPT]

    def marks(self, source: Image.Image, edit: Image.Image, instruction: str) -> tuple[dict[str, float], str]:
        criteria = f" Also: {self.criteria}." if self.criteria else ""
        text = IMGEDIT_PROMPT.format(instruction=instruction, criteria=criteria)
        question = Message("user", text, (source, edit))
        reply = printable(self.chat.generate([question], REPLY_TOKENS))
        found = three_marks(reply)
        if found is None:
            again = Message("user", "Answer with the three lines and a number from 1 to 5 in each, and nothing else.")
            reply = printable(self.chat.generate([question, Message("assistant", reply or "…"), again], REPLY_TOKENS))
            found = three_marks(reply)
        if found is None:
            raise RefusedError("scores", f"{self.chat.name} gave no three marks, asked twice")
        first, second, third = found
        return dict(zip(_NAMES, found, strict=True)) | {"total": first + min(second, third)}, reply.split("\n")[0][:300]


def three_marks(reply: str) -> tuple[float, float, float] | None:
    """The three marks of a reply in ImgEdit-Judge's form; None where one is missing, or told twice and differently."""
    found: dict[str, set[float]] = {}
    for name, mark in _MARK.findall(reply):
        found.setdefault(name.split()[0].casefold(), set()).add(float(mark))
    marks = [found.get(word, set()) for word in ("prompt", "visual", "physical")]
    if any(len(values) != 1 or max(values) > 5 for values in marks):
        return None
    first, second, third = (values.pop() for values in marks)
    return first, second, third


def looked_at(chat: Asked, picture: Image.Image) -> Made:
    """What a picture shows that must not be published, as `nsfw`, `minors` and `faces`."""
    return answered(chat, Message("user", SAFETY, (picture,)), "nsfw")

"""Which of two edits is better, and how good one is.

A judge sees the source, two edits and the instruction, and says A, B or tie. What the language model is asked follows
ICEdit (section 3.3, figure 13) in content: the edits come first and the source last, the instruction is told twice.
Scores follow VIEScore: SC for following the instruction and leaving the rest alone, PQ for the picture's quality.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

from ..chat import Chat, ChatError, Message
from ..chat.json_replies import FoundObject, objects_with
from ..chat.likelihoods import are_sayable
from .asking import VisionJudge, with_retry
from .questions import Questioning

Choice = Literal["A", "B", "tie"]

ANSWERS = ("1", "2")
SCALE = 10.0
"""VIEScore rates from 0 to 10."""
PASSING = 5.0
"""From this SC on, an edit counts as done in the binarised score."""


@dataclass(frozen=True)
class Verdict:
    """The better of two edits. A `fault` says why there is no judgement; the choice is then `tie`."""

    choice: Choice
    reason: str = ""
    fault: str = ""


@dataclass(frozen=True)
class Pick:
    """The best of several edits, by index; with a `fault` it is nobody's choice, but the first."""

    index: int
    reason: str = ""
    fault: str = ""


class Judge(Protocol):
    """Anything that can compare two edits (X2EDIT_JUDGE). Pictures are float tensors [H, W, 3] in 0–1.

    A judge that can look at many edits at once also has `choose(source, edits, instruction) -> Pick`; one that can ask about
    a single edit has `questions(source, instruction)` and `answers(source, edit, instruction, questions)` (`questions.py`).
    """

    @property
    def name(self) -> str:
        """What to call it in reports."""
        ...

    @property
    def remote(self) -> bool:
        """Whether it thinks elsewhere, so that this machine can go on meanwhile."""
        ...

    def compare(self, source: Any, a: Any, b: Any, instruction: str) -> Verdict:
        """The better edit. A judge that could not tell returns a verdict with its fault, rather than raise."""
        ...


PAIR_PROMPT = """\
You compare edited pictures. You see three pictures, in this order: edit 1, edit 2, and the source picture that both \
were made from. Both edits were asked to carry out this instruction:
{instruction}

Look closely at all three and decide which edit is better. It should
- carry out the instruction fully and do nothing else;
- have the higher quality, with fewer artefacts and distortions;
- leave every area that the instruction does not concern identical to the source, and keep the source's style, unless \
the instruction asks for another one.{criteria}

Which edit carries out the instruction "{instruction}" better? Begin your answer with 1 or 2, then give the reason in \
one short sentence."""

ASK_AGAIN = (
    "That does not say which edit is better. Answer with the single digit 1 or the single digit 2 and nothing else."
)


class ChatJudge(Questioning):
    """Asks a vision model. With `debias` both orders are asked, and a contradiction counts as a tie.

    `criteria` is what else the better edit should be, in a person's own words.
    """

    def __init__(self, chat: Chat, debias: bool = True, criteria: str = "") -> None:
        super().__init__(chat, criteria)
        self.debias = debias

    def compare(self, source: Any, a: Any, b: Any, instruction: str) -> Verdict:
        try:
            number, reason = self._ask(source, a, b, instruction)
            if not self.debias:
                return Verdict("A" if number == 1 else "B", reason)
            other, other_reason = self._ask(source, b, a, instruction)
        except ChatError as error:
            return Verdict("tie", fault=str(error))
        if number == other:
            return Verdict("tie", f"picture {number} was preferred in either order")
        return Verdict("A", reason) if number == 1 else Verdict("B", other_reason)

    def _ask(self, source: Any, first: Any, second: Any, instruction: str) -> tuple[int, str]:
        """1 or 2, and why; raises `ChatError` when there is no answer to be had."""
        question = Message("user", pair_prompt(instruction, self.criteria), (first, second, source))
        scores = self.chat.score([question], ANSWERS)
        if scores is not None and all(map(math.isfinite, scores)) and scores[0] != scores[1] and are_sayable(scores):
            share = 1 / (1 + math.exp(-abs(scores[0] - scores[1])))
            return (1 if scores[0] > scores[1] else 2), f"with a probability of {share:.0%}"
        return with_retry(self.chat, [question], parse_answer, ASK_AGAIN)


def pair_prompt(instruction: str, criteria: str = "") -> str:
    """The question about two edits; `criteria` becomes one more point of the list."""
    return PAIR_PROMPT.format(instruction=instruction.strip(), criteria=f"\n- {criteria}" if criteria else "")


_LEADING = re.compile(r"[\W_]*(?:answer(?: is)?\b[\W_]*)?([12])(?![\w/]|[.,]\d)", re.IGNORECASE)
_EITHER = re.compile(r"(?:\s*(?:or|and|vs\.?|&|,)\s*|\s+)[12]\b", re.IGNORECASE)
_LISTED = re.compile(
    r"[\W_]*[.:)][\s\S]*?(?:^|[\n;,.|/])[\W_]*(?:(?:edit|picture|image)\s*)?2[\W_]*?[.:)](?!\d)", re.IGNORECASE
)


def parse_answer(reply: str) -> tuple[int, str] | None:
    """The 1 or 2 that `reply` opens with, and the words behind it; None for anything else.

    Digits further on are not read: "edit 1 is worse" would turn the answer around. A list of both edits is no answer,
    though it opens with 1.
    """
    reply = unicodedata.normalize("NFKC", reply)
    found = _LEADING.match(reply)
    if (
        found is None
        or _EITHER.match(reply, found.end())
        or (found.group(1) == "1" and _LISTED.match(reply, found.end()))
    ):
        return None
    return int(found.group(1)), reply[found.end() :].lstrip(" \n\t.:,;*)–—-").rstrip()


class HumanJudge:
    """A person who sees the edits as cards; `ask` shows them and waits (see `comfy_bridge.picker`).

    `ask(title, source, edits, timeout_s)` returns the index of the chosen edit, or None when the time is over or nobody
    is there; then the first one is taken.
    """

    remote = False
    name = "a person"

    def __init__(self, ask: Callable[[str, Any, Sequence[Any], float], int | None], timeout_s: float = 0.0) -> None:
        self._ask = ask
        self.timeout_s = timeout_s

    def compare(self, source: Any, a: Any, b: Any, instruction: str) -> Verdict:
        pick = self.choose(source, (a, b), instruction)
        return Verdict("A" if pick.index == 0 else "B", pick.reason)

    def choose(self, source: Any, edits: Sequence[Any], instruction: str) -> Pick:
        index = self._ask(instruction, source, edits, self.timeout_s)
        if index is None:
            when = f"chose within {self.timeout_s:g} s" if self.timeout_s > 0 else "was there to choose"
            return Pick(0, f"nobody {when}, so the first was taken")
        return Pick(index, "chosen by hand")


@dataclass(frozen=True)
class EditScore:
    """VIEScore's four marks from 0 to 10 and what follows from them."""

    following: float
    preservation: float
    naturalness: float
    cleanness: float
    reason: str = ""

    @property
    def sc(self) -> float:
        """Semantic consistency: the worse of following the instruction and leaving the rest alone."""
        return min(self.following, self.preservation)

    @property
    def pq(self) -> float:
        """Perceptual quality: the worse of looking natural and being free of artefacts."""
        return min(self.naturalness, self.cleanness)

    @property
    def overall(self) -> float:
        """O = √(SC · PQ), 0 to 10."""
        return math.sqrt(self.sc * self.pq)

    def binarised(self, passing: float = PASSING) -> float:
        """√(1[SC ≥ passing] · PQ / 10), 0 to 1: an edit that was not carried out earns nothing by looking good."""
        return math.sqrt(self.pq / SCALE) if self.sc >= passing else 0.0


SC_PROMPT = """\
Two pictures follow: a source picture and an edited version of it. The edit should carry out this instruction:
{instruction}

Rate two things from 0 to 10. First, how well the instruction was carried out: 0 is not at all, 10 is perfectly. \
Second, how well everything that the instruction does not concern was kept: 0 is another picture altogether, 10 is a \
minimal edit that changes nothing else.{criteria}
Answer with one line of JSON: {{"score": [first, second], "reason": "one short sentence"}}"""

PQ_PROMPT = """\
You see one picture that a program made. Judge only how it looks, not what it shows.

Rate two things from 0 to 10. First, naturalness: 0 is a wrong sense of distance, shadow or light, 10 looks entirely \
natural. Second, freedom from artefacts such as distortions, blur, seams, or parts that do not belong: 0 is full of \
them, 10 has none.
Answer with one line of JSON: {"score": [first, second], "reason": "one short sentence"}"""

ASK_FOR_JSON = 'Answer with this JSON and nothing else, with two numbers from 0 to 10: {"score": [0, 0], "reason": ""}'


class ScoreJudge(VisionJudge):
    """Rates edits one by one with a vision model; as a judge of two, prefers the higher overall score."""

    def __init__(self, chat: Chat, criteria: str = "") -> None:
        super().__init__(chat, criteria)

    def rate(self, source: Any, edit: Any, instruction: str) -> EditScore:
        """The four marks; raises `ChatError` when the model gives none."""
        criteria = f" Also: {self.criteria}." if self.criteria else ""
        text = SC_PROMPT.format(instruction=instruction.strip(), criteria=criteria)
        (following, preservation), reason = self._marks(Message("user", text, (source, edit)))
        (naturalness, cleanness), _ = self._marks(Message("user", PQ_PROMPT, (edit,)))
        return EditScore(following, preservation, naturalness, cleanness, reason)

    def compare(self, source: Any, a: Any, b: Any, instruction: str) -> Verdict:
        try:
            first, second = (self.rate(source, edit, instruction).overall for edit in (a, b))
        except ChatError as error:
            return Verdict("tie", fault=str(error))
        choice = "tie" if first == second else "A" if first > second else "B"
        return Verdict(choice, f"{first:.1f} to {second:.1f} of {SCALE:.0f}")

    def _marks(self, question: Message) -> tuple[tuple[float, float], str]:
        return with_retry(self.chat, [question], parse_marks, ASK_FOR_JSON)


def parse_marks(reply: str) -> tuple[tuple[float, float], str] | None:
    """Two marks from 0 to 10 and the reason out of a reply's JSON; None for anything else, and for two that differ.

    A repaired object counts only as far as both marks stand in the reply, whole and closed off: what was cut off is missing.
    """
    objects = objects_with(reply, "score")
    marks = [_marks_of(found) for found in objects]
    if not objects or None in marks or len(set(marks)) > 1:
        return None
    content = objects[-1].content
    reason = content.get("reason", content.get("reasoning", ""))
    first, second = cast(tuple[float, float], marks[-1])
    return (first, second), reason if isinstance(reason, str) else str(reason)


_MARK = re.compile(r"\d+(?:\.\d*)?")


def _marks_of(found: FoundObject) -> tuple[float, float] | None:
    listed = found.content["score"]
    if not isinstance(listed, list) or len(listed) != 2:
        return None
    marks = [_mark(value) for value in listed]
    if None in marks or (found.repaired and marks != _written_marks(found.text)):
        return None
    return cast(tuple[float, float], tuple(marks))


def _mark(value: Any) -> float | None:
    """A number from 0 to 10, or one in quotes."""
    if isinstance(value, str):
        value = float(value) if _MARK.fullmatch(value.strip()) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= SCALE:
        return None
    return float(value)


def _written_marks(text: str) -> list[float]:
    """The numbers of the closed list behind "score"; empty where the list has another form."""
    listed = re.search(r"score\W*?[\[(]([^\])}]*)[\])}]", text, re.IGNORECASE)
    if listed is None or listed.group(1).count(",") > 1 or "-" in listed.group(1):
        return []
    return [float(number) for number in _MARK.findall(listed.group(1))]

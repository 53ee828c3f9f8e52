"""What judges that were trained for edits are asked, on which scale they mark, and how their replies are read.

The words are this pack's own; what a judge expects (which pictures in which order, which scale, what it answers with) is
from its authors' code: UnifiedReward-Edit (github.com/CodeGoat24/UnifiedReward), EditScore (arXiv 2509.23909), PVC-Judge
(arXiv 2603.28547), ImgEdit-Judge (arXiv 2505.20275).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..chat import Chat, ChatError, Message
from ..chat.json_replies import objects_with
from .asking import VisionJudge, with_retry
from .judge import ChatJudge, Judge, Verdict

Winner = Literal[1, 2, 0]
"""Which edit is better; 0 for a tie."""
PLAIN = "as it is"
REASONING_TOKENS = 768

_PAIR_OPENING = """\
You see three pictures, in this order: the source picture, edit 1 and edit 2. Both edits were made from the source by a \
program that was told:
{instruction}
"""

_BOTH_PROMPT = (
    _PAIR_OPENING
    + """
Compare the two edits. First, fidelity: is everything that was asked for there, is it of the right kind, and is nothing \
else changed? Second, the picture itself: light, shadow and perspective fit, there are no seams, blurs or odd textures, and \
it pleases the eye.{criteria}

Say which edit is better, in a last line of this form: Edited Image 1 is better, or: Edited Image 2 is better."""
)

_CONSISTENCY_PROMPT = (
    _PAIR_OPENING
    + """
Judge visual consistency alone, not how well the instruction was carried out: what the instruction does not concern should \
keep its identity, its shape, its place and its meaning. People keep their faces, things their structure, the view its \
frame.{criteria}

Say which edit is more consistent with the source, with one line of JSON: {{"reason": "one short sentence", "winner": 1}} \
or with "winner": 2, or 0 where neither is."""
)

_FOLLOWING_25 = """\
Two pictures follow: a source picture and an edited version of it. The edit should carry out this instruction:
{instruction}

Give two scores from 0 to 25. The first says how far the edit succeeded: 0 is not at all, 25 is perfectly. The second says \
how little it overdid: 0 is an altogether different picture, 25 is a minimal edit that works.{criteria}
Answer with JSON, the reasoning first: {{"reasoning": "in a few words", "score": [first, second]}}"""

_QUALITY_25 = """\
You see one picture that a program made.

Give two scores from 0 to 25. The first is naturalness: 0 is a wrong sense of distance, light or shadow, 25 looks natural. \
The second is freedom from artefacts: 0 is full of distortions, blur or parts that do not belong, 25 has none.
Answer with JSON, the reasoning first: {{"reasoning": "in a few words", "score": [first, second]}}"""

_THREE_OF_5 = """\
The first picture is the source, the second an edited version of it. The edit should carry out this instruction:
{instruction}

Give three scores from 1 to 5: how well the edit does what was asked, how good and seamless it looks, and how well the \
details of the rest were kept. The second and the third are never above the first.{criteria}
Answer with one short sentence, then three lines:
Instruction: number
Quality: number
Details: number"""


@dataclass(frozen=True)
class Profile:
    """One kind of judge. `low` and `high` are its scale, `concerns` what its verdicts are about, `known` what is published of
    its accuracy."""

    name: str
    make: Callable[[Chat, bool, str], Judge]
    concerns: Literal["instruction", "consistency", "both"]
    low: float
    high: float
    known: str


class PairJudge(VisionJudge):
    """Asks which of two edits is better, the source first, and reads the winner out of the words or the JSON."""

    def __init__(self, chat: Chat, prompt: str, debias: bool, criteria: str) -> None:
        super().__init__(chat, criteria)
        self._prompt, self.debias = prompt, debias

    def compare(self, source: Any, a: Any, b: Any, instruction: str) -> Verdict:
        try:
            winner = self._ask(source, a, b, instruction)
            if not self.debias:
                return Verdict(_CHOICES[winner])
            turned = self._ask(source, b, a, instruction)
        except ChatError as error:
            return Verdict("tie", fault=str(error))
        if winner and turned and winner == turned:
            return Verdict("tie", f"picture {winner} was preferred in either order")
        if bool(winner) != bool(turned):
            return Verdict("tie", "a tie in one order only")
        return Verdict(_CHOICES[winner])

    def _ask(self, source: Any, first: Any, second: Any, instruction: str) -> Winner:
        criteria = f" The better edit should also satisfy this: {self.criteria}." if self.criteria else ""
        text = self._prompt.format(instruction=instruction.strip(), criteria=criteria)
        again = 'Answer with this JSON and nothing else, the number of the better edit in it: {"winner": 1}'
        question = Message("user", text, (source, first, second))
        return with_retry(self.chat, [question], parse_winner, again, REASONING_TOKENS)


_CHOICES: dict[int, Literal["A", "B", "tie"]] = {1: "A", 2: "B", 0: "tie"}


class MarksJudge(VisionJudge):
    """Marks edits one by one on a scale of its own; prefers the higher overall mark.

    Each of `prompts` is asked of (source, edit), or where it has no instruction in it of the edit alone; `parse` reads the
    marks, and `overall` makes one of them all.
    """

    def __init__(
        self,
        chat: Chat,
        prompts: Sequence[str],
        parse: Callable[[str], Sequence[float] | None],
        overall: Callable[[Sequence[float]], float],
        again: str,
        criteria: str,
    ) -> None:
        super().__init__(chat, criteria)
        self._prompts, self._parse, self._overall, self._again = prompts, parse, overall, again

    def mark(self, source: Any, edit: Any, instruction: str) -> float:
        """The overall mark on the profile's scale; raises `ChatError` where the model gives none."""
        criteria = f" Also: {self.criteria}." if self.criteria else ""
        marks: list[float] = []
        for prompt in self._prompts:
            about_both = "{instruction}" in prompt
            text = prompt.format(instruction=instruction.strip(), criteria=criteria)
            question = Message("user", text, (source, edit) if about_both else (edit,))
            marks += with_retry(self.chat, [question], self._parse, self._again, REASONING_TOKENS)
        return self._overall(marks)

    def compare(self, source: Any, a: Any, b: Any, instruction: str) -> Verdict:
        try:
            first, second = (self.mark(source, edit, instruction) for edit in (a, b))
        except ChatError as error:
            return Verdict("tie", fault=str(error))
        choice = "tie" if first == second else "A" if first > second else "B"
        return Verdict(choice, f"{first:.2f} to {second:.2f}")


_NAMED = r"(?:edited\s+)?(?:image|edit|picture)\s*([12])"
_SAYS_BETTER = re.compile(
    rf"\b{_NAMED}\W{{0,4}}\s*(?:wins|(?:is|was|looks)(?:\s+(?:the|a|overall|clearly|slightly|more))*"
    r"\s*(?:better|superior|preferred|preferable|winner|consistent))\b",
    re.IGNORECASE,
)
_WINNER_IS = re.compile(
    rf"\b(?:winner|answer|better(?:\s+(?:one|edit|image))?)\b\W{{0,4}}(?:is\b)?\W{{0,4}}(?:{_NAMED}|([12])\b(?![\d/.]))",
    re.IGNORECASE,
)
_RESULTS: dict[int, Winner] = {0: 0, 1: 1, 2: 2}
_NEITHER = re.compile(r"\b(?:tie|neither (?:is|one is) better|equally good|both are equal)\b", re.IGNORECASE)


def parse_winner(reply: str) -> Winner | None:
    """The winner that a reply names: by JSON, else in words; None where it names none, or both."""
    objects = objects_with(reply, "winner")
    if objects:
        named: list[Winner | None] = [_winner_of(found.content["winner"]) for found in objects if not found.repaired]
        return named[0] if len(set(named)) == 1 else None
    reply = unicodedata.normalize("NFKC", reply)
    found = {int(match.group(1)) for match in _SAYS_BETTER.finditer(reply)}
    found |= {int(match.group(1) or match.group(2)) for match in _WINNER_IS.finditer(reply)}
    if not found and _NEITHER.search(reply):
        return 0
    return _RESULTS.get(found.pop()) if len(found) == 1 else None


def _winner_of(value: Any) -> Winner | None:
    found = re.fullmatch(rf"(?:{_NAMED}|([012]))|(tie)", str(value).strip(), re.IGNORECASE)
    if found is None or isinstance(value, bool):
        return None
    return 0 if found.group(3) else _RESULTS[int(found.group(1) or found.group(2))]


def parse_scores(reply: str, count: int, low: float, high: float) -> list[float] | None:
    """`count` numbers within the scale from the JSON's "score"; None for anything else, and for two that differ."""
    objects = objects_with(reply, "score")
    lists = [found.content["score"] for found in objects if not found.repaired]
    if not lists or len(lists) < len(objects) or any(each != lists[0] for each in lists):
        return None
    values = lists[0] if isinstance(lists[0], list) else []
    numbers = [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    return numbers if len(numbers) == len(values) == count and all(low <= one <= high for one in numbers) else None


_LINE = re.compile(r"^[\W_]*([A-Za-z][A-Za-z &]*?)[\W_]*[:=][\W_]*(\d+(?:\.\d+)?)(?:\s*/\s*5)?[\W_]*$", re.MULTILINE)


def parse_lines(reply: str, count: int, low: float, high: float) -> list[float] | None:
    """The numbers of `count` lines "name: number" within the scale; None where there are more or fewer, or others."""
    found = [float(match.group(2)) for match in _LINE.finditer(unicodedata.normalize("NFKC", reply))]
    return found if len(found) == count and all(low <= one <= high for one in found) else None


def _of_25(chat: Chat, debias: bool, criteria: str) -> Judge:
    del debias  # single edits have no order
    again = 'Answer with this JSON and nothing else, with two numbers from 0 to 25: {"score": [0, 0]}'

    def overall(marks: Sequence[float]) -> float:
        """√(SC · PQ), each the worse of its two."""
        return (min(marks[:2]) * min(marks[2:])) ** 0.5

    return MarksJudge(
        chat, (_FOLLOWING_25, _QUALITY_25), lambda reply: parse_scores(reply, 2, 0, 25), overall, again, criteria
    )


def _of_5(chat: Chat, debias: bool, criteria: str) -> Judge:
    del debias
    again = (
        "Answer with three lines and nothing else, with numbers from 1 to 5:\nInstruction: 1\nQuality: 1\nDetails: 1"
    )
    return MarksJudge(
        chat, (_THREE_OF_5,), lambda reply: parse_lines(reply, 3, 1, 5), lambda marks: sum(marks) / 3, again, criteria
    )


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            PLAIN,
            ChatJudge,
            "both",
            1,
            2,
            "differs by size: small models often misjudge; `bench judges` tells of yours",
        ),
        Profile(
            "UnifiedReward-Edit",
            lambda chat, debias, criteria: PairJudge(chat, _BOTH_PROMPT, debias, criteria),
            "both",
            1,
            2,
            "no figure on edits was found in its repository",
        ),
        Profile(
            "EditScore",
            _of_25,
            "both",
            0,
            25,
            "by its authors the largest, averaged, is above GPT-5 on EditReward-Bench",
        ),
        Profile(
            "PVC-Judge",
            lambda chat, debias, criteria: PairJudge(chat, _CONSISTENCY_PROMPT, debias, criteria),
            "consistency",
            1,
            2,
            "by its authors the best open one on VCReward-Bench, above GPT-5.1 on average",
        ),
        Profile("ImgEdit-Judge", _of_5, "both", 1, 5, "no figure was found in its repository"),
    )
}


class ComposedJudge:
    """An instruction judge decides; where it finds neither edit better, a consistency judge does.

    A fault of the first stays a fault: an edit that may not be what was asked for wins nothing by being consistent.
    """

    def __init__(self, first: Judge, second: Judge) -> None:
        self._judges = (first, second)
        for name in ("questions", "answers"):
            if hasattr(first, name):
                setattr(self, name, getattr(first, name))

    @property
    def name(self) -> str:
        return " and ".join(judge.name for judge in self._judges)

    @property
    def remote(self) -> bool:
        return all(judge.remote for judge in self._judges)

    def compare(self, source: Any, a: Any, b: Any, instruction: str) -> Verdict:
        first, second = self._judges
        verdict = first.compare(source, a, b, instruction)
        if verdict.choice != "tie" or verdict.fault:
            return verdict
        broken = second.compare(source, a, b, instruction)
        if broken.fault:
            return Verdict("tie", f"{verdict.reason}; {second.name} failed: {broken.fault}".lstrip("; "))
        return Verdict(broken.choice, f"a tie broken by {second.name}: {broken.reason}".rstrip(": "))

    def dismiss(self) -> None:
        """Give back the memory of both."""
        for judge in self._judges:
            dismiss(judge)


def dismiss(judge: Any) -> None:
    """Give back the memory of a judge's models, if it has any."""
    release = getattr(judge, "dismiss", None) or getattr(getattr(judge, "chat", None), "release", None)
    if release is not None:
        release()

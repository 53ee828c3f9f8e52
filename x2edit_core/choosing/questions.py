"""Yes/no questions about one instruction, written once, and a vision model's answers to them for single edits.

After ADE-CoT (arXiv 2603.00141), whose checks are made for the edit at hand: what was asked for, where, and what should stay.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..chat import Message
from ..chat.json_replies import objects_with
from ..chat.likelihoods import are_sayable
from .asking import VisionJudge, with_retry

LEAST, MOST = 3, 6
LONGEST = 300
"""Characters of a question."""
LETTERS = ("Y", "N")
SURE = 10.0
"""The largest of the numbers that stand for how sure the model is of a yes, where it gives no probabilities."""
WRITE_TOKENS, ANSWER_TOKENS = 512, 160

WRITE_PROMPT = """\
This picture is going to be edited by a program that was told:
{instruction}

Write {least} to {most} questions that tell a right edit from a wrong one. Each must be answered yes when the edit is right, \
must be about something that can be seen, and must ask one thing only: whether what was asked for is there, whether it is \
in the right place and of the right kind, and whether the parts that should stay did.{criteria}
Answer with one line of JSON: {{"questions": ["first question?", "second question?", "third question?"]}}"""

WRITE_AGAIN = 'Answer with this JSON and nothing else, with three to six questions: {"questions": ["", "", ""]}'

ASK_ONE = """\
The first picture is the source, the second an edited version of it. The edit should carry out this instruction:
{instruction}

{question}
Answer with the single letter Y for yes or N for no."""

ASK_ALL = """\
The first picture is the source, the second an edited version of it. The edit should carry out this instruction:
{instruction}

Look closely and answer these questions about the edit:
{questions}

For each question give a number from 0 (surely no) to 10 (surely yes), in the same order.
Answer with one line of JSON: {{"answers": [{zeros}]}}"""

ASK_ALL_AGAIN = 'Answer with this JSON and nothing else, with {} numbers from 0 to 10: {{"answers": [{}]}}'


class Questioning(VisionJudge):
    """A vision model that writes questions about an instruction and answers them for single edits."""

    def questions(self, source: Any, instruction: str) -> list[str]:
        """Three to six questions that a right edit answers with yes; raises `ChatError` where the model writes none."""
        criteria = f" The edit should also be judged by this: {self.criteria}." if self.criteria else ""
        text = WRITE_PROMPT.format(instruction=instruction.strip(), least=LEAST, most=MOST, criteria=criteria)
        return with_retry(self.chat, [Message("user", text, (source,))], parse_questions, WRITE_AGAIN, WRITE_TOKENS)

    def answers(self, source: Any, edit: Any, instruction: str, questions: Sequence[str]) -> list[float]:
        """How sure the model is of a yes to each question, 0–1; raises `ChatError` where it does not say.

        By the probabilities of Y and N where the backend gives them, else by numbers in words.
        """
        found: list[float] = []
        for question in questions:
            text = ASK_ONE.format(instruction=instruction.strip(), question=question)
            sure = self._probability(Message("user", text, (source, edit)))
            if sure is None:
                return self._in_words(source, edit, instruction, questions)
            found.append(sure)
        return found

    def _probability(self, question: Message) -> float | None:
        scores = self.chat.score([question], LETTERS)
        if scores is None or not all(map(math.isfinite, scores)) or not are_sayable(scores):
            return None
        return 1 / (1 + math.exp(min(scores[1] - scores[0], 700.0)))

    def _in_words(self, source: Any, edit: Any, instruction: str, questions: Sequence[str]) -> list[float]:
        count, zeros = len(questions), ", ".join("0" for _ in questions)
        listed = "\n".join(f"{number}. {question}" for number, question in enumerate(questions, 1))
        text = ASK_ALL.format(instruction=instruction.strip(), questions=listed, zeros=zeros)
        again = ASK_ALL_AGAIN.format(count, zeros)
        asked = [Message("user", text, (source, edit))]
        return with_retry(self.chat, asked, lambda reply: parse_answers(reply, count), again, ANSWER_TOKENS)


def parse_questions(reply: str) -> list[str] | None:
    """Three to six different questions out of a reply's JSON; None for fewer, of more the first six."""
    for found in reversed(objects_with(reply, "questions")):
        listed = found.content["questions"]
        if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
            continue
        questions = list(dict.fromkeys(" ".join(item.split()) for item in listed if item.strip(" ?\n\t")))
        if len(questions) >= LEAST and all(len(question) <= LONGEST for question in questions):
            return questions[:MOST]
    return None


def parse_answers(reply: str, count: int) -> list[float] | None:
    """`count` answers, 0–1, out of a reply's JSON; None for another number of them, for two lists that differ, and for JSON
    that had to be mended: what was cut off could be any of them."""
    objects = objects_with(reply, "answers")
    lists = [_answers_of(found.content["answers"], count) for found in objects if not found.repaired]
    if not lists or len(lists) < len(objects) or any(each != lists[0] for each in lists):
        return None
    return lists[0]


def _answers_of(listed: Any, count: int) -> list[float] | None:
    if not isinstance(listed, list) or len(listed) != count:
        return None
    values = [_answer(item) for item in listed]
    return None if None in values else [value for value in values if value is not None]


def _answer(item: Any) -> float | None:
    """A number from 0 to 10, true or false, or yes or no."""
    if isinstance(item, bool):
        return float(item)
    if isinstance(item, str):
        return {"yes": 1.0, "no": 0.0}.get(item.strip().lower())
    if not isinstance(item, int | float) or not 0 <= item <= SURE:
        return None
    return item / SURE

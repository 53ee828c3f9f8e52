"""Judges with scripted chats: what is asked, how answers are read, and what happens when there is none."""

from __future__ import annotations

import math

import pytest
from PIL import Image

from x2edit_core.chat import ChatError
from x2edit_core.chat.endpoint import EndpointChat
from x2edit_core.chat.transport import Limits
from x2edit_core.choosing.judge import (
    ChatJudge,
    EditScore,
    HumanJudge,
    ScoreJudge,
    Verdict,
    pair_prompt,
    parse_answer,
    parse_marks,
)
from x2edit_core.errors import X2EditError

from .chat_server import Reply, completion, serving


class Scripted:
    """Answers in order; an exception in the script is raised. `scores` are given to every question about answers."""

    name, vision = "a script", True

    def __init__(self, *replies, scores=None):
        self.replies, self.scores, self.asked = list(replies), scores, []

    def _next(self):
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def generate(self, messages, max_tokens=256):
        self.asked.append(list(messages))
        return self._next()

    def score(self, messages, answers):
        if self.scores is None:
            return None
        self.asked.append(list(messages))
        return self.scores.pop(0)


class Seeing(Scripted):
    """Prefers a picture by its content, whatever its place: the words of an honest judge."""

    def __init__(self, better):
        super().__init__()
        self.better = better

    def generate(self, messages, max_tokens=256):
        return f"{1 + (messages[0].images[1] == self.better)}. It is {self.better}."


def compare(judge, a="cat", b="dog"):
    return judge.compare("source", a, b, "add a hat")


@pytest.mark.parametrize(
    ("reply", "number", "reason"),
    [
        ("1", 1, ""),
        ("2.", 2, ""),
        ("**2** – the hat fits", 2, "the hat fits"),
        ("1. The second one lost the sky.", 1, "The second one lost the sky."),
        ("Answer: 2\nBecause 1 is blurred", 2, "Because 1 is blurred"),
        ("(1)", 1, ""),
        ("The answer is 2", None, None),
        ("Answer is 2", 2, ""),
        ("Edit 1 is worse than edit 2", None, None),
        ("1 or 2, hard to tell", None, None),
        ("1/2", None, None),
        ("1.5 points for the first", None, None),
        ("12", None, None),
        ("neither", None, None),
        ("", None, None),
    ],
)
def test_only_a_leading_digit_counts(reply, number, reason):
    assert parse_answer(reply) == (None if number is None else (number, reason))


def test_the_question_names_order_criteria_and_the_instruction_twice():
    text = pair_prompt("make it {red} & 50 % larger", "keep the frame")
    assert text.count("make it {red} & 50 % larger") == 2
    assert text.index("edit 1") < text.index("edit 2") < text.index("source picture")
    assert "- keep the frame" in text
    assert "None" not in pair_prompt("x") and "{" not in pair_prompt("x")


def test_pictures_are_sent_edits_first():
    chat = Scripted("1", "2")
    assert compare(ChatJudge(chat)).choice == "A"
    assert [messages[0].images for messages in chat.asked] == [("cat", "dog", "source"), ("dog", "cat", "source")]


@pytest.mark.parametrize("better", ["cat", "dog"])
@pytest.mark.parametrize("debias", [False, True])
def test_a_consistent_judge_is_believed(better, debias):
    verdict = compare(ChatJudge(Seeing(better), debias))
    assert verdict == Verdict("A" if better == "cat" else "B", f"It is {better}.")


def test_a_preference_for_a_place_is_a_tie_only_when_both_orders_are_asked():
    assert compare(ChatJudge(Scripted("2", "2"))).choice == "tie"
    assert not compare(ChatJudge(Scripted("2", "2"))).fault
    assert compare(ChatJudge(Scripted("2"), debias=False)).choice == "B"


def test_log_probabilities_are_taken_where_offered():
    chat = Scripted(scores=[[-0.1, -2.5], [-3.0, -0.2]])
    verdict = compare(ChatJudge(chat))
    assert verdict.choice == "A"
    assert "92%" in verdict.reason
    assert len(chat.asked) == 2 and not chat.replies


@pytest.mark.parametrize("scores", [[-1.0, -1.0], [math.nan, -1.0], [-math.inf, -math.inf], [-16.5, -17.25]])
def test_useless_log_probabilities_lead_to_words(scores):
    assert compare(ChatJudge(Scripted("2: sharper", scores=[scores]), debias=False)) == Verdict("B", "sharper")


def test_an_unclear_answer_is_asked_for_once_more():
    chat = Scripted("Both have merits.", "2")
    assert compare(ChatJudge(chat, debias=False)).choice == "B"
    roles = [message.role for message in chat.asked[1]]
    assert roles == ["user", "assistant", "user"]
    assert chat.asked[1][1].text == "Both have merits."


def test_a_reply_of_which_nothing_was_left_gets_room_for_thoughts():
    class Thinking(Scripted):
        def generate(self, messages, max_tokens=256):
            return "" if max_tokens < 2000 else "2. The dog is gone."

    assert compare(ChatJudge(Thinking(), debias=False)) == Verdict("B", "The dog is gone.")


def test_no_usable_answer_is_a_fault_and_no_choice():
    verdict = compare(ChatJudge(Scripted("Hm.", "Well.")))
    assert verdict.choice == "tie"
    assert "'Well.'" in verdict.fault


@pytest.mark.parametrize("kind", ["timeout", "unreachable", "memory", "server"])
def test_a_chat_that_fails_is_a_fault(kind):
    for replies in ([ChatError(kind, "it went away")], ["1", ChatError(kind, "it went away")]):
        verdict = compare(ChatJudge(Scripted(*replies)))
        assert (verdict.choice, verdict.fault) == ("tie", "it went away")


def test_blind_models_are_refused_at_once():
    blind = Scripted()
    blind.vision = False
    for judge in (ChatJudge, ScoreJudge):
        with pytest.raises(X2EditError, match="sees no pictures"):
            judge(blind)


def test_a_person_chooses_or_time_does():
    asked = []

    def ask(title, source, edits, timeout):
        asked.append((title, source, list(edits), timeout))
        return {2: 1, 3: None}[len(edits)]

    judge = HumanJudge(ask, 30)
    assert compare(judge) == Verdict("B", "chosen by hand")
    pick = judge.choose("source", ["a", "b", "c"], "add a hat")
    assert pick.index == 0 and "within 30 s" in pick.reason
    assert asked == [("add a hat", "source", ["cat", "dog"], 30), ("add a hat", "source", ["a", "b", "c"], 30)]


def test_viescore_takes_the_worse_marks():
    score = EditScore(9, 4, 8, 6)
    assert (score.sc, score.pq) == (4, 6)
    assert score.overall == pytest.approx(math.sqrt(24))
    assert score.binarised() == 0
    assert score.binarised(passing=4) == pytest.approx(math.sqrt(0.6))
    assert EditScore(10, 10, 10, 10).overall == 10
    assert EditScore(0, 10, 10, 10).overall == 0


@pytest.mark.parametrize(
    ("reply", "marks"),
    [
        ('{"score": [7, 9.5], "reason": "good"}', ((7.0, 9.5), "good")),
        ('Sure:\n```json\n{"score": [0, 10], "reasoning": "ok"}\n```', ((0.0, 10.0), "ok")),
        ('{"score": [7], "reason": ""}', None),
        ('{"score": [7, 11], "reason": ""}', None),
        ('{"score": ["a", 1]}', None),
        ('{"score": 7}', None),
        ("[1, 2]", None),
        ("7 and 9", None),
        ('{"score": [NaN, 3]}', None),
    ],
)
def test_marks_are_read_strictly(reply, marks):
    assert parse_marks(reply) == marks


def test_scores_of_an_edit_and_of_two():
    def marks(*values):
        return f'{{"score": {list(values)}, "reason": "so"}}'

    chat = Scripted(marks(8, 6), "good", marks(9, 7))
    assert ScoreJudge(chat).rate("source", "edit", "add a hat") == EditScore(8, 6, 9, 7, "so")
    assert chat.asked[0][0].images == ("source", "edit") and chat.asked[-1][0].images == ("edit",)
    better = Scripted(marks(8, 8), marks(8, 8), marks(9, 9), marks(8, 8))
    assert compare(ScoreJudge(better)).choice == "B"
    assert compare(ScoreJudge(Scripted(*[marks(5, 5)] * 4))).choice == "tie"
    assert compare(ScoreJudge(Scripted(ChatError("timeout", "too slow")))).fault == "too slow"


def test_an_endpoint_is_remote_and_its_log_probabilities_decide():
    """Through the real endpoint chat: the judge's answers can be scored by their first token."""
    table = [{"token": "1", "logprob": -2.0}, {"token": " 2", "logprob": -0.2}]
    with serving() as server:
        server.script = [Reply(completion("2", logprobs={"content": [{"top_logprobs": table}]}))]
        chat = EndpointChat(server.address, "judge", vision=True, limits=Limits(timeout_s=5, attempts=1))
        picture = Image.new("RGB", (8, 8))
        judge = ChatJudge(chat, debias=False)
        assert judge.compare(picture, picture, picture, "add a hat").choice == "B"
        assert judge.remote
    assert not ChatJudge(Scripted()).remote

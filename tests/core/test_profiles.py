"""Judges by profile: which pictures in which order, what counts as a reply, and how two judges decide together."""

from __future__ import annotations

import pytest

from x2edit_core.choosing.judge import ChatJudge, Verdict
from x2edit_core.choosing.profiles import (
    PLAIN,
    PROFILES,
    ComposedJudge,
    dismiss,
    parse_lines,
    parse_scores,
    parse_winner,
)
from x2edit_core.errors import X2EditError

from .test_judge import Scripted, compare


def judge_of(name, chat, debias=True, criteria=""):
    return PROFILES[name].make(chat, debias, criteria)


@pytest.mark.parametrize(
    ("reply", "winner"),
    [
        ("The hat fits well.\nEdited Image 2 is better", 2),
        ("**Edited Image 1 is better.**", 1),
        ("Image 1 is blurred, while image 2 is the better one.", 2),
        ("Edit 2 wins.", 2),
        ("Winner: Image 1", 1),
        ("The better edit is image 2.", 2),
        ("Answer: 2", 2),
        ('{"reason": "the face", "winner": 1}', 1),
        ('```json\n{"winner": "Image 2"}\n```', 2),
        ('{"winner": 0}', 0),
        ('{"winner": "tie"}', 0),
        ("They are equally good.", 0),
        ("It is a tie.", 0),
        ("Image 1 is better than the source. Image 2 is better than image 1.", None),
        ('{"winner": 1} or {"winner": 2}', None),
        ('{"winner": 3}', None),
        ('{"winner": true}', None),
        ('{"winner": 1', None),
        ("Image 1 is an edited picture of a cat.", None),
        ("Answer: 2/5", None),
        ("Answer: 25", None),
        ("", None),
    ],
)
def test_the_winner_that_a_reply_names(reply, winner):
    assert parse_winner(reply) == winner


@pytest.mark.parametrize(
    ("reply", "marks"),
    [
        ('{"reasoning": "fine", "score": [20, 25]}', [20.0, 25.0]),
        ('{"score": [0, 12.5]}', [0.0, 12.5]),
        ('{"score": [20, 26]}', None),
        ('{"score": [20]}', None),
        ('{"score": 20}', None),
        ('{"score": [true, 20]}', None),
        ('{"score": ["20", 20]}', None),
        ('{"score": [20, 2', None),
        ('{"score": [1, 2]} no, {"score": [2, 1]}', None),
    ],
)
def test_marks_up_to_25(reply, marks):
    assert parse_scores(reply, 2, 0, 25) == marks


@pytest.mark.parametrize(
    ("reply", "marks"),
    [
        ("Well done.\nInstruction: 5\nQuality: 4\nDetails: 3", [5, 4, 3]),
        ("**Prompt Compliance**: 5\n- Visual Naturalness: 4/5\n* Details: 3.", [5, 4, 3]),
        ("Instruction: 5\nQuality: 4", None),
        ("Instruction: 6\nQuality: 4\nDetails: 3", None),
        ("Instruction: 0\nQuality: 4\nDetails: 3", None),
        ("Instruction: 5\nQuality: 4\nDetails: 3\nOverall: 4", None),
    ],
)
def test_three_lines_up_to_5(reply, marks):
    assert parse_lines(reply, 3, 1, 5) == marks


def test_the_plain_profile_is_the_judge_as_it_was():
    judge = judge_of(PLAIN, Scripted("1", "2"), True, "keep the frame")
    assert type(judge) is ChatJudge and judge.criteria == "keep the frame"


@pytest.mark.parametrize("name", ["UnifiedReward-Edit", "PVC-Judge"])
def test_pairs_are_shown_behind_the_source_in_both_orders(name):
    chat = Scripted("Edited Image 2 is better", '{"winner": 1}')
    assert compare(judge_of(name, chat)).choice == "B"
    assert [messages[0].images for messages in chat.asked] == [("source", "cat", "dog"), ("source", "dog", "cat")]
    assert all("\nadd a hat\n" in messages[0].text for messages in chat.asked)
    assert compare(judge_of(name, Scripted("Winner: 1", "Winner: 1"))) == Verdict(
        "tie", "picture 1 was preferred in either order"
    )
    assert compare(judge_of(name, Scripted('{"winner": 0}', "Winner: 1"))).choice == "tie"
    assert compare(judge_of(name, Scripted("Winner: 2"), debias=False)).choice == "B"


@pytest.mark.parametrize("name", list(PROFILES))
def test_a_reply_out_of_form_is_asked_for_once_more_and_then_a_fault(name):
    verdict = compare(judge_of(name, Scripted("Hm.", "Both.", "Hm.", "Both.")))
    assert verdict.choice == "tie" and "no usable answer, asked twice" in verdict.fault


def test_editscore_marks_by_the_worse_of_each_two():
    chat = Scripted('{"score": [25, 16]}', '{"score": [9, 20]}', '{"score": [20, 20]}', '{"score": [20, 20]}')
    verdict = compare(judge_of("EditScore", chat))
    assert verdict == Verdict("B", "12.00 to 20.00")
    assert [messages[0].images for messages in chat.asked] == [
        ("source", "cat"), ("cat",), ("source", "dog"), ("dog",)
    ]  # fmt: skip
    assert "0 to 25" in chat.asked[0][0].text and "a hat" not in chat.asked[1][0].text


def test_imgedit_judge_takes_the_mean_of_three():
    lines = "Fine.\nInstruction: {}\nQuality: 3\nDetails: 3"
    chat = Scripted(lines.format(5), lines.format(4))
    assert compare(judge_of("ImgEdit-Judge", chat)) == Verdict("A", "3.67 to 3.33")
    assert [messages[0].images for messages in chat.asked] == [("source", "cat"), ("source", "dog")]


@pytest.mark.parametrize("name", list(PROFILES))
def test_every_profile_tells_criteria_and_needs_sight(name):
    blind = Scripted("x")
    blind.vision = False
    with pytest.raises(X2EditError, match="sees no pictures"):
        judge_of(name, blind)
    chat = Scripted("", "", "", "")
    compare(judge_of(name, chat, criteria="keep {the} frame"))
    assert "keep {the} frame" in chat.asked[0][0].text
    assert PROFILES[name].known and PROFILES[name].low < PROFILES[name].high


class Fixed:
    remote = False

    def __init__(self, name, verdict):
        self.name, self.verdict, self.asked, self.given = name, verdict, 0, 0

    def compare(self, *_):
        self.asked += 1
        return self.verdict

    def dismiss(self):
        self.given += 1


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (Verdict("A", "done"), Verdict("B"), Verdict("A", "done")),
        (Verdict("tie", "alike"), Verdict("B", "the face"), Verdict("B", "a tie broken by second: the face")),
        (Verdict("tie"), Verdict("tie"), Verdict("tie", "a tie broken by second")),
        (Verdict("tie", fault="gone"), Verdict("B"), Verdict("tie", fault="gone")),
        (Verdict("tie", "alike"), Verdict("tie", fault="gone"), Verdict("tie", "alike; second failed: gone")),
    ],
)
def test_consistency_breaks_ties_and_nothing_else(first, second, expected):
    one, other = Fixed("first", first), Fixed("second", second)
    both = ComposedJudge(one, other)
    assert compare(both) == expected and other.asked == (first.choice == "tie" and not first.fault)
    assert both.name == "first and second" and not both.remote
    dismiss(both)
    assert one.given == other.given == 1


def test_questions_are_the_instruction_judges():
    both = ComposedJudge(ChatJudge(Scripted('{"questions": ["a?", "b?", "c?"]}')), Fixed("second", Verdict("A")))
    assert both.questions("source", "add a hat") == ["a?", "b?", "c?"]
    assert not hasattr(ComposedJudge(Fixed("first", Verdict("A")), Fixed("second", Verdict("A"))), "questions")

"""Yes/no questions about an edit: written by a scripted chat, read from what models really reply, answered in two ways."""

from __future__ import annotations

import math

import pytest

from x2edit_core.chat import ChatError
from x2edit_core.choosing.judge import ChatJudge
from x2edit_core.choosing.questions import parse_answers, parse_questions

from .test_judge import Scripted

THREE = ["Is there a hat?", "Is it red?", "Is the sky the same?"]
WRITTEN = '{"questions": ["Is there a hat?", "Is it red?", "Is the sky the same?"]}'


def test_questions_are_written_once_from_source_instruction_and_criteria():
    chat = Scripted(WRITTEN)
    assert ChatJudge(chat, criteria="keep the frame").questions("source", " add a red hat ") == THREE
    ((message,),) = chat.asked
    assert message.images == ("source",)
    assert "\nadd a red hat\n" in message.text and "keep the frame" in message.text and "3 to 6" in message.text


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (WRITTEN, THREE),
        (f"Sure!\n```json\n{WRITTEN}\n```", THREE),
        ('{"Questions": ["a?", " b?\\n", "a?", "c?"]}', ["a?", "b?", "c?"]),
        ('{"questions": ["1?", "2?", "3?", "4?", "5?", "6?", "7?"]}', ["1?", "2?", "3?", "4?", "5?", "6?"]),
        ('{"questions": ["a?", "b?"]}', None),
        ('{"questions": ["a?", "", " ? "]}', None),
        ('{"questions": "Is there a hat?"}', None),
        ('{"questions": [1, 2, 3]}', None),
        ('{"questions": ["a?", "b?", "' + "x" * 301 + '"]}', None),
        ("1. Is there a hat? 2. Is it red?", None),
        ("", None),
    ],
)
def test_what_counts_as_questions(reply, expected):
    assert parse_questions(reply) == expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ('{"answers": [10, 0, 7.5]}', [1.0, 0.0, 0.75]),
        ('{"answers": ["yes", "No", true]}', [1.0, 0.0, 1.0]),
        ('first {"answers": [1, 2, 3]} then again {"answers": [1, 2, 3]}', [0.1, 0.2, 0.3]),
        ('{"answers": [1, 2, 3]} or rather {"answers": [3, 2, 1]}', None),
        ('{"answers": [10, 0]}', None),
        ('{"answers": [10, 0, 11]}', None),
        ('{"answers": [10, 0, -1]}', None),
        ('{"answers": [10, 0, null]}', None),
        ('{"answers": [10, 0, "maybe"]}', None),
        ('{"answers": [10, 0, 1', None),
        ('{"answers": [10, 0, NaN]}', None),
    ],
)
def test_what_counts_as_answers(reply, expected):
    assert parse_answers(reply, 3) == expected


def test_probabilities_answer_each_question_by_itself():
    chat = Scripted(scores=[[-0.1, -2.5], [-3.0, -0.2], [-0.7, -0.7]])
    answers = ChatJudge(chat).answers("source", "edit", "add a hat", THREE)
    assert answers == pytest.approx([1 / (1 + math.exp(-2.4)), 1 / (1 + math.exp(2.8)), 0.5])
    assert [messages[0].images for messages in chat.asked] == [("source", "edit")] * 3
    for question, (message,) in zip(THREE, chat.asked, strict=True):
        assert question in message.text and "add a hat" in message.text


def test_without_probabilities_all_are_asked_at_once_in_words():
    chat = Scripted('{"answers": [10, 2, 8]}')
    assert ChatJudge(chat).answers("source", "edit", "add a hat", THREE) == [1.0, 0.2, 0.8]
    ((message,),) = chat.asked
    assert "1. Is there a hat?\n2. Is it red?\n3. Is the sky the same?" in message.text
    assert '{"answers": [0, 0, 0]}' in message.text


@pytest.mark.parametrize("scores", [[math.nan, -1.0], [-16.5, -17.25]])
def test_useless_probabilities_lead_to_words(scores):
    chat = Scripted('{"answers": [10, 2, 8]}', scores=[scores])
    assert ChatJudge(chat).answers("source", "edit", "add a hat", THREE) == [1.0, 0.2, 0.8]


def test_an_answer_out_of_form_is_asked_for_once_more_and_then_none():
    chat = Scripted("Yes, yes and no.", '{"answers": [10, 10, 0]}')
    assert ChatJudge(chat).answers("source", "edit", "add a hat", THREE) == [1.0, 1.0, 0.0]
    with pytest.raises(ChatError, match="no usable answer, asked twice"):
        ChatJudge(Scripted("Yes.", "Yes.")).answers("source", "edit", "add a hat", THREE)
    with pytest.raises(ChatError, match="no usable answer, asked twice"):
        ChatJudge(Scripted("Hm.", "Hm.")).questions("source", "add a hat")

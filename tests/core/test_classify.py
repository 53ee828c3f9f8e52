"""The task classifier: the labelled set, the reader's manners, and the paths through a language model."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from x2edit_core.chat import ChatError
from x2edit_core.classify import classify, read, without_trigger_words
from x2edit_core.classify.answer import question
from x2edit_core.classify.evidence import Evidence, decide, weigh
from x2edit_core.tasks import TASK_NAMES, Task

DATA = Path(__file__).resolve().parents[1] / "data" / "instructions"
HALVES = ("development", "held_out")


@lru_cache
def rows(name):
    return [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


@lru_cache
def answers(name):
    """The task of every row, through the public function with its default threshold."""
    return [classify(row["text"]).task.english for row in rows(name)]


def recall_by(name, *keys):
    """(values of keys) → share of right answers."""
    right, total = defaultdict(int), defaultdict(int)
    for row, answer in zip(rows(name), answers(name), strict=True):
        group = tuple(row[key] for key in keys)
        total[group] += 1
        right[group] += answer == row["task"]
    return {group: right[group] / count for group, count in total.items()}


# the labelled set


def test_the_set_is_as_large_as_promised_and_its_halves_share_nothing():
    both = {half: rows(half) for half in HALVES}
    texts = [row["text"] for half in HALVES for row in both[half]]
    assert len(texts) == len(set(texts))
    counts = defaultdict(int)
    for half in HALVES:
        for row in both[half]:
            counts[row["language"], row["task"]] += 1
    assert set(counts) == {(language, task) for language in ("en", "zh") for task in TASK_NAMES}
    assert min(counts.values()) >= 40
    assert not set(texts) & {row["text"] for row in rows("variations")}


@pytest.mark.parametrize("name", [*HALVES, "variations"])
def test_accuracy_in_each_language(name):
    for (language,), accuracy in recall_by(name, "language").items():
        assert accuracy >= 0.85, f"{language}: {accuracy:.3f}"


@pytest.mark.parametrize(("name", "floor"), [("development", 0.9), ("held_out", 0.7), ("variations", 0.85)])
def test_no_class_is_given_up(name, floor):
    poor = {group: share for group, share in recall_by(name, "task", "language").items() if share < floor}
    assert not poor


def test_other_languages_fall_to_other_and_say_so():
    for row in rows("other_languages"):
        found = classify(row["text"], minimum_confidence=0.0)
        assert found.task is Task.OTHER, row["text"]
        assert found.warning, row["text"]


# manners of the reader


@pytest.mark.parametrize(
    ("first", "second", "changed"),
    [
        ("remove the sign", "remove the text on the sign", Task.TEXT),
        ("replace the red car with a blue bike", "replace the red car with a blue one", Task.COLOR),
        ("put a bride in the cathedral", "put the bride in a cathedral", Task.BACKGROUND),
        ("add a lamp to the room", "add warm light to the room", Task.TONE),
        ("turn the dog into a wolf", "turn the dog's head to the left", Task.ACTION),
        ("remove the man", "remove the man's wrinkles", Task.PORTRAIT),
        ("turn the vase into a bowl", "turn the vase into glass", Task.MATERIAL),
        pytest.param(
            "把红车换成蓝色的自行车",
            "把红车换成蓝车",
            Task.COLOR,
            marks=pytest.mark.xfail(strict=True, reason="the n-grams of 换成 outvote the rules, which read it right"),
        ),
        ("删除招牌", "删除招牌上的文字", Task.TEXT),
        ("把桥换成船", "把木桥换成石桥", Task.MATERIAL),
        ("给他戴一副眼镜", "给他加点胡子", Task.PORTRAIT),
    ],
)
def test_what_the_verb_acts_on_decides(first, second, changed):
    assert classify(first).task is not changed
    assert classify(second).task is changed


@pytest.mark.parametrize(
    ("plain", "dressed"),
    [
        ("remove the dog", "Could you please remove the dog for me, thanks!"),
        ("make the car red", "MAKE THE CAR RED, keep everything else unchanged."),
        ("replace the apple with a pear", "I would like you to replace the apple with a pear"),
        ("删除狗", "麻烦您帮我删除狗，其他保持不变，谢谢！"),
        ("把车变成红色", "請把車變成紅色"),
        ("remove the dog", "ｒｅｍｏｖｅ ｔｈｅ ｄｏｇ"),
    ],
)
def test_politeness_case_script_and_what_stays_change_nothing(plain, dressed):
    assert classify(dressed).task is classify(plain).task is not Task.OTHER


@pytest.mark.parametrize(
    ("slip", "task"),
    [
        ("remvoe the dog", Task.REMOVE),
        ("delet the chair", Task.REMOVE),
        ("repalce the cup with a bowl", Task.REPLACE),
        ("chagne the backgroud to a beach", Task.BACKGROUND),
        ("ad a hat to the cat", Task.ADD),
    ],
)
def test_a_slip_in_a_key_word_is_forgiven(slip, task):
    assert classify(slip).task is task


def test_an_ordinary_word_is_not_mended_into_a_key_word():
    assert classify("add a chance card to the board game").task is Task.ADD


def test_quoted_words_are_not_read_as_the_instruction():
    assert classify('Write "remove the dog" on the wall').task is Task.TEXT
    assert classify("在墙上写“删除背景”").task is Task.TEXT


@pytest.mark.parametrize("text", ["", "   ", "asdf qwer zxcv", "?!?!", "🙂🙂🙂"])
def test_an_unclear_instruction_is_other_with_a_warning(text):
    found = classify(text)
    assert found.task is Task.OTHER
    assert found.warning
    assert found.confidence < 0.5


def test_a_plain_request_for_something_vague_is_other_without_a_warning():
    found = classify("Please enhance this image")
    assert found.task is Task.OTHER
    assert found.warning is None
    assert found.confidence >= 0.5


def test_the_minimum_confidence_turns_a_guess_into_other():
    sure = classify("make the car red", minimum_confidence=0.0)
    assert sure.task is Task.COLOR
    doubted = classify("make the car red", minimum_confidence=math.nextafter(sure.confidence, 2))
    assert doubted.task is Task.OTHER
    assert "color" in (doubted.warning or "")
    assert doubted.confidence == sure.confidence


def test_the_report_names_the_evidence():
    assert "remove" in classify("remove the dog").report
    assert classify("删除狗").report.startswith("learned, language zh")


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_answered_the_same_way_twice(text):
    found = classify(text)
    assert found == classify(text)
    assert 0.0 <= found.confidence <= 1.0
    assert (found.task is Task.OTHER) or found.confidence >= 0.5


WORDS = (
    "make",
    "the",
    "remove",
    "to",
    "of",
    "put",
    "red",
    "instead",
    "把",
    "换成",
    "让",
    "背景",
    "这只",
    "，",
    '"',
    "'",
)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=60).map(" ".join))
def test_key_words_in_any_order_are_survived(text):
    assert classify(text).task in Task


def test_only_the_beginning_of_a_very_long_text_is_read():
    request = "remove the dog from the photo. "
    assert classify(request + "x" * 100_000).task is Task.REMOVE


# weighing


def test_scores_add_up_and_ties_go_to_the_lower_id():
    evidence = [Evidence(Task.ADD, 1.0, "a"), Evidence(Task.ADD, 1.0, "b"), Evidence(Task.TEXT, 2.0, "c")]
    task, tied = decide(weigh(evidence))
    assert task is Task.ADD
    clear_task, clear = decide(weigh([*evidence, Evidence(Task.TEXT, 2.0, "d")]))
    assert clear_task is Task.TEXT
    assert tied < 0.5 < clear


def test_no_evidence_is_other_without_confidence():
    assert decide({}) == (Task.OTHER, 0.0)
    assert decide({Task.ADD: -1.0}) == (Task.OTHER, 0.0)


# trigger words


def test_trigger_words_are_never_read():
    assert classify("ghibli style, make the car red").task is not Task.COLOR
    assert classify("ghibli style, make the car red", trigger_words="ghibli style").task is Task.COLOR


@pytest.mark.parametrize(
    ("text", "triggers", "left"),
    [
        ("ghibli,Make it rain", "ghibli", "Make it rain"),
        ("Ghibli make it rain", "ghibli, Super Realism", "make it rain"),
        ("make it rain, SUPER REALISM", "super realism", "make it rain,"),
        ("remove the ghiblis", "ghibli", "remove the ghiblis"),
        ("a.b make it rain", "a.b", "make it rain"),
        ("make it rain", " , ", "make it rain"),
    ],
)
def test_trigger_words_are_removed_whole_and_literally(text, triggers, left):
    assert without_trigger_words(text, triggers) == left


# a language model


class ScriptedChat:
    """Answers from a script and keeps what it was asked."""

    def __init__(self, scores=None, reply="", error=None, vision=True):
        self.name, self.vision = "scripted", vision
        self._scores, self._reply, self._error = scores, reply, error
        self.messages, self.answers = [], []

    def score(self, messages, answers):
        self.messages, self.answers = list(messages), list(answers)
        if self._error:
            raise self._error
        return self._scores

    def generate(self, messages, max_tokens=256):
        self.messages = list(messages)
        return self._reply


def scores_for(task, share):
    """Log-probabilities that give `task` this share and the others the rest, times a common factor."""
    rest = (1 - share) / (len(TASK_NAMES) - 1)
    return [math.log(share if k == task.id else rest) - 7.0 for k in range(len(TASK_NAMES))]


def test_scores_become_shares_of_the_sixteen_names():
    chat = ScriptedChat(scores=scores_for(Task.CAMERA, 0.7))
    found = classify("do the thing", chat)
    assert chat.answers == list(TASK_NAMES)
    assert found.task is Task.CAMERA
    assert found.confidence == pytest.approx(0.7)
    assert found.warning is None
    assert "0.700 camera" in found.report


def test_scores_that_spread_are_other_with_a_warning():
    found = classify("do the thing", ScriptedChat(scores=scores_for(Task.CAMERA, 0.3)))
    assert found.task is Task.OTHER
    assert "camera" in (found.warning or "")
    assert "camera" in found.report


@pytest.mark.parametrize("bad", [[0.0], [float("nan")] * 16, [-math.inf] * 16])
def test_unusable_scores_fall_back_to_the_rules(bad):
    found = classify("remove the dog", ScriptedChat(scores=bad))
    assert found.task is Task.REMOVE
    assert "the built-in reader decided" in (found.warning or "")


def test_a_single_impossible_label_is_tolerated():
    scores = scores_for(Task.ADD, 0.9)
    scores[Task.TEXT.id] = -math.inf
    assert classify("do the thing", ScriptedChat(scores=scores)).task is Task.ADD


@pytest.mark.parametrize("task", list(Task))
def test_every_name_of_every_task_is_understood(task):
    for name in (task.english, task.chinese, task.english.upper(), *task.aliases):
        assert classify("do the thing", ScriptedChat(reply=name)).task is task


@pytest.mark.parametrize(
    "reply",
    ["tone", "<think>add? no, remove…</think>\n\ntone", "Tone.", "**tone**", '"tone"', "「色调变换」", " tone\n"],
)
def test_a_reply_is_read_after_the_thought_and_without_decoration(reply):
    found = classify("do the thing", ScriptedChat(reply=reply))
    assert found.task is Task.TONE
    assert found.warning is None


@pytest.mark.parametrize(
    "reply",
    [
        "remove subject (删除主体)",
        "删除主体 (remove subject)",
        "- remove subject (删除主体): take a person, animal or object away",
        "1. remove subject",
        "Task: remove subject",
        "**Answer:** `remove subject`.",
        "The task is remove subject",
        "The correct answer is: Remove_Subject",
        '{"task": "remove subject"}',
        '```json\n{"task": "remove subject", "confidence": 0.9}\n```',
        "Answer: The task is remove subject",
        "remove subject\n\nThe dog should go.",
        "任务：删除主体",
        "【删除主体】（remove subject）",
        "<|begin_of_box|>remove subject<|end_of_box|>",
        "\\boxed{remove subject}",
        "ｒｅｍｏｖｅ　ｓｕｂｊｅｃｔ",
        "remove subject<|im_end|>",
    ],
)
def test_a_label_in_the_prompts_own_form_is_the_label(reply):
    found = classify("do the thing", ScriptedChat(reply=reply))
    assert (found.task, found.warning) == (Task.REMOVE, None)


@pytest.mark.parametrize(
    "reply",
    [
        "", "tone or camera", "tone (camera)", "tone, camera", "I cannot help with that.", "<think>tone", "tone</think>maybe",
        "It is not tone", "subject removal of the text",
        "Reasoning: the user wants the dog gone", "**Action:** take the dog away", "Subject: dog\nTask: unclear",
        "Reasoning: it goes.\nAnswer: remove subject", '{"task": "tone"} or {"task": "camera"}', '{"task": 1}',
        "background noise", "Sorry, other people are in the picture",
    ],
)  # fmt: skip
def test_after_any_other_reply_the_rules_decide_and_the_raw_text_is_in_the_report(reply):
    found = classify("remove the dog", ScriptedChat(reply=reply))
    assert found.task is Task.REMOVE
    assert "the built-in reader decided" in (found.warning or "")
    assert found.report.startswith("learned") and reply in found.report


@pytest.mark.parametrize("task", list(Task))
def test_every_line_of_the_prompts_list_is_its_task(task):
    (line,) = (line for line in question("x").splitlines() if line.startswith(f"- {task.english} ("))
    found = classify("do the thing", ScriptedChat(reply=line))
    assert (found.task, found.warning) == (task, None)


def test_an_unreadable_reply_is_asked_for_once_more():
    class Second(ScriptedChat):
        def generate(self, messages, max_tokens=256):
            self.messages = list(messages)
            return "Let me think about it." if len(messages) == 1 else "tone"

    chat = Second()
    found = classify("do the thing", chat)
    assert (found.task, found.warning) == (Task.TONE, None)
    assert [message.role for message in chat.messages] == ["user", "assistant", "user"]


def test_names_that_the_model_would_hardly_say_are_asked_for_in_words():
    hardly = [score - 10.0 for score in scores_for(Task.CAMERA, 0.9)]
    assert classify("do the thing", ScriptedChat(scores=hardly, reply="tone")).task is Task.TONE


def test_a_lost_backend_falls_back_to_the_rules_visibly():
    chat = ScriptedChat(error=ChatError("unreachable", "no connection to the server"))
    found = classify("remove the dog", chat)
    assert found.task is Task.REMOVE
    assert "no connection to the server" in (found.warning or "")
    assert found.report.startswith("learned")


def test_a_fault_in_our_own_code_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        classify("remove the dog", ScriptedChat(error=ZeroDivisionError()))


def test_the_model_never_sees_trigger_words_and_always_sees_upstreams_names():
    chat = ScriptedChat(scores=scores_for(Task.COLOR, 0.9))
    classify("ghibli, make the car red", chat, trigger_words="ghibli")
    (message,) = chat.messages
    assert "ghibli" not in message.text
    assert "make the car red" in message.text
    for task in Task:
        assert f"{task.english} ({task.chinese})" in message.text


@pytest.mark.parametrize("vision", [True, False])
def test_only_a_model_that_can_see_is_shown_the_picture(vision):
    picture = torch.zeros(4, 4, 3)
    chat = ScriptedChat(scores=scores_for(Task.COLOR, 0.9), vision=vision)
    classify("make the car red", chat, picture)
    shown = chat.messages[0].images
    assert len(shown) == int(vision)
    assert all(image is picture for image in shown)


def test_the_prompt_is_one_line_per_task():
    assert sum(line.startswith("- ") for line in question("x").splitlines()) == len(TASK_NAMES)


def test_reading_gives_its_evidence():
    reading = read("make the car red")
    assert reading.task is Task.COLOR
    assert all(gain > 0 for gain, _ in reading.words)
    assert any("red" in wording for _, wording in reading.words)
    assert reading.rules.task is Task.COLOR


@pytest.mark.parametrize(
    ("instruction", "task"),
    [
        ("make (the car:1.3) red", Task.COLOR),
        ("make ((the car:1.1):1.3) red", Task.COLOR),
        ("make the (car) red", Task.COLOR),
        ("make the [car] red", Task.COLOR),
        ("(make the car red:1.2)", Task.COLOR),
        ("remove (the dog:0.8), embedding:easynegative", Task.REMOVE),
        ("make the car red <lora:ghibli:0.8>", Task.COLOR),
        ("把(汽车:1.3)变成红色", Task.COLOR),
        ("make the car \\(the left one\\) red", Task.COLOR),
    ],
)
def test_weights_of_a_prompt_are_no_part_of_what_it_says(instruction, task):
    assert classify(instruction).task is task


def test_a_model_reads_the_words_without_their_weights():
    chat = ScriptedChat(error=ChatError("scripted", "no answer"))
    assert classify("make (the car:1.3) red", chat).task is Task.COLOR, "the built-in reader, in its place"
    heard = repr(chat.messages)
    assert "make the car red" in heard and "1.3" not in heard

"""The learned classifier: its data, what it makes of voices it never saw, and its weights."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from functools import lru_cache

import numpy as np
import pytest
from classifier.data import HELD_OUT, NEAR, OWN, TRAINING, Copies, stored, trigrams, without_copies

from x2edit_core.classify import classify, read
from x2edit_core.classify.features import features, words_of
from x2edit_core.classify.model import WEIGHTS, model
from x2edit_core.tasks import TASK_NAMES, Task


@lru_cache
def voices():
    return stored(HELD_OUT)


@lru_cache
def training():
    return stored(TRAINING)


@lru_cache
def answers():
    return [classify(row.text) for row in voices()]


def near(first, second):
    a, b = trigrams(first), trigrams(second)
    return len(a & b) / len(a | b)


def test_the_training_data_hold_no_near_copy_of_what_is_held_out():
    held_out = [*stored(OWN / "held_out.jsonl"), *voices()]
    rows = training()
    assert without_copies(rows, held_out) == rows
    assert not {row.voice for row in rows} & {row.voice for row in voices()}


def test_near_copies_are_found_as_every_pair_would_be():
    texts = [row.text for row in stored(OWN / "variations.jsonl")[:150]]
    texts += [text.replace("the", "a") for text in texts[:40]] + [f"{text}!" for text in texts[40:60]]
    copies, kept = Copies(texts), []
    for text in texts:
        assert copies.seen(text) == any(near(text, other) >= NEAR for other in kept), text
        if not copies.seen(text):
            copies.add(text)
            kept.append(text)
    assert len(kept) < len(texts)


def test_every_task_is_written_in_both_languages_in_every_voice():
    counts = Counter((row.voice, row.language, row.task) for row in [*training(), *voices()])
    everyone = {row.voice for row in [*training(), *voices()]}
    assert set(counts) == {(v, lang, task) for v in everyone for lang in ("en", "zh") for task in TASK_NAMES}


def test_voices_that_no_training_saw_are_read_and_wrong_answers_are_seldom_sure():
    right, total, sure = defaultdict(int), defaultdict(int), 0
    for row, found in zip(voices(), answers(), strict=True):
        hit = found.task.english == row.task
        total[row.voice, row.language] += 1
        right[row.voice, row.language] += hit
        sure += not hit and found.confidence > 0.8
    assert min(right[group] / total[group] for group in total) >= 0.70
    assert sure / len(voices()) <= 1 / 20


def test_words_of_both_languages_with_quotations_set_aside():
    assert words_of("Write “remove 3 dogs” on it!") == ["^", "write", "quoted", "on", "it", "!", "$"]
    assert words_of("把车涂成红色 12") == ["^", *"把车涂成红色", "0", "$"]


def test_features_count_words_pairs_with_gaps_pieces_and_classes():
    found = features("red red car")
    assert found["wred"] == 2 and found["wred car"] == 1 and found["sred … car"] == 1
    assert found["c<car>"] == 1 and found["k#COLOR"] == 2 and found["l#COLOR #VEHICLE"] == 1


def test_the_file_of_weights_is_small_and_plain():
    assert WEIGHTS.stat().st_size <= 1_000_000
    found = model()
    assert found.weights.dtype == np.int8 and found.weights.shape == (len(found.numbers), 16)
    assert (np.diff(found.numbers.astype(np.int64)) > 0).all()
    assert found.numbers.nbytes + found.weights.nbytes <= 1_000_000


def test_the_answer_is_the_logits_of_the_known_features_and_of_the_rules():
    text = "Those roses should be white, not red"
    found, reading = model(), read(text)
    _, rows, values = found.known(text)
    assert np.linalg.norm(values) == pytest.approx(1, abs=1e-5)
    logits = (found.weights[rows].astype(np.float64) * found.scale).T @ values + found.bias
    logits *= found.sharpness[0]
    logits[reading.rules.task.id] += sum(
        trust
        for trust, step in zip(found.trust[0], (0.0, 0.5, 0.7, 0.8, 0.9), strict=True)
        if reading.rules.confidence > step
    )
    shares = np.exp(logits) / np.exp(logits).sum()
    assert reading.task.id == int(shares.argmax())
    assert reading.confidence == pytest.approx(shares.max(), abs=1e-4)


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("My ex is the one second from right, make it look like she was never there", Task.REMOVE),
        ("Those roses should be white, not red", Task.COLOR),
        ("The mug has a smooth glaze; I'd prefer rough terracotta", Task.MATERIAL),
    ],
)
def test_requests_without_their_verb(text, task):
    assert classify(text).task is task


def test_the_report_names_words_of_the_instruction_that_decided():
    text = "the kettle would look better in mint green"
    told = [wording for _, wording in read(text).words]
    assert told and any(re.search(r"green|mint", wording) for wording in told)


def test_a_million_characters_are_answered():
    assert classify("remove the dog from the photo. " + "ab cd " * 170_000).task in (Task.REMOVE, Task.OTHER)

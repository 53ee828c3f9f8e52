"""Writers and judges: what they are asked, which answers count, and what becomes of the others."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from x2edit_core.chat.endpoint import EndpointChat
from x2edit_core.chat.protocol import Message, Sampling, Usage
from x2edit_core.dataset.instructions import Words, edits_of, reversed_words, templated
from x2edit_core.dataset.judges import three_marks
from x2edit_core.dataset.prompts import DEFINITIONS, OPPOSITES
from x2edit_core.dataset.release import write_release
from x2edit_core.errors import X2EditError
from x2edit_core.tasks import Task

from .chat_server import Reply, completion, serving
from .dataset_sets import config_file, loaded, made, outcomes
from .edit_server import editing, text_of

RIGHT = {"visible": True, "unambiguous": True, "feasible": True, "task": True, "same": True}
MORE = """
[instructions]
writer = "{writer}"
per_picture = 2
rewrites = {rewrites}
blocked = ["blood"]
[instructions.tasks]
tone = 1
"remove subject" = 1
[endpoints.writer]
base_url = "{address}/v1"
model = "writer"
[endpoints.judge]
base_url = "{address}/v1"
model = "judge"
[scores]
judge = "{judge}"
"""


def edit_reply(task, en, zh="中文", **more):
    return {"task": task, "possible": True, "en": en, "zh": zh, **more}


def answering(**by_word):
    """Answers by a word of the question."""

    def answer(body):
        text = text_of(body)
        found = next(value for word, value in by_word.items() if word in text)
        return found if isinstance(found, str) else json.dumps(found)

    return answer


def more(server, writer="vision", rewrites="[]", judge="none"):
    return MORE.format(address=server.url, writer=writer, rewrites=rewrites, judge=judge)


def test_sampling_is_sent_and_tokens_are_counted_where_the_server_does():
    usages: list[Usage] = []
    counted = {**completion("x"), "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
    with serving() as server:
        server.script = [Reply(counted), Reply(counted), Reply(completion("x"))]
        chat = EndpointChat(server.address, "m", on_usage=usages.append)
        chat.generate([Message("user", "a")])
        chat.sampled(Sampling(0.7, 0.9, 5)).generate([Message("user", "a")])
        chat.generate([Message("user", "a")])
    sent = [{name: asked.get(name) for name in ("temperature", "top_p", "seed")} for asked in server.requests]
    greedy = {"temperature": 0, "top_p": None, "seed": 0}
    assert sent == [greedy, {"temperature": 0.7, "top_p": 0.9, "seed": 5}, greedy]
    assert usages == [Usage(1, 7, 3), Usage(1, 7, 3), Usage(1, 0, 0, 1)]
    assert sum(usages, Usage()) == Usage(3, 14, 6, 1)


@pytest.mark.parametrize(
    "usage", [None, {}, {"prompt_tokens": "7"}, {"prompt_tokens": -1, "completion_tokens": 1}, [1]]
)
def test_a_count_that_is_none_is_not_taken_for_nothing(usage):
    found: list[Usage] = []
    with serving() as server:
        server.script = [Reply({**completion("x"), "usage": usage})]
        EndpointChat(server.address, "m", on_usage=found.append).generate([Message("user", "a")])
    assert found[0].uncounted == 1


def test_a_server_that_streams_tells_its_usage_in_the_last_event():
    body = b'data: {"choices": [{"delta": {"content": "yes"}}]}\n\ndata: {"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 1}}\n\ndata: [DONE]\n\n'  # noqa: E501
    found: list[Usage] = []
    with serving() as server:
        server.script = [Reply(body)]
        assert EndpointChat(server.address, "m", on_usage=found.append).generate([Message("user", "a")]) == "yes"
    assert found == [Usage(1, 4, 1)]


@pytest.mark.parametrize(
    "values", [{"temperature": -1.0}, {"temperature": 3.0}, {"top_p": 0.0}, {"temperature": float("nan")}]
)
def test_sampling_that_is_none_is_refused(values):
    with pytest.raises(X2EditError, match="Sampling"):
        Sampling(**values)


def test_every_task_has_a_definition_and_examples():
    assert set(DEFINITIONS) == set(Task) and all(one.examples for one in DEFINITIONS.values())
    assert all(OPPOSITES[OPPOSITES[task]] is task for task in OPPOSITES)


def test_a_writers_reply_is_read_or_its_fault_is_named():
    tasks = (Task.TONE, Task.REMOVE)
    said = json.dumps(
        {"edits": [edit_reply("tone", "Make it dark", object="all"), {"task": "tone", "possible": False}]}
    )
    assert edits_of(f"Sure!\n```json\n{said}\n```", tasks) == [
        Words(Task.TONE, "Make it dark", "中文", "all", "vision")
    ]
    assert "no JSON" in edits_of("I cannot", tasks)
    assert "'style' was not asked" in edits_of(json.dumps({"edits": [edit_reply("style", "x")]}), tasks)
    assert 'no text "en"' in edits_of(json.dumps({"edits": [edit_reply("tone", " ")]}), tasks)


def test_a_writer_sees_the_picture_is_told_its_fault_once_and_is_asked_to_reflect(tmp_path):
    with editing() as server:
        wrong = iter(["no idea"])
        written = {"edits": [edit_reply("tone", "Make it dark"), edit_reply("remove subject", "Remove the blood")]}

        def answer(body):
            text = text_of(body)
            if "strictly" in text:
                return json.dumps(RIGHT)
            return next(wrong, json.dumps(written))

        server.answer = answer
        config = loaded(config_file(tmp_path, server.url, 1, more=more(server)))
        made(config)
    (found,) = outcomes(config)
    assert (found["words"]["en"], found["words"]["zh"], found["task"]) == ("Make it dark", "中文", "tone")
    first, second, *reflections = server.asked
    assert first["messages"][0]["content"][0]["type"] == "image_url" and first["temperature"] == 0.7
    assert DEFINITIONS[Task.TONE].meaning in text_of(first) and "no JSON object" in text_of(second)
    assert len(reflections) == 2 and all(asked["temperature"] == 0 for asked in reflections)
    stages = [entry["stage"] for entry in found["provenance"]]
    assert stages == ["write", "reflect", "reflect", "edit"] and "Make it dark" in found["provenance"][1]["prompt"]


@pytest.mark.parametrize("check", RIGHT)
def test_what_reflection_doubts_is_not_edited(tmp_path, check):
    with editing() as server:
        written = {"edits": [edit_reply("tone", "Make it dark")]}
        server.answer = answering(strictly={**RIGHT, check: False}, instructions=written)
        config = loaded(config_file(tmp_path, server.url, 1, more=more(server)))
        made(config)
        assert [one["stage"] for one in outcomes(config)] == ["instructions"] and not server.edits


def test_a_picture_that_the_writer_cannot_answer_for_is_remembered_as_that(tmp_path):
    with editing() as server:
        server.answer = lambda body: "I am sorry, but no."
        config = loaded(config_file(tmp_path, server.url, 2, more=more(server)))
        made(config)
        assert Counter(one["stage"] for one in outcomes(config)) == {"instructions": 2} and len(server.asked) == 4
        assert "no JSON object" in outcomes(config)[0]["reasons"][0]


def test_further_instructions_are_written_from_both_pictures(tmp_path):
    with editing() as server:
        written = {"edits": [edit_reply("tone", "Make it dark", object="the lamp")]}
        further = {"understanding": "Could the thing on the left glow?", "reasoning": "Let the lamp be off"}
        server.answer = answering(
            **{"were edited": further, "was edited": further, "strictly": RIGHT, "instructions": written}
        )
        text = more(server, rewrites='["understanding", "reasoning"]')
        config = loaded(config_file(tmp_path, server.url, 1, more=text))
        made(config)
        (found,) = outcomes(config)
        assert found["rewrites"] == {"understanding": "Could the thing on the left glow?"}, "the other names the thing"
        asked = next(asked for asked in server.asked if "was edited" in text_of(asked))
        assert [part["type"] for part in asked["messages"][0]["content"]] == ["image_url", "image_url", "text"]
        assert write_release(config).pairs == 1


def test_templates_make_removals_and_with_their_reverse_additions(tmp_path):
    with editing() as server:
        things = {"objects": [{"name": "the red ball", "zh": "红球", "other": "a cube", "other_zh": "方块"}]}
        server.answer = answering(outline=things)
        text = more(server, writer="template").replace("tone = 1\n", "")
        path = config_file(tmp_path, server.url, 1, more=text)
        path.write_text(path.read_text().replace("[recipes.bright]", "[recipes.bright]\nreverse = true"))
        made(loaded(path))
        forward, back = outcomes(loaded(path))
        assert (forward["words"]["en"], forward["words"]["zh"]) == ("Remove the red ball", "去掉红球")
        assert (back["words"]["en"], back["task"], back["reverse_of"]) == (
            "Add the red ball",
            "add subject",
            forward["key"],
        )
        assert (back["source"], back["edit"]) == (forward["edit"], forward["source"])
        assert len(server.edits) == 1 and write_release(loaded(path)).reversed == 1


def test_replacement_needs_what_comes_and_turns_both_ways():
    assert templated(Task.REPLACE, {"name": "the cup"}) is None
    words = templated(Task.REPLACE, {"name": "the cup", "other": "a vase"})
    assert words.en == "Replace the cup with a vase"
    assert reversed_words(words, "a vase").en == "Replace a vase with the cup"
    assert reversed_words(Words(Task.TONE, "darker", thing="it")) is None


def test_edits_in_a_row_make_both_steps_and_their_sum(tmp_path):
    with editing() as server:
        written = {"edits": [edit_reply("tone", "Make it dark."), edit_reply("remove subject", "Remove the cat")]}
        server.edit = lambda picture, seed: (picture.astype(int) * 3 // 4).astype(np.uint8)
        server.answer = answering(strictly=RIGHT, instructions=written)
        path = config_file(tmp_path, server.url, 1, more=more(server) + "[limits.all]\nmost = {changed = 1.0}\n")
        path.write_text(path.read_text().replace("[recipes.bright]", "[recipes.bright]\ncompose = 2"))
        made(loaded(path))
        found = {one["key"].rpartition("-00000-")[2]: one for one in outcomes(loaded(path))}
    assert all(one["kept"] for one in found.values()), [one["reasons"] for one in found.values()]
    composed = next(one for one in found.values() if one.get("composed"))
    second = next(one for one in found.values() if one.get("turn") == 2 and not one.get("composed"))
    first = next(one for one in found.values() if one["edit"] == second["source"])
    assert composed["words"]["en"] == "Make it dark, then remove the cat"
    assert (composed["source"], composed["edit"]) == (first["source"], second["edit"])


def test_viescore_decides_and_its_words_are_kept(tmp_path):
    with editing() as server:
        marks = iter([[9, 8], [9, 9], [3, 9], [9, 9]])
        server.answer = lambda body: json.dumps({"score": next(marks), "reason": "so"})
        text = more(server, writer="given", judge="viescore")
        config = loaded(config_file(tmp_path, server.url, 2, workers=1, more=text))
        made(config)
        kept, rejected = outcomes(config)
    assert kept["kept"] and kept["scores"]["sc"] == 8 and kept["reason"] == "so" and "judge" in kept["by"]
    assert rejected["stage"] == "decide" and rejected["reasons"] == ["overall 5.196 below 7"]


def test_imgedits_form_decides_by_upstreams_sum(tmp_path):
    told = "Fine.\nPrompt Compliance: {}\nVisual Naturalness: {}\nPhysical & Detail Integrity: {}"
    with editing() as server:
        marks = iter([(5, 4, 4), (5, 5, 3), "nothing", "nothing"])
        server.answer = lambda body: told.format(*found) if isinstance(found := next(marks), tuple) else found
        text = more(server, writer="given", judge="imgedit")
        config = loaded(config_file(tmp_path, server.url, 3, workers=1, more=text))
        made(config)
        kept, rejected, silent = outcomes(config)
    assert kept["kept"] and kept["scores"]["total"] == 9
    assert rejected["reasons"] == ["total 8 below 9"]
    assert (silent["stage"], len(server.asked)) == ("scores", 4) and "no three marks" in silent["reasons"][0]


@pytest.mark.parametrize(
    ("reply", "marks"),
    [
        ("Prompt Compliance: 5\nVisual Naturalness: 4\nPhysical & Detail Integrity: 3", (5, 4, 3)),
        ("**Prompt Compliance**: 5\n**Visual Naturalness:** 4.5\n- Physical and Detail Integrity - 3", (5, 4.5, 3)),
        ("Prompt Compliance: 5\nVisual Naturalness: 4", None),
        ("Prompt Compliance: a number from 1 to 5\nVisual Naturalness: 4\nPhysical & Detail Integrity: 3", None),
        ("Prompt Compliance: 1-5\nVisual Naturalness: 4\nPhysical & Detail Integrity: 3", None),
        ("Prompt Compliance: 5 then Prompt Compliance: 2\nVisual Naturalness: 4\nPhysical & Detail Integrity: 3", None),
        ("Prompt Compliance: 50\nVisual Naturalness: 4\nPhysical & Detail Integrity: 3", None),
    ],
)
def test_three_marks_are_read_or_none_is(reply, marks):
    assert three_marks(reply) == marks


def test_pictures_that_must_not_be_published_are_stopped_before_and_after(tmp_path):
    with editing() as server:
        seen = iter([{"nsfw": True, "minors": False, "faces": False}, {"nsfw": False, "minors": False, "faces": True},
                     {"nsfw": False, "minors": "?", "faces": False}])  # fmt: skip
        server.answer = lambda body: json.dumps(next(seen))
        text = more(server, writer="given") + "[safety]\nask = true\n"
        config = loaded(config_file(tmp_path, server.url, 2, workers=1, more=text))
        made(config)
    before, after = outcomes(config)
    assert (before["stage"], after["stage"]) == ("safety", "safety") and "nsfw" in before["reasons"][0]
    assert "minors" in after["reasons"][0] and len(server.edits) == 1


def test_people_are_retouched_with_consent_only(tmp_path):
    with editing() as server:
        path = config_file(tmp_path, server.url, 2)
        lines = [{"image": f"{n}.png", "instruction": "x", "task": "portrait", "consent": bool(n)} for n in range(2)]
        (tmp_path / "sources" / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
        made(loaded(path))
        assert [one["stage"] for one in outcomes(loaded(path))] == ["safety", "kept"]

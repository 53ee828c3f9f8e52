"""Texts that T5 cannot read are told where the person looks, by T5's own tokenizer; others are not."""

from __future__ import annotations

import json
import logging

import pytest
import torch
from devkit.layout import REPO

from x2edit_core.workflow.graph import to_api

from .test_train_models import FluxText, stored

CHINESE = "把天空变成红色"
UNREAD = [
    CHINESE,
    "把天空变成 red",
    "空を赤くして",
    "하늘을 빨갛게",
    "اجعل السماء حمراء",
    "ทำให้ท้องฟ้าเป็นสีแดง",
    "κάνε τον ουρανό κόκκινο",
    "add 😀",
]
READ = ["make the sky red", "mache den Himmel über Österreich rot", "rends le ciel très rouge à gauche", "(the sky:1.3)",
        "write 你好 on the large sign over the door", "{a|b} ~ 50% “red” – naïve café", ""]  # fmt: skip


@pytest.fixture(scope="module")
def flux_text():
    return FluxText()


@pytest.fixture
def told(pack, monkeypatch):
    """What is said on the node."""
    said = []
    monkeypatch.setattr(pack.core("comfy_bridge.unread"), "say_once", lambda key, text: said.append(text))
    return said


@pytest.mark.parametrize("text", UNREAD)
def test_a_text_that_t5_maps_mostly_to_unknown_is_told_with_a_way_out(pack, flux_text, told, text):
    pack.core("comfy_bridge.unread").warn_if_unread(flux_text, text)
    (warning,) = told
    assert "Qwen2.5-VL" in warning and "English" in warning and text[:5] in warning


@pytest.mark.parametrize("text", READ)
def test_a_text_that_t5_reads_is_not(pack, flux_text, told, text):
    pack.core("comfy_bridge.unread").warn_if_unread(flux_text, text)
    assert not told


def test_encoders_without_t5_are_not_judged(pack, told):
    _, clip, _ = pack.run("X2EditDemoModels", base="x2edit")
    pack.core("comfy_bridge.unread").warn_if_unread(clip, CHINESE)
    assert not told


def test_icedits_conditioning_says_it(pack, flux_text, told, caplog):
    _, _, vae = pack.run("X2EditDemoModels", base="fill")
    picture, mask = torch.rand(1, 32, 64, 3), torch.zeros(1, 32, 64)
    mask[..., 32:] = 1
    condition = pack.core("comfy_bridge.diptych").condition
    condition(flux_text, vae, "make the sky red", picture, mask)
    assert not told
    condition(flux_text, vae, CHINESE, picture, mask)
    assert len(told) == 1


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("X2Edit automatic (all nodes)", True),
        ("X2Edit (all nodes)", None),
        ("X2Edit with Qwen2.5-VL (all nodes)", False),
    ],
)
def test_the_reference_node_says_it_of_a_graph_whose_instruction_goes_through_t5(
    pack, server, told, template, expected
):
    """In the shipped templates, with a Chinese instruction wherever they have one."""
    workflow = json.loads((REPO / "workflows" / f"{template}.json").read_text(encoding="utf-8"))
    prompt = to_api(workflow, server.object_info())
    for node in prompt.values():
        for name, value in node["inputs"].items():
            if isinstance(value, str) and len(value.split()) > 2:
                node["inputs"][name] = CHINESE
    reference = next(name for name, node in prompt.items() if node["class_type"] == "X2EditReference")
    pack.core("comfy_bridge.unread").warn_of_graph(prompt, reference, "conditioning")
    loads_t5 = any("t5" in str(value).lower() for node in prompt.values() for value in node["inputs"].values())
    assert bool(told) == (loads_t5 if expected is None else expected)


def test_a_graph_that_is_odd_is_no_error(pack, told):
    warn = pack.core("comfy_bridge.unread").warn_of_graph
    loop = {"1": {"inputs": {"conditioning": ["2", 0]}}, "2": {"inputs": {"clip": ["2", 0], "text": ["3", 0]}}, "3": {}}
    for prompt, node in ((None, None), ({}, "1"), (loop, "1"), ({"1": {"inputs": {"conditioning": ["9", 0]}}}, "1")):
        warn(prompt, node, "conditioning")
    assert not told


def test_a_run_says_that_its_instructions_are_not_read(pack, flux_text):
    remarks = pack.core("comfy_bridge.unread").unread_remarks
    (line,) = remarks(flux_text, {"make it red", CHINESE, "变蓝"})
    assert "2 of 3 instructions" in line and "model.alignnet" in line
    assert not remarks(flux_text, {"make it red"})


@pytest.mark.parametrize("text", ["embedding:x at the left", "a sky embedding:easynegative red", "make\nembedding:a"])
def test_word_for_word_includes_what_the_host_takes_for_an_embedding(pack, flux_text, caplog, text):
    """With a folder of embeddings, as every server has one; the host's own way drops the word."""
    clip = FluxText(flux_text)
    clip.tokenizer = type(flux_text.tokenizer)(embedding_directory=["/nowhere"])
    plain = clip.tokenizer.t5xxl.tokenizer
    with caplog.at_level(logging.WARNING):
        pack.core("comfy_bridge.diptych").encode_sentence(clip, text, 0, 50.0)
    ids = [token for token, _ in clip.cond_stage_model.seen[-1][0]]
    expected = plain(text)["input_ids"]
    assert ids[: len(expected)] == expected
    assert "does not exist" not in caplog.text
    assert clip.tokenizer.t5xxl.embedding_identifier == "embedding:", "the connected one stays as it was"


def test_word_for_word_is_learnt_too(pack, flux_text, tmp_path):
    text = "put embedding:x in (the left) corner"
    stored(pack, flux_text, tmp_path, "icedit")([text])
    learnt = flux_text.cond_stage_model.seen[-1]
    pack.core("comfy_bridge.diptych").encode_sentence(flux_text, text, 512, 50.0)
    assert flux_text.cond_stage_model.seen[-1] == learnt

"""Chats from transformers folders, in the host's memory.

Models are tiny and random but of the true classes, with Qwen's own tokenizer. The oracle is transformers' plain forward
pass over the whole text, without cache or generation loop.
"""

from __future__ import annotations

import functools
import gc
import importlib
import json
import weakref
from pathlib import Path

import pytest
import torch
import transformers

from .tiny_qwen import ANSWERS, MODELS, conversation, greedy, log_probabilities, qwen3, save_folder

pytestmark = pytest.mark.usefixtures("no_network")


@pytest.fixture(scope="module")
def folders(pack):
    root = pack.base / "models" / "text_encoders"
    return {name: save_folder(make(), root / "tiny" / name) for name, make in MODELS.items()}


@pytest.fixture(scope="module")
def protocol(pack):
    return pack.core("chat")


@pytest.fixture(scope="module")
def bridge(pack):
    return pack.core("comfy_bridge.chat")


@pytest.fixture(scope="module", params=list(MODELS))
def family(request, folders, bridge):
    name = request.param
    chat = bridge.folder_chat(f"text_encoders/tiny/{name}", "cpu", "auto", 256)
    return name, chat, MODELS[name]()


@functools.cache
def processor_of(folder: Path):
    return transformers.AutoProcessor.from_pretrained(folder)


def folder_inputs(name, folder, chatml, messages):
    """The prompt made by the folder's own processor or template, as a person would with transformers alone."""
    if name == "qwen3":
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        turns = [{"role": message.role, "content": message.text} for message in messages]
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        return dict(tokenizer(text, return_tensors="pt"))
    images = [image for message in messages for image in message.images]
    text = chatml.render(messages, no_thinking=False)
    return dict(
        processor_of(folder)(text=[text], images=images or None, return_tensors="pt", return_mm_token_type_ids=True)
    )


def questions(protocol, name):
    return [conversation(protocol, with_image) for with_image in ((False,) if name == "qwen3" else (False, True))]


def test_folder_scores_equal_a_plain_forward(pack, protocol, family, folders, tokenizer):
    name, chat, model = family
    for messages in questions(protocol, name):
        inputs = folder_inputs(name, folders[name], pack.core("chat.chatml"), messages)
        found = chat.score(messages, ANSWERS)
        assert found == pytest.approx(log_probabilities(model, tokenizer, inputs, ANSWERS), abs=2e-3)
        assert chat.score(messages, ANSWERS[::-1]) == pytest.approx(found[::-1], abs=1e-4)


def test_folder_generates_the_likeliest_tokens(pack, protocol, family, folders, tokenizer):
    """The picture first: what a model remembers of its grid must not reach the text that follows."""
    name, chat, model = family
    for messages in reversed(questions(protocol, name)):
        inputs = folder_inputs(name, folders[name], pack.core("chat.chatml"), messages)
        assert chat.generate(messages, max_tokens=6) == greedy(model, tokenizer, inputs, 6)


def test_folder_is_a_chat(protocol, family):
    name, chat, _ = family
    assert isinstance(chat, protocol.Chat)
    assert chat.vision is (name != "qwen3")
    assert chat.name == name


def test_folder_lives_in_the_hosts_memory(protocol, bridge, folders):
    management = importlib.import_module("comfy.model_management")
    chat = bridge.folder_chat("text_encoders/tiny/qwen3", "auto", "float32", 256)
    before = len(management.current_loaded_models)
    with torch.inference_mode():  # as in a node
        first = chat.score(conversation(protocol), ANSWERS)
    patcher = chat._loaded.resident.patcher
    assert patcher in [entry.model for entry in management.current_loaded_models]
    assert patcher.model_size() >= sum(p.numel() * 4 for p in chat._loaded.model.parameters())
    assert len(management.current_loaded_models) == before + 1
    management.unload_all_models()
    patcher.detach()  # what an unload does on a machine whose device is not its memory
    assert chat.score(conversation(protocol), ANSWERS) == first
    model = weakref.ref(chat._loaded.model)
    del chat, patcher
    gc.collect()
    management.cleanup_models_gc()
    assert model() is None


def test_folder_loads_nothing_before_the_first_question(bridge, folders):
    assert bridge.folder_chat("text_encoders/tiny/qwen3", "cpu", "bfloat16", 256)._loaded is None


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_folder_takes_the_chosen_dtype(protocol, bridge, folders, dtype):
    chat = bridge.folder_chat("text_encoders/tiny/qwen3", "cpu", dtype, 256)
    scores = chat.score(conversation(protocol), ["1", "2"])
    assert next(chat._loaded.model.parameters()).dtype == getattr(torch, dtype)
    assert all(score < 0 for score in scores)


def test_folder_can_be_interrupted(protocol, pack, folders):
    class Interrupted(Exception):
        pass

    calls = []

    def poll():
        calls.append(1)
        if len(calls) == 3:
            raise Interrupted

    chat = pack.core("chat.folder").FolderChat(folders["qwen3"], poll=poll)
    with pytest.raises(Interrupted):
        chat.generate(conversation(protocol), max_tokens=50)
    assert len(calls) == 3


def test_folder_without_a_template_falls_back_to_chatml(pack, protocol, folders, tokenizer, tmp_path):
    folder = save_folder(qwen3(tied=True), tmp_path / "bare")
    (folder / "chat_template.jinja").unlink()
    chat = pack.core("chat.folder").FolderChat(folder)
    messages = conversation(protocol)
    text = pack.core("chat.chatml").render(messages)
    inputs = dict(tokenizer(text, return_tensors="pt"))
    assert chat.score(messages, ["1"]) == pytest.approx(
        log_probabilities(qwen3(tied=True), tokenizer, inputs, ["1"]), abs=2e-3
    )


@pytest.mark.parametrize("lost", ["config.json", "tokenizer_config.json", "model.safetensors"])
def test_incomplete_folders_are_refused_before_loading(pack, folders, tmp_path, lost):
    for file in folders["qwen3"].iterdir():
        if file.name != lost:
            (tmp_path / file.name).symlink_to(file)
    with pytest.raises(pack.core("chat").ChatError, match="lacks") as caught:
        pack.core("chat.folder").FolderChat(tmp_path)
    assert caught.value.fault == "missing"


def test_a_damaged_model_is_a_chat_error(pack, protocol, folders, tmp_path):
    for file in folders["qwen3"].iterdir():
        (tmp_path / file.name).write_bytes(
            file.read_bytes()[:1000] if "safetensors" in file.name else file.read_bytes()
        )
    chat = pack.core("chat.folder").FolderChat(tmp_path)
    with pytest.raises(protocol.ChatError, match="cannot be loaded by transformers"):
        chat.generate(conversation(protocol))


def test_code_in_a_folder_is_not_run(pack, protocol, folders, tmp_path):
    for file in folders["qwen3"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "strange", "auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(protocol.ChatError):
        pack.core("chat.folder").FolderChat(tmp_path).generate(conversation(protocol))
    assert not (tmp_path / "ran").exists()


def test_running_out_of_memory_is_a_chat_error(pack, protocol, bridge, folders, monkeypatch):
    chat = pack.core("chat.folder").FolderChat(folders["qwen3"])
    chat.score(conversation(protocol), ["1"])

    def out_of_memory(*_, **__):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(chat._loaded.model, "forward", out_of_memory)
    with pytest.raises(protocol.ChatError, match="out of memory") as caught:
        chat.score(conversation(protocol), ["1"])
    assert caught.value.fault == "memory"


def test_only_listed_folders_can_be_chosen(pack, bridge, folders):
    (pack.base / "models" / "text_encoders" / "no_model").mkdir(exist_ok=True)
    secret = pack.base / "models" / "secret"
    save_folder(qwen3(tied=True), secret)
    llm = pack.base / "models" / "LLM" / "mine"
    llm.mkdir(parents=True)
    (llm / "config.json").write_text("{}")
    names = list(bridge.chat_folders())
    assert {f"text_encoders/tiny/{name}" for name in MODELS} | {"LLM/mine"} == set(names)
    for name in ("text_encoders/../secret", "../secret", str(secret), "text_encoders/no_model", ""):
        with pytest.raises(pack.core("errors").X2EditError, match="not found"):
            bridge.chat_folder(name)

"""A judge that is a LoRA: merged into a model of the true class, with a merge by hand as the oracle."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from .tiny_qwen import ANSWERS, conversation, qwen3_vl, save_folder

pytestmark = pytest.mark.usefixtures("no_network")
peft = pytest.importorskip("peft")
TARGETS = ["q_proj", "v_proj", "gate_proj"]


@pytest.fixture(scope="module")
def folders(pack):
    """A base named Qwen3-VL-Tiny, and beside it a LoRA of Qwen/Qwen3-VL-Tiny with weights that matter."""
    root = pack.base / "models" / "LLM" / "judges"
    base = save_folder(qwen3_vl(), root / "Qwen3-VL-Tiny")
    wrapped = peft.get_peft_model(qwen3_vl(), peft.LoraConfig(r=4, lora_alpha=8, target_modules=TARGETS))
    torch.manual_seed(3)
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.2)
    wrapped.save_pretrained(root / "PVC-Judge-Tiny")
    config = root / "PVC-Judge-Tiny" / "adapter_config.json"
    settings = json.loads(config.read_text())
    config.write_text(json.dumps({**settings, "base_model_name_or_path": "Qwen/Qwen3-VL-Tiny"}))
    return base, config.parent


def merged_by_hand(adapter):
    """W + (alpha / r) · B A for each tensor of the file."""
    from safetensors.torch import load_file

    model, parts = qwen3_vl(), load_file(adapter / "adapter_model.safetensors")
    weights = dict(model.named_parameters())
    downs = [name for name in parts if name.endswith("lora_A.weight")]
    for name in downs:
        weight = weights[name.removeprefix("base_model.model.").replace("lora_A.weight", "weight")]
        weight.data += 2.0 * parts[name.replace("lora_A", "lora_B")] @ parts[name]
    assert len(downs) == 3 * 3, "three targets in each of three layers of the language model"
    return model


def test_a_lora_folder_is_offered_and_is_its_base_with_the_lora_merged(pack, folders, tmp_path):
    base, adapter = folders
    bridge, protocol = pack.core("comfy_bridge.chat"), pack.core("chat")
    assert {"LLM/judges/PVC-Judge-Tiny", "LLM/judges/Qwen3-VL-Tiny"} <= set(bridge.chat_folders())
    by_hand = save_folder(merged_by_hand(adapter), tmp_path / "merged")
    folder_chat = pack.core("chat.folder").FolderChat
    messages = conversation(protocol, with_image=True)
    expected = folder_chat(by_hand, longest_image_px=128).score(messages, ANSWERS[:2])
    chat = bridge.folder_chat("LLM/judges/PVC-Judge-Tiny", "cpu", "float32", 128)
    assert chat.vision and chat.name == "PVC-Judge-Tiny"
    assert chat.score(messages, ANSWERS[:2]) == pytest.approx(expected, abs=1e-3)
    plain = folder_chat(base, longest_image_px=128).score(messages, ANSWERS[:2])
    assert plain != pytest.approx(expected, abs=0.05), "the LoRA matters"


def test_a_lora_judge_answers_through_the_nodes(pack, folders):
    (chat,) = pack.run(
        "X2EditChatFromFolder", folder="LLM/judges/PVC-Judge-Tiny", device="cpu", dtype="float32", longest_image_side=64
    )
    (consistency,) = pack.run("X2EditJudge", chat=chat, profile="PVC-Judge")
    (judge,) = pack.run("X2EditJudge", chat=chat, consistency=consistency)
    picture = torch.rand(64, 64, 3)
    verdict = judge.compare(picture, picture, picture, "add a hat")
    assert verdict.choice == "tie", "equal edits in both orders, and a random model says no winner in words"


def test_what_is_missing_is_said(pack, folders, tmp_path, monkeypatch):
    _, adapter = folders
    folder_chat, error = pack.core("chat.folder").FolderChat, pack.core("chat").ChatError
    alone = tmp_path / "alone"
    alone.mkdir()
    for file in adapter.iterdir():
        (alone / file.name).write_bytes(file.read_bytes())
    with pytest.raises(error, match="a LoRA of Qwen/Qwen3-VL-Tiny, which is not there"):
        folder_chat(alone)
    settings = json.loads((alone / "adapter_config.json").read_text())
    (alone / "adapter_config.json").write_text(json.dumps({**settings, "peft_type": "IA3"}))
    with pytest.raises(error, match="is a IA3 adapter"):
        folder_chat(alone)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(error, match="pip install peft"):
        folder_chat(adapter).score(conversation(pack.core("chat")), ANSWERS[:2])


def test_a_lora_of_another_model_is_refused(pack, folders, tmp_path):
    """peft would leave out what has no place, and the judge would be the plain model without a word."""
    from safetensors.torch import load_file, save_file

    base, adapter = folders
    other = tmp_path / "other"
    other.mkdir()
    (other / "adapter_config.json").write_text(
        json.dumps({**json.loads((adapter / "adapter_config.json").read_text()), "base_model_name_or_path": str(base)})
    )
    parts = load_file(adapter / "adapter_model.safetensors")
    save_file(
        {name.replace("layers.2", "layers.7"): part for name, part in parts.items()},
        other / "adapter_model.safetensors",
    )
    chat = pack.core("chat.folder").FolderChat(other)
    with pytest.raises(pack.core("chat").ChatError, match=r"6 of its 18 tensors have no place in it and 6 are missing"):
        chat.score(conversation(pack.core("chat")), ANSWERS[:2])

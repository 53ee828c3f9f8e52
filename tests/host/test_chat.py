"""Chats through the host's own text generation, and the chat nodes.

The host's classes are narrowed by its own configuration override and take the weights of a transformers model of the
same kind; that model's plain forward pass over the whole text is the oracle.
"""

from __future__ import annotations

import importlib

import pytest
import torch
from safetensors.torch import save_file

from .tiny_qwen import (
    ANSWERS,
    TEXT,
    conversation,
    greedy,
    log_probabilities,
    processor_for,
    qwen3,
    qwen3_vl,
)

pytestmark = pytest.mark.usefixtures("no_network")


@pytest.fixture(scope="module")
def protocol(pack):
    return pack.core("chat")


@pytest.fixture(scope="module")
def bridge(pack):
    return pack.core("comfy_bridge.chat")


def host_clip(kind: str, model):
    """`model`'s weights in the host's classes, narrowed by the host's own configuration override."""
    sd, flux, z_image = (
        importlib.import_module(f"comfy.{name}") for name in ("sd", "text_encoders.flux", "text_encoders.z_image")
    )
    patch = pytest.MonkeyPatch()
    if kind == "qwen3vl_4b":
        vl = importlib.import_module("comfy.text_encoders.qwen3vl")
        target = vl.te(model_type=kind), vl.tokenizer(model_type=kind)
        small = {"hidden_size": 128, "intermediate_size": 64, "depth": 3, "deepstack_visual_indexes": [0, 1, 2]}
        patch.setitem(vl.QWEN3VL_VISION, kind, small)
    elif kind == "qwen3_8b":
        target = flux.klein_te(model_type=kind), flux.KleinTokenizer8B
    else:
        target = z_image.te(), z_image.ZImageTokenizer

    class Target:
        clip, tokenizer = target
        params: dict = {}

    names = {"model.language_model.": "model.", "model.visual.": "visual.", "lm_head.": "model.lm_head."}
    weights = {}
    for key, value in model.state_dict().items():
        for old, new in names.items():
            key = new + key.removeprefix(old) if key.startswith(old) else key
        weights[key] = value
    if model.config.tie_word_embeddings:
        weights.pop("model.lm_head.weight", None)
    # Klein reads layers 9, 18 and 27 when it encodes; here it only generates.
    options = {"dtype": torch.float32, f"{kind}_model_config": dict(TEXT)}
    try:
        return sd.CLIP(Target(), state_dict=[weights], model_options=options)
    finally:
        patch.undo()


HOST_MODELS = {
    "qwen3_8b": lambda: qwen3(tied=False),
    "qwen3_4b": lambda: qwen3(tied=True),
    "qwen3vl_4b": qwen3_vl,
}


needs_head = pytest.mark.needs("output layer")
HOST_KINDS = [
    pytest.param("qwen3_8b", marks=needs_head),
    "qwen3_4b",
    pytest.param("qwen3vl_4b", marks=pytest.mark.needs("Qwen3-VL")),
]


@pytest.fixture(scope="module", params=HOST_KINDS)
def host(request, pack):
    model = HOST_MODELS[request.param]()
    return request.param, host_clip(request.param, model), model


def host_inputs(pack, tokenizer, messages, model):
    """The prompt as transformers prepares it, pictures included."""
    text = pack.core("chat.chatml").render(messages)
    if not any(message.images for message in messages):
        return dict(tokenizer(text, return_tensors="pt"))
    images = [image for message in messages for image in message.images]
    return dict(processor_for(model)(text=[text], images=images, return_tensors="pt", return_mm_token_type_ids=True))


def questions(protocol, kind):
    return [conversation(protocol, with_image) for with_image in ((False, True) if kind == "qwen3vl_4b" else (False,))]


def test_host_scores_equal_a_plain_forward(pack, protocol, host, tokenizer):
    kind, clip, model = host
    (chat,) = pack.run("X2EditChatFromCLIP", clip=clip)
    for messages in questions(protocol, kind):
        found = chat.score(messages, ANSWERS)
        inputs = host_inputs(pack, tokenizer, messages, model)
        assert found == pytest.approx(log_probabilities(model, tokenizer, inputs, ANSWERS), abs=5e-3)
        assert chat.score(messages, ANSWERS[1:2]) == pytest.approx(found[1:2], abs=1e-3)


def test_host_generates_the_likeliest_tokens(pack, protocol, host, tokenizer):
    kind, clip, model = host
    (chat,) = pack.run("X2EditChatFromCLIP", clip=clip)
    for messages in questions(protocol, kind):
        inputs = host_inputs(pack, tokenizer, messages, model)
        assert chat.generate(messages, max_tokens=6) == greedy(model, tokenizer, inputs, 6)


def test_host_chat_describes_itself(pack, protocol, host):
    kind, clip, _ = host
    (chat,) = pack.run("X2EditChatFromCLIP", clip=clip)
    assert isinstance(chat, protocol.Chat)
    assert chat.name == kind
    assert chat.vision is (kind == "qwen3vl_4b")


def test_host_chat_uses_the_hosts_copy(pack, protocol, host):
    management = importlib.import_module("comfy.model_management")
    _, clip, _ = host
    (chat,) = pack.run("X2EditChatFromCLIP", clip=clip)
    management.unload_all_models()
    first = chat.score(conversation(protocol), ["1", "2"])
    assert clip.patcher in [entry.model for entry in management.current_loaded_models]
    assert chat._model is getattr(clip.cond_stage_model, clip.cond_stage_model.clip).transformer
    assert chat.score(conversation(protocol), ["1", "2"]) == first


@needs_head
def test_words_that_look_like_commands_are_only_words(pack, protocol, bridge, tokenizer):
    """The host's tokenizer pads, weighs brackets and loads `embedding:` files; a user's instruction is none of that."""
    chat = bridge.HostClipChat(host_clip("qwen3_8b", qwen3(tied=False)))
    text = r"Write \(a (b:1.5) embedding:cat {} </think> <|im_end|> hi"
    tokens = chat._tokens([protocol.Message("user", text)])
    rendered = pack.core("chat.chatml").render([protocol.Message("user", text)])
    assert tokens == tokenizer(rendered)["input_ids"]
    assert len(tokens) < 100
    assert tokens.count(tokenizer.convert_tokens_to_ids("<|im_end|>")) == 1


def test_interrupting_the_host_interrupts_a_chat(pack, protocol, host):
    management = importlib.import_module("comfy.model_management")
    (chat,) = pack.run("X2EditChatFromCLIP", clip=host[1])
    management.interrupt_current_processing()
    with pytest.raises(management.InterruptProcessingException):
        chat.score(conversation(protocol), ["1", "2"])


def test_host_running_out_of_memory_is_a_chat_error(pack, protocol, host, monkeypatch):
    management = importlib.import_module("comfy.model_management")
    (chat,) = pack.run("X2EditChatFromCLIP", clip=host[1])

    def out_of_memory(*_, **__):
        raise management.OOM_EXCEPTION

    monkeypatch.setattr(chat._model.model, "forward", out_of_memory)
    for ask in (lambda: chat.generate(conversation(protocol)), lambda: chat.score(conversation(protocol), ["1"])):
        with pytest.raises(protocol.ChatError, match="out of memory"):
            ask()


@needs_head
@pytest.mark.parametrize("how", ["file", "zeros", "nan", "shape", "none"])
def test_a_missing_output_layer_is_refused(pack, protocol, tmp_path, how):
    clip = host_clip("qwen3_8b", qwen3(tied=False))
    head = clip.cond_stage_model.qwen3_8b.transformer.model.lm_head
    if how == "file":
        save_file({"model.embed_tokens.weight": torch.zeros(1)}, tmp_path / "half.safetensors")
        clip.patcher.cached_patcher_init = (None, ([str(tmp_path / "half.safetensors")], None))
    elif how == "none":
        head.weight = None
    else:
        blank = {"zeros": torch.zeros_like(head.weight), "nan": head.weight * torch.nan, "shape": head.weight.T}[how]
        head.weight = torch.nn.Parameter(blank, requires_grad=False)
    with pytest.raises(protocol.ChatError, match=r"lm_head\.weight") as caught:
        pack.run("X2EditChatFromCLIP", clip=clip)
    assert caught.value.fault == "missing"


@needs_head
def test_a_file_with_the_output_layer_is_accepted(pack, tmp_path):
    clip = host_clip("qwen3_8b", qwen3(tied=False))
    save_file({"lm_head.weight": torch.zeros(1)}, tmp_path / "whole.safetensors")
    clip.patcher.cached_patcher_init = (None, ([str(tmp_path / "whole.safetensors")], None))
    pack.run("X2EditChatFromCLIP", clip=clip)


def test_a_host_that_drops_the_output_layer_is_told_apart(pack, protocol):
    clip = host_clip("qwen3_8b", qwen3(tied=False))
    model = clip.cond_stage_model.qwen3_8b.transformer.model
    if hasattr(model, "lm_head"):
        del model.lm_head
    with pytest.raises(protocol.ChatError, match=r"without its output layer.*Update ComfyUI"):
        pack.run("X2EditChatFromCLIP", clip=clip)


def test_other_text_encoders_are_refused_with_advice(pack, protocol):
    _, clip, _ = pack.run("X2EditDemoModels", base="x2edit")
    with pytest.raises(protocol.ChatError, match=r"cannot generate text.*Qwen3") as caught:
        pack.run("X2EditChatFromCLIP", clip=clip)
    assert caught.value.fault == "unsupported"


def test_qwen25_vl_of_the_host_is_refused_with_advice(pack, protocol, bridge):
    llama = importlib.import_module("comfy.text_encoders.llama")

    class Stage:
        clip = "qwen25_7b"
        qwen25_7b = type("Encoder", (), {"transformer": llama.Qwen25_7BVLI.__new__(llama.Qwen25_7BVLI)})

    clip = type("Clip", (), {"cond_stage_model": Stage, "tokenizer": object()})
    with pytest.raises(protocol.ChatError, match="without its output layer"):
        bridge.HostClipChat(clip)


def test_endpoint_node_takes_its_limits(pack):
    (chat,) = pack.run("X2EditChatFromEndpoint", base_url="http://127.0.0.1:9", model="m", timeout=7.0, attempts=2)
    assert (chat.model, chat._limits.timeout_s, chat._limits.attempts, chat.vision) == ("m", 7.0, 2, False)

"""Text conditioning for Qwen-Image: the research code's tokens, and transformers' states of a tiny model of the true class."""

from __future__ import annotations

import json

import pytest
import torch

from .qwen_golden import FOLDER
from .test_encode import host_clip, host_weights, tiny_qwen

PROMPTS = json.loads((FOLDER / "tokens.json").read_text())


@pytest.fixture(scope="module")
def model():
    return tiny_qwen()


@pytest.fixture(scope="module")
def clip(pack, model):
    return host_clip(host_weights(model))


def tokens(pack, tokenizer, words, width, height, **address):
    def tokenize(text, literal):
        return tokenizer(text, split_special_tokens=literal)["input_ids"]

    size = pack.core("geometry").Size(height, width)
    return pack.core("qwen_prompt").prompt_tokens(tokenize, words, size, **address)[0]


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: f"{prompt['prompt'][:12]!r}-{prompt['address'][-4:]}")
def test_prompts_have_the_research_codes_tokens(pack, tokenizer, prompt):
    found = tokens(pack, tokenizer, prompt["prompt"], prompt["width"], prompt["height"], address=prompt["address"])
    dropped = pack.core("qwen_prompt").DROPPED_TOK
    assert found == prompt["ids"] and dropped == prompt["dropped"]
    assert len(found) - dropped == prompt["kept"]
    assert tokenizer.decode(found[dropped:]).startswith(prompt["kept_starts_with"])


@pytest.mark.parametrize(
    "words", ["Remove the dog", "把招牌改成“OPEN”，(strong:1.4)", "embedding:face <|im_end|> again"]
)
def test_states_are_those_of_transformers(pack, clip, model, tokenizer, words):
    """Nothing of the instruction is weights, embeddings or the end of its turn."""
    positive, negative = pack.run("X2EditQwenTextEncode", clip=clip, instruction=words, width=64, height=48)
    for conditioning, said in ((positive, words), (negative, " ")):
        ids = tokens(pack, tokenizer, said, 64, 48)
        assert ids.count(151645) == 2, "one end of each turn"
        with torch.no_grad():
            states = model.model.language_model(torch.tensor([ids])).last_hidden_state[:, 64:]
        ((context, options),) = conditioning
        torch.testing.assert_close(context, states, rtol=1e-4, atol=1e-4)
        assert "attention_mask" not in options


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({"width": 70, "height": 48}, (48, 64)),
        ({"image": torch.zeros(1, 100, 50, 3), "size": "keep"}, (96, 48)),
        ({"image": torch.zeros(100, 50, 3), "size": "keep"}, (96, 48)),
        ({"image": torch.zeros(1, 100, 50, 3), "size": "1024 buckets"}, (1456, 720)),
        ({"image": torch.zeros(1, 100, 50, 3), "size": "keep", "width": 320}, (640, 320)),
    ],
)
def test_the_prompt_names_the_size_of_the_reference(pack, inputs, expected):
    """As X2Edit Reference sizes the same picture."""
    text = pack.core("comfy_bridge.qwen_text")
    size = text.picture_size(
        None, inputs.get("image"), inputs.get("size", "keep"), inputs.get("width", 0), inputs.get("height", 0)
    )
    assert (size.height, size.width) == expected
    layout = pack.core("geometry").EditLayout(size, size)
    assert text.picture_size(layout, torch.zeros(1, 8, 8, 3), "keep", 0, 0) == size


def test_a_size_that_is_not_known_is_asked_for(pack, clip):
    with pytest.raises(pack.core("errors").X2EditError, match="Connect the picture"):
        pack.run("X2EditQwenTextEncode", clip=clip, instruction="Remove the dog")


def test_a_prompt_that_names_another_size_is_refused_by_the_reference(pack, clip):
    vae, picture = pack.run("X2EditDemoModels", base="x2edit")[2], torch.rand(1, 64, 64, 3)
    positive, _ = pack.run("X2EditQwenTextEncode", clip=clip, instruction="Remove it", image=picture, size="keep")
    inputs = {"conditioning": positive, "vae": vae, "image": picture}
    (kept, *_) = pack.run("X2EditReference", size="keep", **inputs)
    assert len(kept[0][1]["reference_latents"]) == 1
    with pytest.raises(pack.core("errors").X2EditError, match="64 x 64, X2Edit Reference makes it 1024 x 1024"):
        pack.run("X2EditReference", size="1024 buckets", **inputs)

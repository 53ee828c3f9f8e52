"""AlignNet against the research code's numbers, its files in every layout seen, and the prompt it reads."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from x2edit_core.alignnet import (
    PAD_TOKEN,
    AlignNet,
    PaddedTokens,
    chat_text,
    load_alignnet,
    prompt_text,
    reference_mask,
    reference_positions,
    save_alignnet,
    with_triggers,
)
from x2edit_core.errors import CheckpointError

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "alignnet"


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


@pytest.fixture(scope="module")
def plain() -> dict[str, torch.Tensor]:
    return torch.load(GOLDEN / "diffusion_pytorch_model.bin", weights_only=True)


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.bin", "alignnet_wrapped.bin"])
def test_golden(name):
    golden = load_file(GOLDEN / "io.safetensors")
    context, pooled = load_alignnet(GOLDEN / name)(golden["hidden_states"])
    assert relative_error(context, golden["context"]) <= 1e-5
    assert relative_error(pooled, golden["pooled"]) <= 1e-5


def test_every_layout_loads_the_same_weights(plain, tmp_path):
    prefixed = {f"module.{key}": value for key, value in plain.items()}
    save_file(plain, tmp_path / "plain.safetensors")
    save_file(prefixed, tmp_path / "prefixed.safetensors")
    torch.save(prefixed, tmp_path / "prefixed.pt")
    torch.save({"config": {"in_channels": 29}, "state_dict": plain}, tmp_path / "wrapped.pt")
    for path in tmp_path.iterdir():
        for key, value in load_alignnet(path).state_dict().items():
            assert torch.equal(value, plain[key].float()), (path.name, key)


def test_what_is_saved_is_laid_out_as_the_released_file(plain, tmp_path):
    net = load_alignnet(GOLDEN / "diffusion_pytorch_model.bin")
    save_alignnet(net, tmp_path / "released" / "diffusion_pytorch_model.bin")
    saved = torch.load(tmp_path / "released" / "diffusion_pytorch_model.bin", weights_only=True)
    assert list(saved) == list(plain) and all(torch.equal(saved[key], plain[key].float()) for key in plain)


def test_sizes_follow_the_file(tmp_path):
    save_file(AlignNet(3, 8, 12, 5).state_dict(), tmp_path / "small.safetensors")
    net = load_alignnet(tmp_path / "small.safetensors")
    context, pooled = net(torch.randn(2, 3, 7, 8))
    assert (net.states, net.width) == (3, 8)
    assert context.shape == (2, 7, 12)
    assert pooled.shape == (2, 5)


def test_every_problem_is_listed(plain, tmp_path):
    broken = dict(plain)
    del broken["mlp.fc.1.bias"]
    broken["mlp.scale"] = torch.zeros(1)
    broken["conv.bias"] = torch.zeros(3)
    save_file(broken, tmp_path / "broken.safetensors")
    with pytest.raises(CheckpointError) as caught:
        load_alignnet(tmp_path / "broken.safetensors")
    assert len(caught.value.problems) == 3
    for key in ("mlp.fc.1.bias", "mlp.scale", "conv.bias"):
        assert any(problem.startswith(key) for problem in caught.value.problems)


def test_another_model_is_refused(tmp_path):
    save_file({"double_blocks.0.img_attn.qkv.weight": torch.zeros(3, 3)}, tmp_path / "flux.safetensors")
    with pytest.raises(CheckpointError, match=r"conv\.weight is missing"):
        load_alignnet(tmp_path / "flux.safetensors")


def test_code_in_a_pickle_is_not_run(tmp_path):
    class Payload:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    torch.save({"state_dict": {"conv.weight": Payload()}}, tmp_path / "evil.bin")
    with pytest.raises(CheckpointError, match="safety"):
        load_alignnet(tmp_path / "evil.bin")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"not a model", b"PK\x03\x04half a zip"])
@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
def test_a_damaged_file_is_a_checkpoint_error(tmp_path, content, suffix):
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        load_alignnet(path)


def test_a_missing_file_is_a_checkpoint_error(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        load_alignnet(tmp_path / "absent.bin")


@pytest.mark.parametrize(
    "instruction", ["Remove the dog", "Make the dog's ear red", 'Write "It\'s"', "two\nlines", "改成蓝色"]
)
def test_inference_prompt_is_a_dict_that_reads_back(instruction):
    text = prompt_text(instruction, "infer")
    assert ast.literal_eval(text) == {
        "Text input": "",
        "Instruction editing description": instruction,
        "image input": "yes",
    }
    assert "\n" not in text


def test_inference_prompt_quotes_as_repr_does():
    plain = "{'Text input': '', 'Instruction editing description': 'Remove the dog', 'image input': 'yes'}"
    assert prompt_text("Remove the dog") == plain
    assert """'Instruction editing description': "Remove the dog's ear",""" in prompt_text("Remove the dog's ear")


def test_training_prompt_is_the_bare_instruction():
    assert prompt_text("Remove the 'dog'\n", "train") == "Remove the 'dog'\n"


def test_chat_text_puts_images_after_the_text():
    text = chat_text("Hello", images=1)
    assert text.index("Hello") < text.index("<|image_pad|>") < text.rindex("<|im_end|>")
    assert text.endswith("<|im_start|>assistant\n")
    assert "<|image_pad|>" not in chat_text("Hello")


@pytest.mark.parametrize(
    ("triggers", "expected"),
    [("", "Add rain"), ("  ", "Add rain"), ("ghibli,", "ghibli,Add rain"), ("ghibli", "ghibli,Add rain")],
)
def test_triggers_come_first(triggers, expected):
    assert with_triggers("Add rain", triggers) == expected


def test_padding_is_left_and_truncation_right():
    short = PaddedTokens.of([5, 6, 7], length=5)
    assert short.ids == (PAD_TOKEN, PAD_TOKEN, 5, 6, 7)
    assert (short.pads, short.cut) == (2, 0)
    long = PaddedTokens.of(range(9), length=5)
    assert long.ids == (0, 1, 2, 3, 4)
    assert (long.pads, long.cut) == (0, 4)


def test_positions_count_real_tokens_and_give_pads_one():
    assert reference_positions(2, 5).tolist() == [[1, 1, 0, 1, 2]]
    grid = torch.tensor([[0, 4, 5], [0, 4, 6], [0, 5, 6]])
    assert reference_positions(2, 5, grid).tolist() == [[1, 1, 0, 4, 5], [1, 1, 0, 4, 6], [1, 1, 0, 5, 6]]


def test_mask_lets_pads_see_everything_and_hides_pads_from_the_text():
    mask = reference_mask(2, 5)
    assert mask[:2].all()
    assert mask[2:].int().tolist() == [[0, 0, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 1, 1, 1]]

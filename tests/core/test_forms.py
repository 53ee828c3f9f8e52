"""ICEdit's files as other trainers and converters name them, and files that are something else altogether."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from x2edit_core.adapters.checkpoint import load_adapter
from x2edit_core.adapters.formats.released_icedit import save_static, static_mean
from x2edit_core.errors import CheckpointError
from x2edit_core.files import read_pickle

from .models import released_tensors, write_released
from .test_released_icedit import tensors


def write(path, content):
    save_file(content, path / "pytorch_lora_weights.safetensors")
    return path / "pytorch_lora_weights.safetensors"


def onetrainer(key):
    module, rest = key.removeprefix("transformer.").split(".lora_")
    return f"lora_transformer_{module.replace('.', '_')}.lora_{ {'A': 'down', 'B': 'up'}[rest[0]] }.weight"


FORMS = {
    "no prefix": lambda key: key.removeprefix("transformer."),
    "another prefix": lambda key: key.replace("transformer.", "diffusion_model.", 1),
    "wrapped": lambda key: f"base_model.model.{key}",
    "adapter's name": lambda key: key.replace("lora_A", "lora_A.default").replace("lora_B", "lora_B.default"),
    "down and up": lambda key: key.replace("lora_A", "lora_down").replace("lora_B", "lora_up"),
    "older diffusers": lambda key: key.replace("lora_A", "lora.down").replace("lora_B", "lora.up"),
}
PLAIN_FORMS = FORMS | {
    "onetrainer": onetrainer,
    "lycoris": lambda key: onetrainer(key).replace("lora_transformer_", "lycoris_"),
    "no weight": lambda key: key.removesuffix(".weight"),
}


@pytest.mark.parametrize(
    ("kind", "form"), [("icedit", form) for form in PLAIN_FORMS] + [("icedit_moe", form) for form in FORMS]
)
def test_every_form_reads_as_the_released_one(tmp_path, kind, form):
    content = tensors(kind)
    expected = load_adapter(write(tmp_path, content))
    found = load_adapter(write(tmp_path, {PLAIN_FORMS[form](key): tensor for key, tensor in content.items()}))
    assert found.spec == expected.spec
    for (name, one), (other, two) in zip(expected.named_parameters(), found.named_parameters(), strict=True):
        assert name == other and torch.equal(one, two)


@pytest.mark.parametrize("name", [str, onetrainer])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("alpha", [1.0, 2.0, 3.0, 0.0])
def test_alpha_over_rank_scales_the_product(tmp_path, name, dtype, alpha):
    """The rank is 2. What a share that is no power of two gives is not rounded to the file's numbers."""
    content = {key: tensor.to(dtype) for key, tensor in tensors("icedit").items()}
    modules = {key.split(".lora_")[0] for key in content}
    alphas = {(f"{name(f'{each}.lora_A.weight').split('.lora_')[0]}.alpha"): torch.tensor(alpha) for each in modules}
    found = load_adapter(write(tmp_path, {name(key): tensor for key, tensor in content.items()} | alphas))
    plain = load_adapter(write(tmp_path, content))
    for mine, other in zip(static_mean(found), static_mean(plain), strict=True):
        torch.testing.assert_close(mine[3].float(), other[3].float() * alpha / 2, rtol=0, atol=0)
        assert torch.equal(mine[2], other[2])


def test_an_alpha_scales_every_expert_of_its_module(tmp_path):
    content, key = tensors("icedit_moe"), "transformer.transformer_blocks.0.ff.net.2"
    found = load_adapter(write(tmp_path, content | {f"{key}.alpha": torch.tensor(1.5)}))
    plain = load_adapter(write(tmp_path, content))
    index = next(
        index for index, site in enumerate(plain.sites) if site.slots[0].key == key.removeprefix("transformer.")
    )
    torch.testing.assert_close(found.delta(index).up, plain.delta(index).up * 0.5)
    others = [i for i in range(len(plain.sites)) if i != index]
    assert all(torch.equal(found.delta(i).up, plain.delta(i).up) for i in others)


@pytest.mark.parametrize("value", [torch.tensor(float("nan")), torch.ones(2)])
def test_an_alpha_that_is_no_number_is_named(tmp_path, value):
    with pytest.raises(CheckpointError, match=r"x_embedder\.alpha is .*one finite number"):
        load_adapter(write(tmp_path, tensors("icedit") | {"transformer.x_embedder.alpha": value}))


def test_one_tensor_under_two_names_is_an_error(tmp_path):
    content = tensors("icedit")
    content["x_embedder.lora_down.weight"] = content["transformer.x_embedder.lora_A.weight"].clone()
    with pytest.raises(CheckpointError, match="there twice, under two names"):
        load_adapter(write(tmp_path, content))


def test_a_lora_of_something_else_keeps_its_own_names_in_the_error(tmp_path):
    content = {"lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": torch.zeros(2, 4)}
    with pytest.raises(CheckpointError, match="lora_unet_double_blocks_0_img_attn_qkv"):
        load_adapter(write(tmp_path, content))


EIGHT_BIT = [torch.float8_e4m3fn, torch.float8_e5m2]


@pytest.mark.parametrize("dtype", EIGHT_BIT)
def test_eight_bit_experts_beside_wider_gates(tmp_path, dtype):
    content = {key: tensor if ".gate." in key else tensor.to(dtype) for key, tensor in released_tensors().items()}
    wide = {key: tensor.float() for key, tensor in content.items()}
    table = torch.randn(16, 16)
    found = load_adapter(write_released(tmp_path / "mixed", content, table))
    expected = load_adapter(write_released(tmp_path / "wide", wide, table))
    for (name, one), (other, two) in zip(expected.named_parameters(), found.named_parameters(), strict=True):
        assert name == other and torch.equal(one, two.float())


@pytest.mark.parametrize("dtype", EIGHT_BIT)
@pytest.mark.parametrize("router", [torch.float32, None])
def test_the_mean_of_eight_bit_experts(tmp_path, dtype, router):
    content = {
        key: tensor.to((router or dtype) if "lora_route" in key else dtype)
        for key, tensor in tensors("icedit_moe").items()
    }
    adapter = load_adapter(write(tmp_path, content))
    expected = load_adapter(write(tmp_path, {key: tensor.float() for key, tensor in content.items()}))
    for mine, other in zip(static_mean(adapter), static_mean(expected), strict=True):
        assert torch.equal(mine[2].float(), other[2]) and torch.equal(mine[3].float(), other[3])
    save_static(adapter, tmp_path / "mean.safetensors")


WRONG = {
    b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n": "Git LFS pointer",
    b"\n<!DOCTYPE html><html><head>": "web page",
    b"<html lang=en>": "web page",
    b'{"error":"Repository not found"}': "JSON answer",
    b"Invalid username or password.": "a server's refusal",
    b"Access to model X is restricted.": "accept the model's terms",
    b"GGUF\x03\x00": "GGUF",
    b"": "it is empty",
    b"\x1f\x8b\x08": "gzip",
}


@pytest.mark.parametrize("content", WRONG, ids=WRONG.values())
@pytest.mark.parametrize("read", [load_adapter, read_pickle])
def test_what_is_not_a_file_of_tensors_is_named_for_what_it_is(tmp_path, content, read):
    path = tmp_path / "task_embeddings.bin"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read(path)
    assert WRONG[content] in str(caught.value) and "would run code" not in str(caught.value)


def test_a_torch_file_under_the_other_name_is_named(tmp_path):
    torch.save({"weight": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="a torch file"):
        load_adapter(tmp_path / "a.safetensors")

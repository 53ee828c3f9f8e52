"""Bases whose Linears are not plain: the experts read and add around whatever forward a layer has."""

from __future__ import annotations

import comfy.sd
import pytest
import torch
from safetensors.torch import load_file

from .graphs import (
    GOLDEN_FLUX,
    assert_untouched,
    conditioning,
    golden_adapter,
    golden_cases,
    relative_error,
    state,
    velocity,
)

CASE = golden_cases("x2edit")[0]["tensors"]
FP8 = torch.float8_e4m3fn


def quantisable(key, tensor):
    return key.endswith(".weight") and tensor.ndim == 2 and "_blocks." in key and "norm" not in key


@pytest.fixture(scope="module")
def plain(pack):
    return load_file(GOLDEN_FLUX)


def as_fp8(tensor):
    scale = tensor.float().abs().max() / torch.finfo(FP8).max
    stored = (tensor.float() / scale).to(FP8)
    return stored.float() * scale, stored, scale


def apply(pack, base, strength=1.0):
    adapter = golden_adapter(pack)
    (task,) = pack.run("X2EditTask", task="style")
    return pack.run("X2EditApply", model=base, adapter=adapter, task=task, strength=strength)[0]


def positive(pack, base):
    plain = conditioning(CASE["context"], CASE["pooled"])
    return pack.core("comfy_bridge.pictures").add_reference(plain, base.model.process_latent_out(CASE["ref"]))


def evaluate(pack, base, strength=1.0):
    model = apply(pack, base, strength)
    return velocity(model, positive(pack, base), CASE["noise"], 0.7)


def load(tensors, **options):
    """A model as the loader node makes it; the host rewrites tensors while it loads, so it gets copies."""
    with torch.inference_mode():
        copies = {key: tensor.clone() for key, tensor in tensors.items()}
        return comfy.sd.load_diffusion_model_state_dict(copies, model_options=options)


def test_scaled_fp8_weights(pack, plain):
    bfl = load(plain).model.diffusion_model.state_dict()
    tensors = {}
    for key, tensor in bfl.items():
        if quantisable(key, tensor):
            _, stored, scale = as_fp8(tensor)
            tensors[key], tensors[key.replace(".weight", ".scale_weight")] = stored, scale
        else:
            tensors[key] = tensor
    tensors["scaled_fp8"] = torch.zeros(0, dtype=FP8)
    quantised = load(tensors)
    weight = quantised.model.diffusion_model.double_blocks[0].img_attn.qkv.weight
    assert "float8" in str(getattr(weight, "_qdata", weight).dtype), "the host keeps the weights in fp8"
    before = state(quantised.model.model_sampling)
    found = evaluate(pack, quantised)
    full = {
        key: as_fp8(tensor)[0] if quantisable(key, tensor) else tensor.float() for key, tensor in bfl.items()
    }  # fmt: skip
    expected = evaluate(pack, load(full, dtype=torch.float32))
    bare = velocity(quantised, positive(pack, quantised), CASE["noise"], 0.7)
    assert relative_error(found, expected) < 2e-2, "fp8 bases compute in bf16 at best"
    assert relative_error(found, expected) < 0.5 * relative_error(bare, expected)
    assert_untouched(quantised.model.model_sampling, before)


class PackedLinear(torch.nn.Module):
    """A Linear kept as int8 rows and dequantised in its own Python forward, as GGUF loaders do."""

    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1, keepdim=True) / 127
        self.register_buffer("packed", (weight / scale).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias

    def dequantised(self):
        return self.packed.float() * self.scale

    def forward(self, x):
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return torch.nn.functional.linear(x, self.dequantised().to(x.dtype), bias)


def test_a_linear_with_its_own_python_forward(pack, plain):
    packed, reference = load(plain, dtype=torch.float32), load(plain, dtype=torch.float32)
    for model, form in ((packed, "packed"), (reference, "weights")):
        for block in (*model.model.diffusion_model.double_blocks, *model.model.diffusion_model.single_blocks):
            places = (
                [(block, "linear1")]
                if hasattr(block, "linear1")
                else [(block.img_attn, "qkv"), (block.img_attn, "proj")]
            )
            for parent, name in places:
                linear = getattr(parent, name)
                quantised = PackedLinear(linear)
                if form == "packed":
                    setattr(parent, name, quantised)
                else:
                    linear.weight = torch.nn.Parameter(quantised.dequantised(), requires_grad=False)
    before = state(packed.model)
    assert relative_error(evaluate(pack, packed), evaluate(pack, reference)) < 1e-5
    assert_untouched(packed.model, before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_bases(pack, plain, dtype):
    half = load(plain, dtype=dtype)
    half.set_model_compute_dtype(dtype)
    full = load(plain, dtype=torch.float32)
    found, expected = evaluate(pack, half).float(), evaluate(pack, full)
    bare = [velocity(model, positive(pack, model), CASE["noise"], 0.7).float() for model in (half, full)]
    rounding = relative_error(*bare)
    assert relative_error(found, expected) < 1.5 * rounding, "the experts add no more error than the base has itself"
    strong = [evaluate(pack, model, 8.0).float() for model in (half, full)]
    added = [patched - alone for patched, alone in zip(strong, bare, strict=True)]
    assert relative_error(*added) < 0.5, "what they add is theirs: far beyond the rounding at this strength"

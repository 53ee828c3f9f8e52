"""Bases whose Linears are not plain: the experts read and add around whatever forward a layer has."""

from __future__ import annotations

import pytest
import torch

from .graphs import (
    assert_untouched,
    relative_error,
    state,
)

FP8 = torch.float8_e4m3fn


def quantisable(key, tensor):
    return key.endswith(".weight") and tensor.ndim == 2 and "_blocks." in key and "norm" not in key


@pytest.fixture(scope="module")
def plain(golden):
    return golden.weights()


def as_fp8(tensor):
    scale = tensor.float().abs().max() / torch.finfo(FP8).max
    stored = (tensor.float() / scale).to(FP8)
    return stored.float() * scale, stored, scale


def evaluate(golden, base, strength=1.0):
    return golden.run(golden.apply(base, golden.adapter(), strength=strength), golden.positive(base))


def test_scaled_fp8_weights(golden, plain):
    bfl = golden.load(plain).model.diffusion_model.state_dict()
    tensors = {}
    for key, tensor in bfl.items():
        if quantisable(key, tensor):
            _, stored, scale = as_fp8(tensor)
            tensors[key], tensors[key.replace(".weight", ".scale_weight")] = stored, scale
        else:
            tensors[key] = tensor
    tensors["scaled_fp8"] = torch.zeros(0, dtype=FP8)
    quantised = golden.load(tensors)
    weight = quantised.model.diffusion_model.get_submodule(golden.routed[0]).weight
    assert "float8" in str(getattr(weight, "_qdata", weight).dtype), "the host keeps the weights in fp8"
    before = state(quantised.model.model_sampling)
    found = evaluate(golden, quantised)
    full = {
        key: as_fp8(tensor)[0] if quantisable(key, tensor) else tensor.float() for key, tensor in bfl.items()
    }  # fmt: skip
    expected = evaluate(golden, golden.load(full, dtype=torch.float32))
    bare = golden.run(quantised, golden.positive(quantised))
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


def test_a_linear_with_its_own_python_forward(golden, plain):
    packed, reference = (golden.load(plain, dtype=torch.float32) for _ in range(2))
    for path in golden.routed:
        parent, _, name = path.rpartition(".")
        for model in (packed, reference):
            parent_module = model.model.diffusion_model.get_submodule(parent)
            linear = getattr(parent_module, name)
            quantised = PackedLinear(linear)
            if model is packed:
                setattr(parent_module, name, quantised)
            else:
                linear.weight = torch.nn.Parameter(quantised.dequantised(), requires_grad=False)
    before = state(packed.model)
    assert relative_error(evaluate(golden, packed), evaluate(golden, reference)) < 1e-5
    assert_untouched(packed.model, before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_bases(golden, plain, dtype):
    half = golden.load(plain, dtype=dtype)
    half.set_model_compute_dtype(dtype)
    full = golden.load(plain, dtype=torch.float32)
    bare = [golden.run(model, golden.positive(model)).float() for model in (half, full)]
    rounding, share = relative_error(*bare), relative_error(evaluate(golden, full), bare[1])
    small = min(1.0, 0.05 / share)  # where the experts are half of the result, so is their own rounding
    found, expected = evaluate(golden, half, small).float(), evaluate(golden, full, small)
    assert relative_error(found, expected) < 1.5 * rounding, "the experts add no more error than the base has itself"
    strong = [evaluate(golden, model, 8.0).float() for model in (half, full)]
    added = [patched - alone for patched, alone in zip(strong, bare, strict=True)]
    assert relative_error(*added) < 0.5, "what they add is theirs: far beyond the rounding at this strength"

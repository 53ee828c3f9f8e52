"""What a routed site keeps for backward, counted exactly, at FLUX's own dimensions."""

from __future__ import annotations

import pytest
import torch

from x2edit_core.adapters.moe import RoutedDelta, Routing

from .models import random_delta

TOKENS, WIDTH, EXPERTS, RANK = 16, 3072, 12, 64


def saved_bytes(call, but):
    """Bytes of the storages that autograd keeps during `call`, each once, without those in `but`."""
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = call()
    for tensor in but:
        kept.pop(tensor.untyped_storage().data_ptr(), None)
    return sum(kept.values()), result


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_qkv_site_keeps_at_most_twelve_kilobytes_per_token(dtype):
    packed = (EXPERTS + 1) * RANK
    delta = RoutedDelta(
        torch.randn(3 * (packed + EXPERTS), WIDTH), torch.randn(3 * EXPERTS, WIDTH), torch.randn(3, WIDTH, packed),
        experts=EXPERTS, shared=True, routing=Routing(2),
    ).requires_grad_(True)  # fmt: skip
    x = torch.randn(TOKENS, WIDTH, dtype=dtype, requires_grad=True)
    bias = torch.randn(1, 3 * EXPERTS, requires_grad=True)
    out = torch.zeros(TOKENS, 3 * WIDTH, dtype=dtype)

    def site():
        hidden, _ = delta.hidden(x, bias)
        target = out.clone()
        delta.add_to(target, hidden, (0, WIDTH, 2 * WIDTH), 1.0)
        return target

    size, _ = saved_bytes(site, [*delta.parameters()])
    weights = sum(p.numel() for p in (delta.up,)) * dtype.itemsize  # the cast copy of `up`, no token's
    per_token = (size - (weights if dtype != torch.float32 else 0)) / TOKENS
    limit = 12_000 if dtype == torch.bfloat16 else 24_000
    assert per_token <= limit


@pytest.mark.parametrize("order", ["softmax_first", "topk_first"])
@pytest.mark.parametrize("top_k", [1, 2, 5])
@pytest.mark.parametrize("shared", [True, False])
def test_lean_gradients_are_exact(order, top_k, shared):
    """Against the same formulas with everything kept, in float64; the gates' outputs have a gradient of their own."""
    torch.manual_seed(top_k)
    delta = random_delta(shared=shared, routing=Routing(top_k, order), dtype=torch.float64).requires_grad_(True)
    inputs = [torch.randn(7, 16, dtype=torch.float64, requires_grad=True),
              torch.randn(7, 15, dtype=torch.float64, requires_grad=True)]  # fmt: skip
    weight = torch.randn(7, 3, 5, dtype=torch.float64)

    def total(hidden, gate):
        return hidden.square().sum() + (gate * weight).sum()

    def kept(x, bias):
        low, logits = delta.products(x)
        gate = delta.routing.weights(delta.per_expert(logits + bias))
        low = low.unflatten(-1, (3, -1, delta.rank))
        return torch.cat((low[:, :, :5] * gate.unsqueeze(-1), low[:, :, 5:]), 2).flatten(-2), gate

    results = []
    for form in (delta.hidden, kept):
        delta.zero_grad()
        found = torch.autograd.grad(total(*form(*inputs)), [*inputs, delta.down_gate], allow_unused=True)
        results.append(found)
    for lean, plain in zip(*results, strict=True):
        torch.testing.assert_close(lean, torch.zeros_like(lean) if plain is None else plain, rtol=1e-10, atol=1e-12)

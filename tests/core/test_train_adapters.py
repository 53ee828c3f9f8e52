"""New adapters: what an adapter of each kind consists of, and that a fresh one changes nothing while it can learn."""

from __future__ import annotations

import math

import pytest
import torch

from x2edit_core.families.flux1 import FluxShape
from x2edit_core.train.adapters import new_adapter, spec_for
from x2edit_core.train.config import AdapterConfig

SHAPE = FluxShape(hidden=64, double=1, single=1)
CONFIG = AdapterConfig(experts=5, rank=3, top_k=2, plain_rank=7, alpha=6.0, offset_512=8, offset_1024=16)


@pytest.mark.parametrize(
    ("kind", "experts", "shared", "order", "offsets"),
    [
        ("x2edit", 5, True, "softmax_first", (8, 16)),
        ("moe", 5, True, "softmax_first", (8, 16)),
        ("lora", 0, True, "softmax_first", (8, 16)),
        ("icedit", 0, False, "softmax_first", (0, 0)),
        ("icedit_moe", 5, False, "topk_first", (0, 0)),
    ],
)
def test_a_kind_has_its_parts(kind, experts, shared, order, offsets):
    spec = spec_for(kind, CONFIG, SHAPE)
    assert (spec.experts, spec.shared, spec.order, spec.offsets) == (experts, shared, order, offsets)
    assert (spec.rank, spec.plain_rank, spec.alpha, spec.scale) == (3, 7, 6.0, 2.0)
    assert spec.top_k == (2 if experts else 1)
    assert spec.kind == (kind if kind.startswith("icedit") else "x2edit")


def test_the_shared_expert_can_be_left_out_and_alpha_is_the_rank_where_none_is_given():
    spec = spec_for("x2edit", AdapterConfig(experts=5, rank=3, shared=False, top_k=9), SHAPE)
    assert (spec.shared, spec.alpha, spec.top_k) == (False, 3.0, 5)
    parts = new_adapter(spec, True, 0).delta(0).up.shape[-1] // 3
    assert parts == 5 and new_adapter(spec_for("x2edit", CONFIG, SHAPE), True, 0).delta(0).up.shape[-1] // 3 == 6


@pytest.mark.parametrize("kind", ["x2edit", "moe", "lora", "icedit", "icedit_moe"])
def test_a_new_adapter_adds_nothing_and_can_learn(kind):
    adapter = new_adapter(spec_for(kind, CONFIG, SHAPE), kind == "x2edit", 4)
    for index, site in enumerate(adapter.sites):
        delta = adapter.delta(index)
        x = torch.randn(3, site.in_width)
        bias = torch.zeros(1, delta.gates) if delta.task_gate is not None else None
        out = torch.zeros(3, site.starts[-1] + site.width)
        delta.add_to(out, delta.hidden(x, bias)[0], site.starts, 1.0)
        out.sum().backward()
        assert not out.any(), "the up-projections are zero"
        assert delta.up.grad is not None and delta.up.grad.any()
    assert all(parameter.requires_grad for parameter in adapter.parameters())
    assert (adapter.task_table is not None) == (kind == "x2edit")


def test_down_projections_and_gates_are_drawn_as_upstream_draws_them():
    """N(0, 1/R²) and Kaiming's uniform of slope √5 over [hidden ‖ task]."""
    shape = FluxShape(hidden=1024, double=0, single=1)
    adapter = new_adapter(spec_for("x2edit", AdapterConfig(experts=6, rank=4), shape), True, 1)
    delta = adapter.delta(0)
    down, gate = delta.down_gate.detach().split((3 * 7 * 4, 3 * 6))
    assert float(down.std()) == pytest.approx(1 / 4, rel=0.02) and float(down.mean()) == pytest.approx(0, abs=0.01)
    bound = 1 / math.sqrt(2048)
    for half in (gate, delta.task_gate.detach()):
        assert float(half.abs().max()) <= bound and float(half.abs().max()) > 0.99 * bound
        assert float(half.std()) == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert adapter.task_table.shape == (16, 1024) and float(adapter.task_table.detach().std()) == pytest.approx(
        1, rel=0.02
    )


def test_the_seed_decides():
    spec = spec_for("x2edit", CONFIG, SHAPE)
    one, same, other = (new_adapter(spec, True, seed).delta(0).down_gate for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)

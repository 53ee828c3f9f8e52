"""Computing only the selected experts, as on a CPU, against the loop over experts and the dense products."""

from __future__ import annotations

import warnings

import pytest
import torch
from bench.measure import count_operators

from x2edit_core.adapters.moe import Routing
from x2edit_core.adapters.selected import Selected

from .models import naive_delta, random_delta

STARTS = (0, 8, 16)


@pytest.mark.parametrize("order", ["softmax_first", "topk_first"])
@pytest.mark.parametrize(("experts", "top_k"), [(5, 1), (12, 1), (12, 2)])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("starts", [STARTS, (16, 0, 9)])
@torch.inference_mode()
def test_equals_the_loop_over_experts(order, experts, top_k, shared, starts):
    delta = random_delta(experts=experts, shared=shared, routing=Routing(top_k, order), scale=0.5)
    x, task, out = torch.randn(11, 16), torch.randn(11, 16), torch.randn(11, 30)
    expected = out.clone()
    for start, part in zip(starts, naive_delta(delta, x, task, 1.25), strict=True):
        expected[:, start : start + 8] += part
    hidden, gate = delta.hidden(x, delta.task_bias(task))
    assert isinstance(hidden, Selected)
    delta.add_to(out, hidden, starts, 1.25)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=2e-6)
    dense = delta.gated(*delta.products(x), delta.task_bias(task))[1]
    torch.testing.assert_close(gate, dense, rtol=1e-5, atol=1e-7)


@torch.inference_mode()
def test_all_experts_are_computed_where_selecting_does_not_pay():
    x, low = torch.randn(4, 16), torch.randn(4, 16).bfloat16()
    assert not isinstance(random_delta(experts=4, routing=Routing(2)).hidden(x, None)[0], Selected)
    assert not isinstance(random_delta(experts=12, routing=Routing(2)).hidden(low, None)[0], Selected)


def test_all_experts_are_computed_while_learning():
    delta = random_delta(experts=12).requires_grad_(True)
    assert not isinstance(delta.hidden(torch.randn(4, 16), None)[0], Selected)


@torch.inference_mode()
def test_up_projections_need_no_particular_layout():
    """They are laid out for reading by rows, but a host that moves weights may lay them out anew."""
    delta, x = random_delta(experts=12), torch.randn(9, 16)
    results = []
    for layout in (delta.up.data, delta.up.data.contiguous()):
        delta.up.data = layout
        results.append(torch.zeros(9, 24))
        delta.add_to(results[-1], delta.hidden(x, None)[0], STARTS, 1.0)
    torch.testing.assert_close(*results)
    assert delta.up.shape == (3, 8, 39)


def test_a_site_stays_within_thirty_kernels_reads_nothing_back_and_warns_of_nothing():
    delta, x, out = random_delta(experts=12), torch.randn(32, 16), torch.zeros(32, 24)
    bias = delta.task_bias(torch.randn(1, 16))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        count = count_operators(lambda: delta.add_to(out, delta.hidden(x, bias)[0], STARTS, 1.0))
    assert len(count.kernels) <= 30, count.kernels
    assert not count.waits

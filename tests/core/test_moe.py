"""The fast routed delta against the loop over experts that it must equal."""

from __future__ import annotations

import copy

import pytest
import torch
from bench.measure import count_operators

from x2edit_core.adapters.moe import RoutedDelta, Routing, largest, token_bias
from x2edit_core.errors import X2EditError

from .models import naive_delta, random_delta

STARTS = (0, 8, 16)


def fast(delta, x, task, out, strength=1.0):
    hidden, gate = delta.hidden(x, None if task is None else delta.task_bias(task))
    delta.add_to(out, hidden, STARTS[: delta.projections], strength)
    return gate


@pytest.mark.parametrize("order", ["softmax_first", "topk_first"])
@pytest.mark.parametrize(("experts", "top_k"), [(5, 1), (5, 2), (12, 2), (7, 6), (3, 3), (2, 9)])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("task_width", [16, None])
def test_equals_the_loop_over_experts(order, experts, top_k, shared, task_width):
    delta = random_delta(
        experts=experts,
        shared=shared,
        task_width=task_width,
        routing=Routing(top_k, order),
        scale=0.5,
        dtype=torch.float64,
    )
    x, task = torch.randn(11, 16, dtype=torch.float64), torch.randn(11, 16, dtype=torch.float64)
    out = torch.randn(11, 30, dtype=torch.float64)
    expected = out.clone()
    for start, part in zip(STARTS, naive_delta(delta, x, task if task_width else None, 1.25), strict=True):
        expected[:, start : start + 8] += part
    fast(delta, x, task if task_width else None, out, 1.25)
    torch.testing.assert_close(out, expected, rtol=1e-13, atol=1e-13)


def test_without_experts_it_is_a_plain_lora():
    delta = random_delta(experts=0, shared=True, task_width=None)
    x, out = torch.randn(9, 16), torch.zeros(9, 24)
    assert fast(delta, x, None, out) is None
    for projection, start in enumerate(STARTS):
        ((down, up),) = delta.parts(projection)
        torch.testing.assert_close(out[:, start : start + 8], x @ down.T @ up.T)


def test_selected_probabilities_are_not_renormalised():
    weights = Routing(2).weights(torch.randn(50, 12))
    assert ((weights > 0).sum(-1) == 2).all()
    assert (weights.sum(-1) < 0.999).all()


def test_topk_first_with_one_expert_weighs_it_fully():
    weights = Routing(1, "topk_first").weights(torch.randn(50, 4))
    assert torch.equal(weights.sum(-1), torch.ones(50))
    assert torch.equal(weights.max(-1).values, torch.ones(50))


@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_exactly_count_experts_even_when_all_are_equal(count):
    weights = Routing(count).weights(torch.zeros(6, 12))
    assert ((weights > 0).sum(-1) == count).all()


@pytest.mark.parametrize("order", ["softmax_first", "topk_first"])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_selection_is_topk(count, order):
    scores = torch.randn(200, 12)
    expected = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, scores.topk(count).indices, True)
    assert torch.equal(Routing(count, order).weights(scores) > 0, expected)


@pytest.mark.parametrize("starts", [(0, 8, 16), (3, 11, 19), (16, 8, 0), (0, 9, 20)])
def test_columns_may_lie_anywhere(starts):
    """Neighbouring columns take one batched product, others one product each; both add the same."""
    delta, x, out = (
        random_delta(task_width=None, dtype=torch.float64),
        torch.randn(9, 16).double(),
        torch.randn(9, 30).double(),
    )
    expected = out.clone()
    for start, part in zip(starts, naive_delta(delta, x, None), strict=True):
        expected[:, start : start + 8] += part
    delta.add_to(out, delta.hidden(x, None)[0], starts, 1.0)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)


def test_gates_are_float32_in_low_precision():
    """With inputs on the bf16 grid the selection equals float32's: no logit is rounded before experts are chosen."""
    delta = random_delta(experts=12, width=64)
    low = copy.deepcopy(delta).bfloat16()
    high = copy.deepcopy(low).float()
    x, task = torch.randn(4000, 64).bfloat16(), torch.randn(1, 16).bfloat16()
    gate = low.hidden(x, low.task_bias(task))[1]
    assert gate.dtype == torch.float32
    reference = high.hidden(x.float(), high.task_bias(task.float()))[1]
    assert torch.equal(gate > 0, reference > 0)
    torch.testing.assert_close(gate, reference, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("shared", "tokens"), [(True, 7), (False, 7), (True, 2), (True, 1)])
def test_gradients_equal_those_of_the_loop(shared, tokens):
    """Each token has a task of its own; one token, or as many as a pair of tasks, is no special case."""
    delta = random_delta(shared=shared, dtype=torch.float64).requires_grad_(True)
    x = torch.randn(tokens, 16, dtype=torch.float64, requires_grad=True)
    task = torch.randn(tokens, 16, dtype=torch.float64, requires_grad=True)
    base = torch.nn.Linear(16, 24, dtype=torch.float64)
    probe = torch.randn(tokens, 24, dtype=torch.float64)

    out = base(x)
    fast(delta, x, task, out, 0.7)
    wanted = [x, task, *delta.parameters()]
    found = torch.autograd.grad((out * probe).sum(), wanted)
    reference = base(x) + torch.cat(naive_delta(delta, x, task, 0.7), dim=1)
    expected = torch.autograd.grad((reference * probe).sum(), wanted)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


class OnDevice(torch.Tensor):
    """Says that it lies on a device, so that what devices compute can be seen on any machine."""

    is_cuda = True


@pytest.mark.parametrize("count", [1, 2, 4, 5])
@pytest.mark.parametrize("dim", [-1, 0, 1])
def test_the_largest_found_one_by_one_are_those_of_topk(count, dim):
    scores = torch.randn(6, 7, 8)
    found, places = (item.as_subclass(torch.Tensor) for item in largest(scores.as_subclass(OnDevice), count, dim))
    expected = scores.topk(count, dim)
    assert torch.equal(found.sort(dim, descending=True).values, expected.values)
    assert torch.equal(scores.gather(dim, places), found)


def test_token_bias_gives_each_row_its_own_task():
    bias = torch.arange(6.0).view(3, 2)
    spread = token_bias(bias, torch.tensor([2, 0]), 4)
    assert torch.equal(spread, bias[[2, 2, 2, 2, 0, 0, 0, 0]])
    assert token_bias(bias[:1], torch.tensor([0, 0]), 4) is not None
    assert token_bias(None, torch.tensor([0]), 4) is None


@pytest.mark.parametrize("task_width", [6, 0])
@pytest.mark.parametrize("shared", [True, False])
def test_parts_and_gates_are_computed_with_and_come_back(task_width, shared):
    """Against the sum written out on the tensors that went in, not on what comes out of the packing."""
    width, out, rank, experts = 7, 5, 3, 4
    parts = [[(torch.randn(rank, width), torch.randn(out, rank)) for _ in range(experts + shared)] for _ in range(2)]
    gates = [torch.randn(experts, width + task_width) for _ in range(2)]
    delta = RoutedDelta.of(parts, gates, shared=shared, routing=Routing(2), scale=0.5)
    x, task = torch.randn(9, width), torch.randn(1, task_width)
    total = torch.zeros(9, 2 * out)
    hidden, _ = delta.hidden(x, delta.task_bias(task) if task_width else None)
    delta.add_to(total, hidden, (0, out), 1.0)
    for p in range(2):
        share = (torch.cat((x, task.expand(9, -1)), 1) @ gates[p].T).softmax(-1)
        share = share * (share >= share.topk(2).values[:, -1:])
        weights = torch.cat((share, torch.ones(9, int(shared))), 1)
        terms = [w[:, None] * (x @ down.T @ up.T) for w, (down, up) in zip(weights.unbind(1), parts[p], strict=True)]
        torch.testing.assert_close(total[:, p * out : (p + 1) * out], 0.5 * sum(terms), rtol=1e-4, atol=1e-5)
        assert torch.equal(delta.gate(p), gates[p])
        for back, went in zip(delta.parts(p), parts[p], strict=True):
            assert torch.equal(back[0], went[0]) and torch.equal(back[1], went[1])


def test_no_delta_is_lost_into_a_wrongly_packed_tensor():
    delta = random_delta()
    with pytest.raises(X2EditError, match="do not fit together"):
        RoutedDelta(delta.down_gate[1:], delta.task_gate, delta.up, experts=5, shared=True, routing=Routing(2))
    with pytest.raises(X2EditError, match="top-k"):
        Routing(0)


def test_a_site_stays_within_thirty_kernels_and_never_waits_for_the_device():
    delta = random_delta(experts=12, dtype=torch.bfloat16)
    x, out = torch.randn(32, 16).bfloat16(), torch.zeros(32, 24).bfloat16()
    bias = delta.task_bias(torch.randn(1, 16))

    def site():
        hidden, _ = delta.hidden(x, bias)
        delta.add_to(out, hidden, STARTS, 1.0)

    count = count_operators(site)
    assert len(count.kernels) <= 30, count.kernels
    assert not count.waits


def test_the_counter_sees_waits():
    """Else the test above could not fail: a mask index and a value read back are both found."""
    x = torch.randn(8)
    assert count_operators(lambda: x[x > 0]).waits
    assert count_operators(lambda: float(x.sum())).waits


def test_a_task_alone_can_learn():
    """Only the task table is trained: its gradient still passes through the gates."""
    delta = random_delta(dtype=torch.float64)
    x, task = torch.randn(7, 16, dtype=torch.float64), torch.randn(7, 16, dtype=torch.float64, requires_grad=True)
    out, probe = torch.zeros(7, 24, dtype=torch.float64), torch.randn(7, 24, dtype=torch.float64)
    fast(delta, x, task, out)
    (found,) = torch.autograd.grad((out * probe).sum(), [task])
    (expected,) = torch.autograd.grad((torch.cat(naive_delta(delta, x, task), dim=1) * probe).sum(), [task])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)

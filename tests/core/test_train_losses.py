"""The losses: the research code's numbers, simple cases known by hand, and the same from one process and from two."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from x2edit_core.train import losses

from .threads import together

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "data" / "golden" / "contrastive" / "io.safetensors"


@pytest.fixture(scope="module")
def golden():
    tensors = load_file(GOLDEN)
    layers = sum(name.startswith("hidden.") for name in tensors)
    return [tensors[f"hidden.{i}"] for i in range(layers)], [tensors[f"grad.{i}"] for i in range(layers)], tensors


def test_contrast_and_its_gradients_match_the_research_code(golden):
    hidden, gradients, tensors = golden
    hidden = [item.clone().requires_grad_() for item in hidden]
    loss = 0.2 * losses.task_contrast(hidden, tensors["task"], 0.5)
    loss.backward()
    assert abs(float(loss.detach() - tensors["loss"])) <= 1e-5 * float(tensors["loss"])
    for item, wanted in zip(hidden, gradients, strict=True):
        assert float((item.grad - wanted).norm() / wanted.norm()) <= 1e-5


def test_samples_of_one_task_that_lie_together_cost_less():
    near, far = torch.randn(2, 1, 64), torch.randn(2, 1, 64)
    apart = torch.cat((near, far))
    together = torch.cat((near[:1], near[:1] + 0.01, far[:1], far[:1] + 0.01))
    tasks = torch.tensor([1, 1, 2, 2])
    assert losses.task_contrast([together], tasks) < losses.task_contrast([apart], tasks)


def test_a_sample_alone_in_its_task_pulls_nobody():
    features = torch.randn(3, 2, 8, requires_grad=True)
    losses.task_contrast([features], torch.tensor([1, 2, 3])).backward()
    assert torch.isfinite(features.grad).all()


def test_balance_is_one_when_experts_are_used_alike_and_grows_when_not():
    even = torch.eye(4).expand(1, 4, 4)[:, :, None] * 0.5  # [B, T, P, E]: token t goes to expert t
    skewed = torch.zeros_like(even)
    skewed[..., 0] = 0.5
    assert float(losses.gate_balance([even])) == pytest.approx(1.0)
    assert float(losses.gate_balance([skewed])) == pytest.approx(4.0)


def test_balance_asks_for_less_weight_on_the_overused_expert():
    logits = torch.zeros(1, 8, 1, 3, requires_grad=True)
    selected = torch.zeros(1, 8, 1, 3)
    selected[..., 0] = 1.0
    selected[:, :2, :, 1] = 1.0
    gate = logits.softmax(-1) * selected
    losses.gate_balance([gate]).backward()
    assert logits.grad[..., 0].sum() > 0 > logits.grad[..., 1].sum()


def test_usage_counts_selections():
    gate = torch.tensor([[0.9, 0.1, 0.0], [0.5, 0.0, 0.2]]).view(1, 2, 1, 3)
    torch.testing.assert_close(losses.expert_usage([gate]), torch.tensor([0.5, 0.25, 0.25]))


def test_flow_error_is_the_mean_square_of_each_row():
    errors = losses.flow_errors(torch.zeros(2, 3, 2, 2), torch.stack((torch.ones(3, 2, 2), torch.full((3, 2, 2), 2.0))))
    torch.testing.assert_close(errors, torch.tensor([1.0, 4.0]))


def test_edited_cells_weigh_more_and_rows_keep_their_mean():
    source = torch.zeros(2, 16, 4, 4)
    target = source.clone()
    target[0, :, :2] = 1.0
    weights = losses.edited_weights(target, source, 3.0)
    assert torch.allclose(weights.mean((1, 2, 3)), torch.ones(2))
    assert torch.allclose(weights[0, :, 0] / weights[0, :, 3], torch.tensor(4.0))
    assert torch.equal(weights[1], torch.ones(1, 4, 4)), "a copy is weighed evenly"
    predicted, wanted = torch.randn(2, 2, 16, 4, 4)
    expected = ((predicted - wanted).square() * weights).mean((1, 2, 3))
    assert torch.allclose(losses.flow_errors(predicted, wanted, weights), expected)


def test_two_processes_compute_what_one_does_and_send_few_bytes(golden, two_ranks):
    hidden, _, tensors = golden
    first, second = two_ranks.run("contrast", GOLDEN)
    for found in (first, second):
        assert found["worst_gradient"] <= 1e-6
    mean = (first["loss"] + second["loss"]) / 2
    assert mean == pytest.approx(float(tensors["loss"]) / 0.2, rel=1e-6)
    rows, width = hidden[0].shape[0] // 2, hidden[0][0].numel()
    features = 4 * rows * width * len(hidden)  # a process's own features, float32
    small = 4 * (2 * rows) ** 2 * len(hidden) * 2 + 1000
    assert first["sent_forward"] <= features / 2 + small, "(W − 1)/W of its features, W = 2"
    assert first["sent_backward"] <= features / 2 + small


@pytest.fixture
def loopback(monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")


def drawn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_each_rank_gets_its_slice_of_everyones_features_and_gives_them_back(loopback):
    """Seven features among three ranks: slices of three, three and one, which is filled up with zeros."""
    rows = drawn(1, 6, 7)
    padded = torch.nn.functional.pad(rows, (0, 2))

    def work(rank):
        mine = rows[2 * rank : 2 * rank + 2]
        return (
            losses.world(),
            losses.rank(),
            losses.gathered(mine),
            losses.sliced(mine),
            losses.joined(losses.sliced(mine), 7),
        )

    for rank, (world, own, everyone, part, back) in enumerate(together(3, work)):
        assert (world, own) == (3, rank)
        assert torch.equal(everyone, rows)
        assert torch.equal(part, padded[:, 3 * rank : 3 * rank + 3])
        assert torch.equal(back, rows[2 * rank : 2 * rank + 2])


def test_three_ranks_compute_the_contrast_that_one_does(loopback):
    """The mean of their losses, and of their gradients, in which rows of others count as constants as well."""
    whole = [drawn(seed, 6, 2, 5).requires_grad_() for seed in (1, 2)]
    tasks = torch.tensor([3, 5, 3, 3, 9, 5])
    loss = losses.task_contrast(whole, tasks)
    loss.backward()

    def work(rank):
        own = slice(2 * rank, 2 * rank + 2)
        mine = [features.detach()[own].clone().requires_grad_() for features in whole]
        part = losses.task_contrast(mine, tasks[own])
        part.backward()
        return part.detach(), [features.grad for features in mine]

    parts = together(3, work)
    torch.testing.assert_close(torch.stack([part for part, _ in parts]).mean(), loss.detach())
    for layer, features in enumerate(whole):
        found = torch.cat([gradients[layer] for _, gradients in parts]) / 3
        torch.testing.assert_close(found, features.grad, rtol=1e-4, atol=1e-7)


GATES = [(2, 4, 2, 3), (2, 3, 1, 5)]
"""Two sites: [B, T, P, E]."""


def sparse(seed, shape):
    """Gates of which about half are selected, all weights above 0.1."""
    weights = drawn(seed, *shape)
    return (weights.abs() + 0.1) * (weights > -0.2)


def balance_in_words(gates):
    """E · Σ (share of selections)(share of weight), every sum a loop."""
    terms = []
    for gate in gates:
        _, _, projections, experts = gate.shape
        for projection in range(projections):
            rows = gate[:, :, projection].reshape(-1, experts).tolist()
            used = [sum(row[e] > 0 for row in rows) for e in range(experts)]
            given = [sum(row[e] for row in rows) for e in range(experts)]
            shares = [u / sum(used) * g / sum(given) for u, g in zip(used, given, strict=True)]
            terms.append((experts * sum(shares), projections))
    return sum(term / projections for term, projections in terms) / len(gates)


def test_balance_and_usage_are_their_formulas_for_several_sites_and_projections():
    gates = [sparse(seed, shape) for seed, shape in enumerate(GATES)]
    assert float(losses.gate_balance(gates)) == pytest.approx(balance_in_words(gates), rel=1e-5)
    alike = [sparse(seed, (2, 4, 2, 3)) for seed in (4, 5)]
    counts = sum((gate > 0).sum((0, 1, 2)) for gate in alike).float()
    torch.testing.assert_close(losses.expert_usage(alike), counts / counts.sum())


def test_gates_that_selected_nobody_are_balanced_and_used_by_nobody():
    nobody = torch.zeros(1, 2, 1, 3)
    assert float(losses.gate_balance([nobody])) == 0.0
    assert losses.expert_usage([nobody]).tolist() == [0.0, 0.0, 0.0]


def test_two_ranks_balance_the_tokens_of_both(loopback):
    """Its gradient is handed on undivided: those of weights are averaged over ranks afterwards."""
    whole = [
        torch.cat([sparse(seed + 10 * rank, shape) for rank in (0, 1)]).requires_grad_()
        for seed, shape in enumerate(GATES)
    ]
    loss = losses.gate_balance(whole)
    loss.backward()

    def work(rank):
        mine = [gate.detach()[2 * rank : 2 * rank + 2].clone().requires_grad_() for gate in whole]
        part = losses.gate_balance(mine)
        part.backward()
        return part.detach(), [gate.grad for gate in mine], losses.expert_usage(mine[:1])

    for rank, (part, gradients, usage) in enumerate(together(2, work)):
        torch.testing.assert_close(part, loss.detach())
        torch.testing.assert_close(usage, losses.expert_usage([whole[0].detach()]))
        for gradient, gate in zip(gradients, whole, strict=True):
            torch.testing.assert_close(gradient / 2, gate.grad[2 * rank : 2 * rank + 2])


def test_a_contrast_without_pairs_has_upstreams_gradient_and_not_its_constant():
    """Three samples of three tasks: the formula as written, with ε in place of the empty sum of partners."""
    features = [torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(n), requires_grad=True) for n in (1, 2)]
    tasks, tau = torch.tensor([0, 1, 2]), 0.5
    found = losses.task_contrast(features, tasks, tau)
    gradients = torch.autograd.grad(found, features)
    written = []
    for feature in features:
        z = torch.nn.functional.normalize(feature.flatten(1), dim=1)
        distances = (z[:, None] - z.detach()[None]).square().sum(-1)
        others = torch.exp(-distances / tau) * (1 - torch.eye(3))
        written.append(-torch.log(losses.EPSILON / (1 + others.sum(1) + losses.EPSILON)).mean())
    upstream = torch.stack(written).mean()
    for one, other in zip(gradients, torch.autograd.grad(upstream, features), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)
    assert float((upstream - found).detach()) == pytest.approx(-math.log(losses.EPSILON), rel=1e-5)

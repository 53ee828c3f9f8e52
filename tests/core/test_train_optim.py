"""Optimisers: the schedule, rounding at random, the average, and Prodigy where it is installed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from x2edit_core.train import optim
from x2edit_core.train.config import OptimConfig


def fitted(config, dtype=torch.float32, steps=400):
    """Distance to the minimum of a quadratic after some steps, relative to the start."""
    torch.manual_seed(0)
    wanted = torch.randn(256)
    weight = nn.Parameter(torch.zeros(256, dtype=dtype))
    optimiser = optim.make_optimiser({"weight": weight}, config)
    for step in range(steps):
        optim.set_rate(optimiser, config.rate * optim.rate_scale(step, steps, config))
        (weight.float() - wanted).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()
    return float((weight.detach().float() - wanted).norm() / wanted.norm())


def test_the_rate_rises_and_falls():
    config = OptimConfig(warmup=10, final=0.1)
    shares = [optim.rate_scale(step, 100, config) for step in range(100)]
    assert shares[0] == pytest.approx(0.1) and max(shares) == shares[10] == pytest.approx(1.0)
    assert shares[10:] == sorted(shares[10:], reverse=True) and shares[-1] == pytest.approx(0.1, abs=0.01)
    assert {optim.rate_scale(step, 100, OptimConfig()) for step in (0, 50, 99)} == {1.0}


def test_adamw_fits():
    assert fitted(OptimConfig(rate=0.05, final=0.0)) < 0.02


def test_prodigy_fits_without_a_rate_of_ones_own():
    pytest.importorskip("prodigyopt")
    assert fitted(OptimConfig(name="prodigy", rate=1.0, decay=0.0), steps=1000) < 0.1


def test_bfloat16_weights_learn_steps_smaller_than_their_precision():
    """Rounding to nearest would lose every step of this size; rounding at random keeps them on average."""
    weight = nn.Parameter(torch.ones(4096, dtype=torch.bfloat16))
    optimiser = optim.make_optimiser({"weight": weight}, OptimConfig(rate=1e-4, decay=0.0, state="bfloat16"))
    for _ in range(100):
        weight.grad = torch.ones_like(weight)
        optimiser.step()
    assert float(weight.detach().float().mean()) == pytest.approx(0.99, abs=1e-3)
    assert fitted(OptimConfig(rate=0.05, final=0.0, state="bfloat16"), torch.bfloat16) < 0.02


def test_rounding_at_random_is_right_on_average_and_exact_where_it_can_be():
    source = torch.Generator().manual_seed(0)
    value = torch.full((200_000,), 1.001)
    rounded = optim.rounded_at_random(value, source).float()
    assert float(rounded.mean()) == pytest.approx(1.001, abs=1e-4)
    exact = torch.tensor([1.0, -0.5, 0.0, 3.0])
    assert torch.equal(optim.rounded_at_random(exact, source).float(), exact)


def test_the_average_is_put_in_place_and_taken_out_again():
    weight = nn.Parameter(torch.zeros(3))
    average = optim.EMA({"w": weight}, 0.5)
    with torch.no_grad():
        weight.fill_(1.0)
    average.update(1000)
    with average.applied():
        assert torch.equal(weight.detach(), torch.full((3,), 0.5))
    assert torch.equal(weight.detach(), torch.ones(3))
    off = optim.EMA({"w": weight}, 0.0)
    with off.applied():
        assert torch.equal(weight.detach(), torch.ones(3))


def test_an_average_of_bfloat16_weights_moves_by_less_than_their_precision():
    weight = nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    average = optim.EMA({"w": weight}, 0.999)
    with torch.no_grad():
        weight.fill_(1.5)
    for _ in range(1000):
        average.update(100_000)
    expected = 1.5 - 0.5 * 0.999**1000
    assert average.values[0].tolist() == pytest.approx([expected] * 4, rel=1e-4)
    with average.applied():
        assert weight.detach().tolist() == pytest.approx([expected] * 4, rel=0.005)
    assert torch.equal(weight.detach(), torch.full((4,), 1.5, dtype=torch.bfloat16))


def test_an_average_saved_in_bfloat16_goes_on_in_float32():
    weight = nn.Parameter(torch.zeros(3, dtype=torch.bfloat16))
    average = optim.EMA({"w": weight}, 0.5)
    average.load_state_dict({"w": torch.full((3,), 0.25, dtype=torch.bfloat16)})
    assert average.state_dict()["w"].dtype == torch.float32
    assert average.state_dict()["w"].tolist() == [0.25] * 3


@pytest.mark.parametrize("shape", [(48, 16), (16, 48), (24, 24)])
def test_orthogonal_directions_keep_the_singular_vectors(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape, dtype=torch.float64) + torch.eye(*shape, dtype=torch.float64)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    turned = left.T @ optim.orthogonal(matrix) @ right.T
    assert torch.allclose(turned, torch.diag(turned.diagonal()), atol=1e-6), "singular vectors stay"
    large = turned.diagonal()[values > 0.1 * values[0]]
    assert float(large.min()) > 0.6 and float(large.max()) < 1.25


def network():
    torch.manual_seed(0)
    return nn.ModuleDict({"blocks": nn.ModuleList(nn.Linear(8, 8) for _ in range(2)), "last": nn.Linear(8, 4)})


def trained(network, optimiser, steps, first=0):
    for step in range(first, first + steps):
        source = torch.Generator().manual_seed(step)
        x = torch.randn(16, 8, generator=source)
        hidden = network["blocks"][1](torch.tanh(network["blocks"][0](x)))
        (network["last"](hidden) - x[:, :4]).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()
    return [parameter.detach().clone() for parameter in network.parameters()]


def test_muon_and_adamw_together_go_on_from_a_saved_state_exactly():
    config = OptimConfig(name="muon", rate=0.01)
    whole, cut, resumed = network(), network(), network()
    expected = trained(whole, optim.make_optimiser(dict(whole.named_parameters()), config), 6)
    first = optim.make_optimiser(dict(cut.named_parameters()), config)
    trained(cut, first, 3)
    second = optim.make_optimiser(dict(resumed.named_parameters()), config)
    second.load_state_dict(first.state_dict())
    resumed.load_state_dict(cut.state_dict())
    for found, wanted in zip(trained(resumed, second, 3, first=3), expected, strict=True):
        assert torch.equal(found, wanted)


def test_the_rate_reaches_every_weight_under_muon():
    net = network()
    optimiser = optim.make_optimiser(dict(net.named_parameters()), OptimConfig(name="muon", decay=0.0))
    before = [parameter.detach().clone() for parameter in net.parameters()]
    optim.set_rate(optimiser, 0.0)
    assert all(torch.equal(a, b) for a, b in zip(before, trained(net, optimiser, 1), strict=True))
    optim.set_rate(optimiser, 0.01)
    assert not any(torch.equal(a, b) for a, b in zip(before, trained(net, optimiser, 1), strict=True))


def test_the_true_rate_of_prodigy_is_what_it_moves_weights_by():
    """On |w − 3|, whose gradient is 1 or −1, it finds steps far larger than its first; AdamW's are as set."""
    pytest.importorskip("prodigyopt")
    weight = torch.nn.Parameter(torch.zeros(4))
    optimiser = optim.make_optimiser({"w": weight}, OptimConfig(name="prodigy", rate=1.0, decay=0.0))
    assert optim.true_rate(optimiser) == pytest.approx(1e-6) and optim.never_adapted(optimiser)
    moved = []
    for _ in range(60):
        before = weight.detach().clone()
        (weight - 3).abs().sum().backward()
        rate = optim.true_rate(optimiser)
        optimiser.step()
        optimiser.zero_grad()
        moved.append((rate, float((weight.detach() - before).abs().max())))
    assert not optim.never_adapted(optimiser) and optim.true_rate(optimiser) > 1e-3
    assert all(0.3 * rate <= step <= 3 * rate for rate, step in moved if step)
    adamw = optim.make_optimiser({"w": weight}, OptimConfig(rate=0.02))
    assert optim.true_rate(adamw) == 0.02 and not optim.never_adapted(adamw)


def test_rounding_adamw_of_float32_weights_is_torchs_own():
    """Nothing is rounded there, so decay, both moments and their bias correction must agree, step by step."""
    start, betas = torch.randn(64), (0.8, 0.95)
    ours, theirs = (nn.Parameter(start.clone()) for _ in range(2))
    optimisers = [optim.RoundingAdamW([ours], 0.01, betas, 0.3),
                  torch.optim.AdamW([theirs], 0.01, betas, weight_decay=0.3)]  # fmt: skip
    for step in range(5):
        gradient = torch.randn(64, generator=torch.Generator().manual_seed(step))
        for weight, optimiser in zip((ours, theirs), optimisers, strict=True):
            weight.grad = gradient.clone()
            optimiser.step()
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("state", ["float32", "bfloat16"])
def test_every_setting_of_adamw_reaches_it(state):
    config = OptimConfig(rate=0.02, beta1=0.7, beta2=0.8, decay=0.4, state=state)
    (group,) = optim.make_optimiser({"w": nn.Parameter(torch.ones(2))}, config).param_groups
    assert (group["lr"], tuple(group["betas"]), group["weight_decay"]) == (0.02, (0.7, 0.8), 0.4)


def test_the_average_remembers_little_at_the_start():
    """Its memory is (step + 1) / (step + 10), at most what was asked for."""
    weight = nn.Parameter(torch.zeros(1))
    average = optim.EMA({"w": weight}, 0.25)
    with torch.no_grad():
        weight.fill_(1.0)
    expected = 0.0
    for step, share in enumerate((1 / 10, 2 / 11, 3 / 12, 0.25, 0.25)):
        average.update(step)
        expected = share * expected + (1 - share)
        assert average.values[0].item() == pytest.approx(expected, rel=1e-6)


def test_muon_takes_the_matrices_of_blocks_and_adamw_the_rest():
    shapes = {
        "blocks.0.up": (4, 6),
        "blocks.0.bias": (4,),
        "blocks.0.mod.lin": (4, 4),
        "blocks.1.stack": (2, 3, 3),
        "last": (4, 4),
    }
    weights = {name: nn.Parameter(torch.ones(shape)) for name, shape in shapes.items()}
    config = OptimConfig(name="muon", rate=0.02, beta1=0.7, beta2=0.8, decay=0.4)
    together = optim.make_optimiser(weights, config)
    (matrices,), (others,) = (part.param_groups for part in together.parts)
    assert [id(weight) for weight in matrices["params"]] == [id(weights["blocks.0.up"])]
    assert {id(weight) for weight in others["params"]} == {
        id(weights[name]) for name in shapes if name != "blocks.0.up"
    }
    assert (matrices["lr"], matrices["weight_decay"]) == (0.02, 0.4)
    assert (others["lr"], tuple(others["betas"]), others["weight_decay"]) == (0.02, (0.7, 0.8), 0.4)


def test_every_setting_of_prodigy_reaches_it():
    pytest.importorskip("prodigyopt")
    config = OptimConfig(name="prodigy", rate=0.5, beta1=0.7, beta2=0.8, decay=0.4)
    (group,) = optim.make_optimiser({"w": nn.Parameter(torch.ones(2))}, config).param_groups
    assert (group["lr"], tuple(group["betas"]), group["weight_decay"]) == (0.5, (0.7, 0.8), 0.4)
    assert group["use_bias_correction"] and group["safeguard_warmup"]


def test_the_rate_ends_where_it_was_to_end_and_stays_there():
    config = OptimConfig(warmup=10, final=0.1)
    assert [optim.rate_scale(step, 11, config) for step in (10, 11)] == pytest.approx([1.0, 0.1])
    assert [optim.rate_scale(step, 100, config) for step in (55, 100, 145, 190)] == pytest.approx([0.55, 0.1, 0.1, 0.1])


def test_random_bits_come_from_their_source_and_from_zero_on():
    """A value one bit below the next bfloat16 stays down once in 65,536."""
    below = (torch.full((1 << 20,), 1.0).view(torch.int32) + 0xFFFF).view(torch.float32)
    first, second = (optim.rounded_at_random(below, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert 0 < int((first == 1.0).sum()) < 64


def test_two_runs_in_bfloat16_round_alike_whatever_was_drawn_before():
    ended = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        weight = nn.Parameter(torch.ones(256, dtype=torch.bfloat16))
        optimiser = optim.make_optimiser({"w": weight}, OptimConfig(rate=1e-3, state="bfloat16"))
        for step in range(3):
            weight.grad = torch.full_like(weight, 0.1 * (step + 1))
            optimiser.step()
        ended.append(weight.detach().clone())
    assert torch.equal(*ended)


def test_whether_an_average_lies_in_place_is_known():
    average = optim.EMA({"w": nn.Parameter(torch.zeros(2))}, 0.5)
    assert not average.in_place
    with average.applied():
        assert average.in_place
    assert not average.in_place

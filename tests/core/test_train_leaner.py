"""Settings that save memory: equal steps, exact continuation, and refusals by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from x2edit_core.errors import X2EditError
from x2edit_core.settings import ConfigError
from x2edit_core.train import optim, quantised
from x2edit_core.train.config import OptimConfig, parse_config
from x2edit_core.train.fused import FusedBackward

LEAST = {"kind": "x2edit", "output": "run", "steps": 10, "model": {"base": "flux.safetensors"}}
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"optim": {"fused_backward": True}}, "optim.clip = 1 limits the norm of all gradients together: set it to 0"),
        ({"optim": {"fused_backward": True, "clip": 0.0}, "accumulate": 2}, "accumulate = 2 averages"),
        ({"optim": {"fused_backward": True, "clip": 0.0, "name": "prodigy"}}, "'prodigy' looks at all weights"),
        ({"optim": {"moments": "8bit", "name": "prodigy"}}, "'8bit' is for adamw"),
        ({"optim": {"moments": "4bit"}}, "one of state, 8bit"),
        (
            {"model": {"base": "f", "weights": "int8", "offload": True}},
            "blocks that visit the device are plain or in fp8",
        ),
        ({"model": {"base": "f", "gradient_checkpointing": False, "offload_checkpoints": True}}, "which is false"),
        ({"model": {"base": "f", "gradient_checkpointing": 1}}, "one of auto, true, false was expected"),
        ({"model": {"base": "f", "gradient_checkpointing": "yes"}}, "one of auto, true, false was expected"),
        ({"shard": "trained", "optim": {"moments": "8bit"}}, "optim.moments = '8bit' does not work with shard"),
        ({"shard": "trained", "optim": {"fused_backward": True, "clip": 0.0}}, "fused_backward = true does not work"),
        ({"shard": "all", "model": {"base": "f", "offload": True}}, "model.offload = true does not work"),
        ({"shard": "all", "model": {"base": "f", "weights": "int8"}}, "model.weights = 'int8' does not work"),
        ({"kind": "base", "model": {"offload": True}}, "kind base trains it"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(change, told):
    with pytest.raises(ConfigError) as caught:
        parse_config({**LEAST, **change})
    assert told in str(caught.value)


@pytest.mark.parametrize("value", ["auto", True, False])
def test_checkpointing_may_be_left_to_the_size_or_asked_for(value):
    assert (
        parse_config({**LEAST, "model": {"base": "f", "gradient_checkpointing": value}}).model.gradient_checkpointing
        is value
    )


def network(dtype):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, 64), nn.Tanh(), nn.Linear(64, 64)).to(dtype)


def trained(net, optimiser, steps, fused=None, first=0):
    """Weights after some steps, and the norm of each step's gradients."""
    norms = []
    for step in range(first, first + steps):
        x = torch.randn(16, 64, generator=torch.Generator().manual_seed(step)).to(next(net.parameters()).dtype)
        loss = (net(x) - x).float().square().mean()
        if fused:
            fused.begin(loss)
        loss.backward()
        if fused:
            norms.append(fused.end())
            assert all(weight.grad is None for weight in net.parameters())
            continue
        norms.append(float(torch.stack([p.grad.float().square().sum() for p in net.parameters()]).sum().sqrt()))
        optimiser.step()
        optimiser.zero_grad()
    return [weight.detach().clone() for weight in net.parameters()], norms


CONFIGS = [OptimConfig(rate=0.01), OptimConfig(rate=0.01, state="bfloat16"), OptimConfig(rate=0.01, moments="8bit"),
           OptimConfig(rate=0.01, moments="8bit", state="bfloat16")]  # fmt: skip


def name_of(config):
    return f"{config.state}-{config.moments}"


@pytest.mark.parametrize("config", CONFIGS, ids=name_of)
def test_steps_within_backward_are_bit_equal(config):
    if config.moments == "8bit":
        pytest.importorskip("torchao")
    results = []
    for fuse in (False, True):
        net = network(getattr(torch, config.state))
        optimiser = optim.make_optimiser(dict(net.named_parameters()), config)
        fused = FusedBackward(dict(net.named_parameters()), optimiser, 1) if fuse else None
        results.append(trained(net, optimiser, 4, fused))
    (plain, norms), (fused, others) = results
    assert all(torch.equal(one, other) for one, other in zip(plain, fused, strict=True))
    assert others == pytest.approx(norms, rel=1e-5)


def test_a_loss_or_a_gradient_that_is_no_number_moves_nothing_further():
    net = network(torch.float32)
    before = [weight.detach().clone() for weight in net.parameters()]
    optimiser = optim.make_optimiser(dict(net.named_parameters()), OptimConfig(rate=0.01))
    fused = FusedBackward(dict(net.named_parameters()), optimiser, 1)
    loss = net(torch.full((2, 64), float("nan"))).mean()
    fused.begin(loss)
    loss.backward()
    assert fused.end() != fused.end(), "the norm is no number"
    assert all(torch.equal(*pair) for pair in zip(before, net.parameters(), strict=True))
    x = torch.zeros(2, 64)
    hidden = net[0](x)
    hidden.register_hook(lambda grad: grad * float("inf"))
    loss = net[1:](hidden).square().mean()
    fused.begin(loss)
    loss.backward()
    assert fused.end() != fused.end()
    moved = [not torch.equal(*pair) for pair in zip(before, net.parameters(), strict=True)]
    assert moved[:2] == [False, False] and any(moved[2:]), "those whose gradients were numbers have moved"


def test_several_processes_are_refused():
    with pytest.raises(X2EditError, match="gradients of 2 processes"):
        FusedBackward({}, torch.optim.AdamW([nn.Parameter(torch.zeros(1))]), 2)


@pytest.mark.parametrize("config", CONFIGS[2:], ids=name_of)
def test_8_bit_moments_go_on_from_a_saved_state_exactly(config, tmp_path):
    """Through a file that is read without running code."""
    pytest.importorskip("torchao")
    dtype = getattr(torch, config.state)
    whole, cut, resumed = network(dtype), network(dtype), network(dtype)
    expected, _ = trained(whole, optim.make_optimiser(dict(whole.named_parameters()), config), 6)
    first = optim.make_optimiser(dict(cut.named_parameters()), config)
    trained(cut, first, 3)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    resumed.load_state_dict(cut.state_dict())
    torch.manual_seed(99)
    second = optim.make_optimiser(dict(resumed.named_parameters()), config)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    found, _ = trained(resumed, second, 3, first=3)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_8_bit_moments_learn_as_whole_ones_do_at_a_quarter_of_the_memory():
    pytest.importorskip("torchao")
    losses, states = [], []
    for kind in ("state", "8bit"):
        net = network(torch.float32)
        optimiser = optim.make_optimiser(dict(net.named_parameters()), OptimConfig(rate=0.003, moments=kind))
        trained(net, optimiser, 30)
        x = torch.randn(64, 64, generator=torch.Generator().manual_seed(1000))
        losses.append(float((net(x) - x).square().mean()))
        leaves = torch.utils._pytree.tree_leaves(optimiser.state_dict())
        states.append(sum(leaf.nbytes for leaf in leaves if isinstance(leaf, torch.Tensor)))
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert states[1] < 0.5 * states[0], "also in a network as small as this"


def test_the_rate_reaches_8_bit_moments():
    pytest.importorskip("torchao")
    net = network(torch.float32)
    optimiser = optim.make_optimiser(dict(net.named_parameters()), OptimConfig(rate=0.01, decay=0.0, moments="8bit"))
    before = [weight.detach().clone() for weight in net.parameters()]
    optim.set_rate(optimiser, 0.0)
    assert all(torch.equal(*pair) for pair in zip(before, trained(net, optimiser, 1)[0], strict=True))
    optim.set_rate(optimiser, 0.5)
    assert optim.true_rate(optimiser) == 0.5
    after = trained(net, optimiser, 1)[0]
    assert max(float((a - b).abs().max()) for a, b in zip(before, after, strict=True)) > 0.1


def test_without_a_compiler_steps_run_uncompiled_and_say_why(tmp_path):
    """In a process whose compilers do not exist."""
    script = (
        "import torch\nfrom x2edit_core.train.moments import compiler_fault, reason_not_to_compile\n"
        "print(compiler_fault(torch.device('cpu')))\nprint(reason_not_to_compile(torch.device('cpu')))"
    )
    gone = {"CXX": str(tmp_path / "none"), "PATH": str(tmp_path), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"),
            "PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}  # fmt: skip
    done = subprocess.run([sys.executable, "-c", script], env=gone, capture_output=True, text=True, check=True)
    fault, reason = done.stdout.strip().splitlines()[-2:]
    assert "torch cannot compile here" in fault and "a CPU computes a step sooner" in reason


@pytest.mark.parametrize(("kind", "most"), [("fp8", 0.05), ("int8", 0.02), ("nf4", 0.15)])
def test_a_product_with_few_bits_keeps_them_alone_and_has_the_gradient_of_the_whole(kind, most):
    if kind != "fp8":
        pytest.importorskip("torchao")
    torch.manual_seed(0)
    layer = nn.Linear(256, 128).to(torch.bfloat16).requires_grad_(False)
    exact = layer.weight.detach().clone()
    made = quantised.packed(exact, kind)
    layer.weight = nn.Parameter(made, requires_grad=False)
    near = quantised.whole(layer.weight, torch.bfloat16)
    assert float((near - exact).float().norm() / exact.float().norm()) < most
    forward = quantised.lean_forward(layer)
    x = torch.randn(32, 256, dtype=torch.bfloat16, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: (kept.append(tensor), tensor)[1], lambda tensor: tensor
    ):
        out = forward(x)
    assert kept and all(quantised.is_packed(tensor) for tensor in kept), "no whole copy waits for backward"
    grad = torch.randn_like(out)
    out.backward(grad)
    assert torch.equal(out.detach(), functional.linear(x.detach(), near, layer.bias))
    assert torch.equal(x.grad, grad @ near)
    sizes = sum(part.nbytes for part in quantised.inner_tensors(layer.weight))
    assert sizes < (0.6 if kind != "nf4" else 0.35) * exact.nbytes


def test_layers_with_whole_weights_or_the_hosts_patches_keep_their_forward():
    layer = nn.Linear(64, 64)
    assert quantised.lean_forward(layer) is None
    layer.weight = nn.Parameter(layer.weight.detach().to(torch.float8_e4m3fn), requires_grad=False)
    assert quantised.lean_forward(layer) is not None
    layer.weight_function = [lambda weight: weight]
    assert quantised.lean_forward(layer) is None


def test_a_matrix_that_does_not_divide_into_blocks_stays_whole():
    pytest.importorskip("torchao")
    assert quantised.packed(torch.zeros(24, 40), "nf4") is None


WITHOUT = """
import sys
for name in ("torchao", "prodigyopt", "accelerate", "pyarrow"):
    sys.modules[name] = None
import torch
from torch import nn
from x2edit_core.errors import X2EditError
from x2edit_core.train import __main__, config, fused, loop, memory, moments, optim, quantised
from x2edit_core.train.config import OptimConfig
weight = nn.Parameter(torch.ones(8192))
for settings in (OptimConfig(), OptimConfig(state="bfloat16"), OptimConfig(name="muon")):
    optim.make_optimiser({"w": weight}, settings)
    memory.moments_of({"w": weight}, settings)
assert quantised.packed(torch.ones(64, 64), "fp8").dtype == torch.float8_e4m3fn
for call in (lambda: optim.make_optimiser({"w": weight}, OptimConfig(moments="8bit")),
             lambda: optim.make_optimiser({"w": weight}, OptimConfig(name="prodigy", rate=1.0)),
             lambda: quantised.packed(torch.ones(256, 256), "int8"),
             lambda: quantised.packed(torch.ones(256, 256), "nf4")):
    try:
        call()
    except X2EditError as error:
        print(error)
"""


def test_without_the_extras_all_else_runs_and_each_is_named_where_it_is_asked_for():
    done = subprocess.run([sys.executable, "-c", WITHOUT], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    told = done.stdout.strip().splitlines()
    assert len(told) == 4 and "prodigyopt" in told[1]
    assert all('".[train]"' in line and "torchao" in line for line in (told[0], *told[2:]))

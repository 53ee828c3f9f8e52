"""Counting memory: storages as they come and go, blocks put in between, optimisers' states, and the table."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from x2edit_core.train import memory
from x2edit_core.train.config import OptimConfig
from x2edit_core.train.optim import make_optimiser

MIB = 1 << 20


class Block(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.first, self.second = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        return x + self.second(torch.tanh(self.first(x)))


def test_a_ledger_counts_what_lives_and_what_lived_at_once():
    with memory.Ledger() as ledger:
        first = torch.zeros(MIB // 4)
        second = first + 1
        view = second[10:]
        assert ledger.held.total == 2 * MIB
        del first
        assert ledger.held.total == MIB
        del second
        assert ledger.held.total == MIB, "a view holds all of it"
        del view
        assert ledger.held.total == 0
    assert ledger.phases[0].fullest.total == 2 * MIB


def saved(call):
    """Bytes that autograd's own hooks are given, each storage once."""
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        value = call()
    del value
    return kept


def chain(first, second, device="meta", tokens=64):
    """Two kinds of blocks, and their loss."""
    blocks = [[Block(32, 128).to(device) for _ in range(first)], [Block(32, 48).to(device) for _ in range(second)]]
    x = torch.zeros(tokens, 32, device=device)

    def loss():
        value = x
        for block in [*blocks[0], *blocks[1]]:
            value = block(value)
        return value.square().mean()

    return blocks, loss


@pytest.mark.parametrize("freed", [False, True])
@pytest.mark.parametrize(("depth", "tokens"), [((5, 7), 64), ((3, 9), 16), ((6, 2), 1024), ((2, 2), 8)])
def test_blocks_that_were_not_run_are_counted_as_if_they_were(depth, tokens, freed):
    """The whole chain run, against three blocks of each kind and the rest put in between: to the byte."""
    whole, loss = chain(*depth, tokens=tokens)
    weights = [weight for kind in whole for block in kind for weight in block.parameters()]
    every = [memory.Blocks(kind, len(kind)) for kind in whole]
    expected = memory.fullest(loss, every, [], weights, freed_at_once=freed)
    short, loss = chain(*(min(memory.SAMPLED, count) for count in depth), tokens=tokens)
    weights = [weight for kind in short for block in kind for weight in block.parameters()]
    found = memory.fullest(
        loss, [memory.Blocks(*pair) for pair in zip(short, depth, strict=True)], [], weights, freed_at_once=freed
    )
    assert found.total == pytest.approx(expected.total, rel=0.01)


def test_what_is_counted_without_values_is_what_autograd_keeps():
    """On other numbers of blocks and tokens than are counted, by hooks of autograd's own on a CPU."""
    blocks, loss = chain(5, 4, device="cpu", tokens=200)
    parameters = [weight for kind in blocks for block in kind for weight in block.parameters()]
    kept = saved(loss)
    for weight in parameters:
        kept.pop(weight.untyped_storage().data_ptr(), None)
    short, loss = chain(3, 3, tokens=200)
    weights = [weight for kind in short for block in kind for weight in block.parameters()]
    found = memory.fullest(loss, [memory.Blocks(short[0], 5), memory.Blocks(short[1], 4)], [], weights)
    assert found.kept == pytest.approx(sum(kept.values()), rel=0.1)


@pytest.mark.parametrize(
    "config",
    [
        OptimConfig(),
        OptimConfig(state="bfloat16"),
        OptimConfig(name="muon"),
        OptimConfig(moments="8bit"),
        OptimConfig(name="prodigy", rate=1.0),
    ],
    ids=lambda config: f"{config.name}-{config.state}-{config.moments}",
)
def test_states_are_what_the_optimiser_makes_at_other_sizes(config):
    if config.moments == "8bit":
        pytest.importorskip("torchao")
    if config.name == "prodigy":
        pytest.importorskip("prodigyopt")
    dtype = getattr(torch, config.state)
    shapes = {"blocks.0.up": (3, 96, 256), "blocks.0.down": (320, 128), "table": (16, 300), "odd": (5, 7)}
    weights = {name: nn.Parameter(torch.zeros(shape, dtype=dtype)) for name, shape in shapes.items()}
    optimiser = make_optimiser(weights, config)
    for weight in weights.values():
        weight.grad = torch.ones_like(weight)
    optimiser.step()
    made = sum(
        memory.bytes_of(item) for item in memory.tree_leaves(optimiser.state_dict()) if isinstance(item, torch.Tensor)
    )
    empty = {name: weight.to("meta") for name, weight in weights.items()}
    assert memory.moments_of(empty, config).state == pytest.approx(made, rel=0.02, abs=64)


def plan(total, has, switches=()):
    held = memory.Held(kept=total - 300 * MIB, workspace=50 * MIB)
    return memory.Plan(
        memory.Footprint(100 * MIB, 50 * MIB, 100 * MIB, 0, held), "one sample", "cuda:0", has, has // 2, switches
    )


def test_the_table_adds_up_and_names_what_would_help_most():
    switches = [memory.Switch("a = 1", 700 * MIB), memory.Switch("b = 2", 500 * MIB), memory.Switch("c", 2000 * MIB)]
    lines = plan(1024 * MIB, 4096 * MIB, switches).lines()
    assert "1.00 GiB of the 4.00 GiB of cuda:0" in lines[0]
    needed = plan(1024 * MIB, 0).needed
    assert sum(needed.rows().values()) == needed.total == 1024 * MIB
    assert "most would be saved by b = 2: 0.49 GiB" in lines[-1]
    assert not any("Warning" in line for line in lines)


def test_a_run_that_does_not_fit_is_warned_of():
    assert "Warning" in plan(1024 * MIB, 900 * MIB).lines()[-1]
    assert not any("Warning" in line for line in plan(1024 * MIB, 0).lines()), "where nothing is known of the device"

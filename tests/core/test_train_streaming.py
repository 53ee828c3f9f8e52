"""Blocks that visit the device: the same gradients, with no more than two of them there at any time."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from x2edit_core.errors import X2EditError
from x2edit_core.train.streaming import BlockStream

COUNT, WIDTH = 5, 24


class Block(nn.Module):
    """Weights of two precisions, as a block with norms in another precision has them."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH, bias=False)
        self.norm = nn.RMSNorm(WIDTH).to(torch.float64)

    def forward(self, x):
        scale = self.norm.weight.to(x.dtype)
        return x + self.second(torch.nn.functional.gelu(self.first(x * scale)))


@pytest.fixture
def blocks():
    torch.manual_seed(0)
    made = [Block().requires_grad_(False) for _ in range(COUNT)]
    for block in made:
        nn.init.normal_(block.norm.weight)
    return made


def gradient(forwards, checkpointing, between=lambda: None):
    """The gradient of what goes in and of a parameter used between blocks."""
    source = torch.Generator().manual_seed(1)
    x = torch.randn(3, WIDTH, generator=source, requires_grad=True)
    scale = torch.ones(WIDTH, requires_grad=True)
    out = x
    for forward in forwards:
        out = (checkpoint(forward, out, use_reentrant=False) if checkpointing else forward(out)) * scale
    between()
    out.square().sum().backward()
    return out.detach(), x.grad, scale.grad


def streamed(blocks, checkpointing):
    stream = BlockStream(blocks, torch.device("cpu"))
    return stream, [stream.around(index, block.forward, checkpointing) for index, block in enumerate(blocks)]


@pytest.mark.parametrize("checkpointing", [False, True])
def test_streaming_changes_no_value_and_no_gradient(blocks, checkpointing):
    expected = gradient([block.forward for block in blocks], False)
    _, forwards = streamed(blocks, checkpointing)
    for _ in range(2):
        found = gradient(forwards, checkpointing)
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_at_most_two_blocks_are_on_the_device_and_nothing_holds_the_others(blocks, checkpointing):
    stream, forwards = streamed(blocks, checkpointing)
    visits: dict[int, weakref.ref] = {}
    alive = []

    def seen(index, forward):
        def call(x):
            result = forward(x)
            visits.update({number: weakref.ref(memory) for number, memory in stream.resident.items()})
            alive.append({number for number, visit in visits.items() if visit() is not None})
            assert all(weight.data_ptr() >= stream.resident[index].data_ptr() for weight in blocks[index].parameters())
            return result

        return call

    def between():
        assert {number for number, visit in visits.items() if visit() is not None} == {COUNT - 2, COUNT - 1}

    gradient([seen(index, forward) for index, forward in enumerate(forwards)], checkpointing, between)
    assert alive[:COUNT] == [{0, 1}, {1, 2}, {2, 3}, {3, 4}, {3, 4}]
    assert max(map(len, alive)) == 2
    assert set(stream.resident) == {0, 1}, "backward ends where the next step begins"


def test_a_step_fetches_each_block_at_most_twice(blocks):
    stream, forwards = streamed(blocks, False)
    gradient(forwards, False)
    fetched = []
    fetch = stream._fetch
    stream._fetch = lambda index: (fetched.append(index) if index not in stream.resident else None, fetch(index))[1]
    gradient(forwards, False)
    assert fetched == [2, 3, 4, 2, 1, 0]


def test_afterwards_all_weights_are_in_host_memory_as_they_were(blocks):
    before = [{name: weight.clone() for name, weight in block.named_parameters()} for block in blocks]
    stream, forwards = streamed(blocks, False)
    at_rest = [weight.data_ptr() for block in blocks for weight in block.parameters()]
    with pytest.raises(RuntimeError, match="stop"), stream.session():
        forwards[2](torch.randn(3, WIDTH))
        assert [weight.data_ptr() for block in blocks for weight in block.parameters()] != at_rest
        raise RuntimeError("stop")
    assert not stream.resident
    assert [weight.data_ptr() for block in blocks for weight in block.parameters()] == at_rest
    for block, weights in zip(blocks, before, strict=True):
        assert all(torch.equal(weight, weights[name]) for name, weight in block.named_parameters())


def test_weights_that_learn_are_refused(blocks):
    blocks[1].first.weight.requires_grad_(True)
    with pytest.raises(X2EditError, match="frozen base"):
        BlockStream(blocks, torch.device("cpu"))

"""Attachment is scoped: inside, the experts act; outside, the model is what it was, by value and by identity."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from x2edit_core.adapters.adapter import Adapter
from x2edit_core.adapters.attach import Attachment, attached, bind, find_module, site_swaps, swapped
from x2edit_core.errors import ModelMismatchError, X2EditError
from x2edit_core.families import FLUX1
from x2edit_core.families.flux1 import FluxShape
from x2edit_core.tasks import Task, TaskBatch, TaskChoice

from .models import SHAPE, naive_delta, random_adapter


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)


class Double(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.img_attn = Attention(width)


class Single(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear1 = nn.Linear(width, 7 * width)


class Skeleton(nn.Module):
    """The modules of a FLUX that the site table names, and a forward that passes through all of them."""

    def __init__(self, shape=SHAPE):
        super().__init__()
        self.double_blocks = nn.ModuleList(Double(shape.hidden) for _ in range(shape.double))
        self.single_blocks = nn.ModuleList(Single(shape.hidden) for _ in range(shape.single))

    def forward(self, x):
        for block in self.double_blocks:
            q, k, v = block.img_attn.qkv(x).chunk(3, dim=-1)
            x = block.img_attn.proj(q * k + v)
        for block in self.single_blocks:
            x = block.linear1(x).unflatten(-1, (7, -1)).tanh().sum(-2)
        return x


def naive(model, x, adapters):
    """The same forward with each adapter's delta from the loop over experts; adapters = [(adapter, task row, strength)]."""

    def deltas(index, read):
        total = 0.0
        for adapter, task, strength in adapters:
            delta = adapter.delta(index)
            rows = task.repeat_interleave(read.shape[1], dim=0)
            parts = naive_delta(delta, read.flatten(0, 1), rows, strength)
            total = total + torch.cat(parts, dim=1).view(*read.shape[:2], -1)
        return total

    index = 0
    for block in model.double_blocks:
        q, k, v = (block.img_attn.qkv(x) + deltas(index, x)).chunk(3, dim=-1)
        out = block.img_attn.proj(q * k + v)
        x = out + deltas(index + 1, out)
        index += 2
    for block in model.single_blocks:
        out = block.linear1(x).clone()
        out[..., : 3 * SHAPE.hidden] += deltas(index, x)
        x = out.unflatten(-1, (7, -1)).tanh().sum(-2)
        index += 1
    return x


def tasks(*names):
    return TaskBatch(tuple(TaskChoice(Task.from_name(name)) for name in names))


@pytest.fixture
def model():
    return Skeleton().double()


@pytest.fixture
def adapter():
    return random_adapter(dtype=torch.float64)


def table(adapter, batch, rows):
    return adapter.task_embeddings(batch.entries)[list(batch.row_entries(rows, 1))]


@torch.no_grad()
def test_equals_the_naive_forward_with_a_task_per_row(model, adapter):
    x, batch = torch.randn(3, 4, 16, dtype=torch.float64), tasks("add", "style")
    with attached(model, [Attachment(adapter, batch, 0.8)], rows=3):
        found = model(x)
    expected = naive(model, x, [(adapter, table(adapter, batch, 3), 0.8)])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_two_adapters_add_up_whatever_their_order(model, adapter):
    other = random_adapter(experts=4, dtype=torch.float64)
    x, one, two = torch.randn(2, 4, 16, dtype=torch.float64), tasks("add"), tasks("text")
    stack = [Attachment(adapter, one, 1.0), Attachment(other, two, -0.5)]
    with attached(model, stack, rows=2):
        found = model(x)
    with attached(model, stack[::-1], rows=2):
        turned = model(x)
    expected = naive(model, x, [(adapter, table(adapter, one, 2), 1.0), (other, table(other, two, 2), -0.5)])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(turned, expected, rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_blended_task_uses_the_mixed_row(model, adapter):
    x = torch.randn(1, 4, 16, dtype=torch.float64)
    choice = TaskChoice(Task.ADD, Task.STYLE, 0.25)
    with attached(model, [Attachment(adapter, TaskBatch.of(choice))], rows=1):
        found = model(x)
    mixed = 0.75 * adapter.task_table[2] + 0.25 * adapter.task_table[3]
    torch.testing.assert_close(found, naive(model, x, [(adapter, mixed[None], 1.0)]), rtol=1e-12, atol=1e-12)


def forwards(model):
    return {name: part.__dict__.get("forward") for name, part in model.named_modules()}


@torch.no_grad()
def test_nothing_remains_after_an_exception_inside(model, adapter):
    x = torch.randn(1, 4, 16, dtype=torch.float64)
    before, outside = forwards(model), model(x)
    with pytest.raises(KeyboardInterrupt), attached(model, [Attachment(adapter, tasks("add"))], rows=1):
        assert not torch.equal(model(x), outside)
        raise KeyboardInterrupt
    assert forwards(model) == before and all(value is None for value in before.values())
    assert torch.equal(model(x), outside)


@torch.no_grad()
def test_another_tools_forward_is_kept_inside_and_given_back(model, adapter):
    """A bypass LoRA sets an instance `forward`; ours calls it and leaves it in place."""
    qkv = model.double_blocks[0].img_attn.qkv
    original = qkv.forward

    def doubled(x):
        return 2 * original(x)

    qkv.forward = doubled
    x = torch.randn(1, 4, 16, dtype=torch.float64)
    with attached(model, [Attachment(adapter, tasks("add"))], rows=1):
        found = qkv(x)
    delta = naive_delta(adapter.delta(0), x[0], table(adapter, tasks("add"), 1).expand(4, -1))
    torch.testing.assert_close(found[0], 2 * original(x)[0] + torch.cat(delta, 1), rtol=1e-12, atol=1e-12)
    assert qkv.__dict__["forward"] is doubled


@torch.no_grad()
def test_scopes_nest(model, adapter):
    x = torch.randn(1, 4, 16, dtype=torch.float64)
    attachment = Attachment(adapter, tasks("add"))
    with attached(model, [attachment], rows=1):
        once = model(x)
        with attached(model, [attachment], rows=1):
            assert not torch.equal(model(x), once)
        assert torch.equal(model(x), once)


def test_a_failure_while_attaching_leaves_nothing(model):
    first = model.double_blocks[0]
    with pytest.raises(AttributeError), swapped([(first, lambda x: x), (object(), lambda x: x)]):
        pass
    assert "forward" not in first.__dict__


def test_swaps_of_one_module_are_undone_in_the_reverse_order():
    """Two scopes' worth of swaps in one: what was there first comes back, whether it was an attribute or not."""
    bare, patched = nn.Linear(2, 2), nn.Linear(2, 2)
    patched.forward = kept = lambda x: x
    with swapped([(part, forward) for forward in (torch.neg, torch.abs) for part in (bare, patched)]):
        assert bare.forward is torch.abs and patched.forward is torch.abs
    assert "forward" not in bare.__dict__ and patched.__dict__["forward"] is kept


@torch.no_grad()
@pytest.mark.parametrize(("rows", "chunks", "entries"), [(6, 2, [0, 1, 0, 0, 1, 0]), (6, 1, [0, 1, 0, 1, 0, 1])])
def test_halves_of_guidance_hold_the_same_pictures(model, adapter, rows, chunks, entries):
    """Three pictures with two tasks: in the second half the count begins anew."""
    x, batch = torch.randn(rows, 2, 16, dtype=torch.float64), tasks("add", "style")
    with attached(model, [Attachment(adapter, batch)], rows=rows, chunks=chunks):
        found = model(x)
    by_row = adapter.task_embeddings(batch.entries)[entries]
    torch.testing.assert_close(found, naive(model, x, [(adapter, by_row, 1.0)]), rtol=1e-12, atol=1e-12)


def test_gradients_reach_the_adapter_and_equal_the_naive_ones(model, adapter):
    adapter.requires_grad_(True)
    model.requires_grad_(False)
    x, batch = torch.randn(2, 3, 16, dtype=torch.float64), tasks("add", "style")
    with attached(model, [Attachment(adapter, batch)], rows=2):
        found = torch.autograd.grad(model(x).square().sum(), list(adapter.parameters()))
    reference = naive(model, x, [(adapter, table(adapter, batch, 2), 1.0)])
    expected = torch.autograd.grad(reference.square().sum(), list(adapter.parameters()))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


@torch.no_grad()
def test_observer_sees_every_gate(model, adapter):
    seen = {}
    attachment = Attachment(adapter, tasks("add"))
    rows = torch.zeros(2, dtype=torch.long)
    bound = bind(attachment, attachment.task_biases(), rows, lambda path, gate: seen.setdefault(path, gate))
    with swapped(site_swaps(model, [bound])):
        model(torch.randn(2, 4, 16, dtype=torch.float64))
    assert set(seen) == {site.module for site in adapter.sites}
    assert seen["double_blocks.0.img_attn.qkv"].shape == (2, 4, 3, 5)
    assert seen["double_blocks.0.img_attn.proj"].shape == (2, 4, 1, 5)


def test_a_model_without_the_layer_is_named(adapter):
    with pytest.raises(ModelMismatchError, match=r"double_blocks\.0"):
        find_module(nn.Linear(2, 2), "double_blocks.0.img_attn.qkv")
    with pytest.raises(ModelMismatchError, match="hidden 16"):
        adapter.require_fit(FLUX1, FluxShape(3072, 19, 38))


def test_an_adapter_without_table_has_no_tasks(adapter):
    plain = Adapter(adapter.spec, [adapter.delta(i) for i in range(len(adapter.sites))], None, "plain")
    with pytest.raises(X2EditError, match="no task table"):
        plain.task_embeddings(tasks("add").entries)


def test_layers_are_found_through_the_shell_of_a_compiled_module(model):
    """torch.compile puts a module into `_orig_mod` of another, the blocks' as well as a layer's."""
    wanted = model.double_blocks[0].img_attn.qkv

    class Shell(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self._orig_mod = inner

    model.double_blocks[0].img_attn.qkv = Shell(wanted)
    model.double_blocks[0] = Shell(model.double_blocks[0])
    assert find_module(Shell(model), "double_blocks.0.img_attn.qkv") is wanted


@torch.no_grad()
def test_an_adapter_without_tasks_serves_every_row_alike(model):
    adapter = random_adapter(dtype=torch.float64)
    deltas = [adapter.delta(index) for index in range(len(adapter.sites))]
    for delta in deltas:
        delta.task_gate = None
    attachment = Attachment(Adapter(adapter.spec, deltas, None, "plain"))
    assert attachment.task_biases() == [None] * 4 and attachment.entry_rows(3, 1) == (0, 0, 0)
    x = torch.randn(3, 4, 16, dtype=torch.float64)
    with attached(model, [attachment], rows=3):
        found = model(x)
    with attached(model, [attachment], rows=1):
        alone = model(x[1:2])
    torch.testing.assert_close(found[1:2], alone, rtol=1e-12, atol=1e-12)

"""The picture's attention equals IP-Adapter's on recorded data, and joins a model for one pass at the right tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from x2edit_core.adapters.attach import swapped
from x2edit_core.adapters.decoupled import (
    StreamAt,
    StreamPass,
    TokenPlan,
    attend,
    heads_of,
    image_attention,
    require_strength,
    stream_swaps,
)
from x2edit_core.errors import ModelMismatchError, X2EditError
from x2edit_core.families import FLUX1
from x2edit_core.families.flux1 import FluxShape, attention_sites

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "decoupled"
CASES = json.loads((GOLDEN / "cases.json").read_text())
BOUND = 1e-6


@pytest.fixture(scope="module")
def io():
    return load_file(GOLDEN / "io.safetensors")


def largest(found, expected):
    return float((found - expected).abs().max())


@pytest.mark.parametrize("scale", CASES["sd"]["scales"])
def test_equals_ip_adapters_processor(io, scale):
    """Its text attention by torch, ours beside it: to_out(Attn(q, text) + λ · Attn(q, image))."""
    case = {key.removeprefix("sd."): value for key, value in io.items() if key.startswith("sd.")}
    width = case["x"].shape[-1] // CASES["sd"]["heads"]
    query, keys, values = (
        heads_of(functional.linear(case[name], case[f"to_{letter}"]), width)
        for name, letter in (("x", "q"), ("text", "k"), ("text", "v"))
    )
    both = attend(query, keys, values) + scale * image_attention(query, case["image"], case["to_k_ip"], case["to_v_ip"])
    found = functional.linear(both, case["to_out"], case["to_out_bias"])
    assert largest(found, case[f"out.{scale}"]) <= BOUND


def test_equals_instantx_processor_on_flux(io):
    case = {key.removeprefix("flux."): value for key, value in io.items() if key.startswith("flux.")}
    found = image_attention(case["query"], case["image"], case["to_k_ip"], case["to_v_ip"], norm="instantx")
    assert found.shape == case["out"].shape
    assert largest(CASES["flux"]["scale"] * found, case["out"]) <= BOUND


def test_the_formula_written_plainly():
    """Token by token, head by head, in float64."""
    torch.manual_seed(0)
    query, image = torch.randn(2, 3, 4, 8, dtype=torch.float64), torch.randn(2, 5, 6, dtype=torch.float64)
    to_k, to_v = (torch.randn(24, 6, dtype=torch.float64) for _ in range(2))
    found = image_attention(query, image, to_k, to_v, "instantx")
    for row, head, place in torch.cartesian_prod(*(torch.arange(size) for size in (2, 3, 4))).tolist():
        part = slice(8 * head, 8 * head + 8)
        keys, values = (torch.stack([_rms(weight[part] @ token) for token in image[row]]) for weight in (to_k, to_v))
        share = torch.softmax(keys @ query[row, head, place] / 8**0.5, 0)
        torch.testing.assert_close(found[row, place, part], share @ values, rtol=1e-12, atol=1e-12)


def _rms(vector):
    return vector / (vector.square().mean() + 1e-5).sqrt()


SHAPE = FluxShape(hidden=16, double=2, single=2)
HEADS, WIDTH, TEXT, TARGET, REFERENCE = 2, 8, 3, 4, 2


class Norm(nn.Module):
    def forward(self, q, k, v):
        return q / (1 + q.square().mean(-1, keepdim=True)), k


class Attention(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.qkv, self.norm, self.proj = nn.Linear(hidden, 3 * hidden), Norm(), nn.Linear(hidden, hidden)


def _split(x):
    return (part.unflatten(-1, (HEADS, WIDTH)).transpose(1, 2) for part in x.chunk(3, -1))


class Double(nn.Module):
    """A block whose picture tokens are touched alone; `add` is what a plain reading puts on the attention's output."""

    def __init__(self, hidden):
        super().__init__()
        self.img_attn = Attention(hidden)

    def forward(self, img, txt, add=None, after=None):
        q, k, v = _split(self.img_attn.qkv(img))
        q, k = self.img_attn.norm(q, k, v)
        attended = attend(q, k, v)
        attended = attended if add is None else attended + add(q)
        img = img + self.img_attn.proj(attended)
        return (img if after is None else img + after(q)), txt * 0.9


class Single(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.linear1, self.norm, self.linear2 = nn.Linear(hidden, 5 * hidden), Norm(), nn.Linear(3 * hidden, hidden)

    def forward(self, x, add=None):
        both = self.linear1(x)
        q, k, v = _split(both[..., : 3 * x.shape[-1]])
        q, k = self.norm(q, k, v)
        attended = attend(q, k, v)
        attended = attended if add is None else attended + add(q)
        return x + self.linear2(torch.cat((attended, both[..., 3 * x.shape[-1] :].tanh()), -1))


class Skeleton(nn.Module):
    def __init__(self):
        super().__init__()
        self.double_blocks = nn.ModuleList(Double(SHAPE.hidden) for _ in range(SHAPE.double))
        self.single_blocks = nn.ModuleList(Single(SHAPE.hidden) for _ in range(SHAPE.single))

    def forward(self, img, txt, adds=None, afters=None):
        adds, afters = adds or {}, afters or {}
        for index, block in enumerate(self.double_blocks):
            img, txt = block(img, txt, adds.get(f"double_blocks.{index}"), afters.get(f"double_blocks.{index}"))
        x = torch.cat((txt, img), 1)
        for index, block in enumerate(self.single_blocks):
            x = block(x, adds.get(f"single_blocks.{index}"))
        return x


@pytest.fixture
def model():
    torch.manual_seed(1)
    return Skeleton().double().requires_grad_(False)


@pytest.fixture
def tokens():
    torch.manual_seed(2)
    return (
        torch.randn(2, TARGET + REFERENCE, 16, dtype=torch.float64),
        torch.randn(2, TEXT, 16, dtype=torch.float64),
    )


def states(entries=1, count=5, seed=3):
    generator = torch.Generator().manual_seed(seed)
    shape = (len(attention_sites(SHAPE)), entries, HEADS, count, WIDTH)
    return tuple(torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))


def streams(pair, strength=0.7, **options):
    keys, values = pair
    return [
        StreamAt(site, keys[index], values[index], strength, **options)
        for index, site in enumerate(attention_sites(SHAPE))
    ]


def run(model, tokens, found, state=None):
    state = state or StreamPass(TokenPlan(TARGET, TARGET + REFERENCE))
    with swapped(stream_swaps(model, found, attention_sites(SHAPE), state)):
        return model(*tokens)


def plain(pairs, text=False, rows=None, area=None):
    """For each block a function that gives what is added to its attention's output, written plainly."""

    def of(site, index):
        def add(q):
            total = torch.zeros(q.shape[0], q.shape[2], HEADS * WIDTH, dtype=q.dtype)
            first = 0 if site.stream == "image" else TEXT
            touched = range(0 if text else first, first + TARGET)
            for (keys, values), strength in pairs:
                for row in range(q.shape[0]):
                    entry = 0 if rows is None else rows[row]
                    for place in touched:
                        share = 1.0 if area is None else float(area[row % len(area), place - first])
                        for head in range(HEADS):
                            weights = torch.softmax(keys[index, entry, head] @ q[row, head, place] / WIDTH**0.5, 0)
                            part = slice(head * WIDTH, head * WIDTH + WIDTH)
                            total[row, place, part] += strength * share * (weights @ values[index, entry, head])
            return total

        return add

    return {site.block: of(site, index) for index, site in enumerate(attention_sites(SHAPE))}


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


@torch.no_grad()
@pytest.mark.parametrize("text", [False, True])
def test_a_stream_joins_every_attention_at_the_edits_tokens(model, tokens, text):
    pair = states()
    found = run(model, tokens, streams(pair, text=text))
    close(found, model(*tokens, plain([(pair, 0.7)], text=text)))
    assert not torch.allclose(found, model(*tokens), rtol=1e-3)


@torch.no_grad()
def test_several_streams_add_up_whatever_their_order(model, tokens):
    one, two = states(), states(count=3, seed=4)
    found = run(model, tokens, streams(one) + streams(two, -0.4))
    close(found, model(*tokens, plain([(one, 0.7), (two, -0.4)])))
    close(run(model, tokens, streams(two, -0.4) + streams(one)), found)


@torch.no_grad()
def test_rows_take_their_own_picture(model, tokens):
    pair = states(entries=2)
    found = run(model, tokens, streams(pair, rows=torch.tensor([1, 0])))
    close(found, model(*tokens, plain([(pair, 0.7)], rows=[1, 0])))


@torch.no_grad()
@pytest.mark.parametrize("rows", [1, 2])
def test_an_area_weighs_tokens_and_spares_the_text(model, tokens, rows):
    area, pair = torch.rand(rows, TARGET, dtype=torch.float64), states()
    found = run(model, tokens, streams(pair, area=area, text=True))
    close(found, model(*tokens, plain([(pair, 0.7)], area=area)))


@torch.no_grad()
def test_reference_tokens_are_untouched_until_they_read_the_edit(model, tokens):
    """In the first block nothing of a reference's own row changes."""
    seen = []
    hook = model.double_blocks[0].register_forward_hook(lambda _, __, out: seen.append(out[0]))
    run(model, tokens, streams(states()))
    model(*tokens)
    hook.remove()
    assert torch.equal(seen[0][:, TARGET:], seen[1][:, TARGET:])
    assert not torch.equal(seen[0][:, :TARGET], seen[1][:, :TARGET])


@torch.no_grad()
def test_a_blocks_own_sink_lies_behind_it(model, tokens):
    pair = states()
    double = [item for item in streams(pair, sink="block") if item.site.stream == "image"]
    afters = {block: add for block, add in plain([(pair, 0.7)]).items() if block.startswith("double")}
    close(run(model, tokens, double), model(*tokens, afters=afters))


@torch.no_grad()
def test_both_sinks_at_one_site(model, tokens):
    one, two = states(), states(seed=5)
    mixed = streams(one) + [item for item in streams(two, 0.3, sink="block") if item.site.stream == "image"]
    afters = {block: add for block, add in plain([(two, 0.3)]).items() if block.startswith("double")}
    close(run(model, tokens, mixed), model(*tokens, plain([(one, 0.7)]), afters))


@torch.no_grad()
def test_watching_alone_changes_no_bit_and_sees_every_block(model, tokens):
    state = StreamPass(TokenPlan(TARGET, TARGET + REFERENCE))
    assert torch.equal(run(model, tokens, [], state), model(*tokens))
    assert state.done == {site.block for site in attention_sites(SHAPE)}
    state.require_taken()


@torch.no_grad()
def test_nothing_remains_after_an_exception_inside(model, tokens):
    before = {name: dict(part.__dict__) for name, part in model.named_modules()}
    plainly = model(*tokens)
    state = StreamPass(TokenPlan(TARGET, TARGET + REFERENCE))
    swaps = stream_swaps(
        model, streams(states(), sink="block")[:2] + streams(states())[2:], attention_sites(SHAPE), state
    )
    with pytest.raises(KeyboardInterrupt), swapped(swaps):
        model.double_blocks[0](*tokens)
        raise KeyboardInterrupt
    after = {name: part.__dict__ for name, part in model.named_modules()}
    assert all(after[name].keys() == parts.keys() for name, parts in before.items())
    assert torch.equal(model(*tokens), plainly)


def test_what_is_added_to_is_not_written_into(model, tokens):
    """Another tool may keep the tensor that it hands on."""
    kept = torch.randn(2, TARGET + REFERENCE, 16, dtype=torch.float64)
    state = StreamPass(TokenPlan(TARGET, TARGET + REFERENCE))
    before = kept.clone()
    out = state.added(
        streams(states())[:1], torch.randn(2, HEADS, TARGET + REFERENCE, WIDTH, dtype=torch.float64), kept
    )
    assert torch.equal(kept, before) and not torch.equal(out, before)


def test_gradients_reach_keys_and_values(model, tokens):
    keys, values = (tensor.requires_grad_() for tensor in states())
    found = torch.autograd.grad(run(model, tokens, streams((keys, values))).square().sum(), (keys, values))
    expected = torch.autograd.grad(model(*tokens, plain([((keys, values), 0.7)])).square().sum(), (keys, values))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_tokens_that_are_not_this_passs_are_an_error(model, tokens):
    state = StreamPass(TokenPlan(TARGET, TARGET + REFERENCE + 1))
    with pytest.raises(ModelMismatchError, match=r"double_blocks\.0 holds 6 tokens where 7"):
        run(model, tokens, streams(states()), state)


def test_a_block_without_the_norm_is_an_error():
    state = StreamPass(TokenPlan(TARGET, TARGET))
    with pytest.raises(ModelMismatchError, match=r"double_blocks\.1 .*img_attn\.norm"):
        state.take(attention_sites(SHAPE)[1])


def test_a_block_that_leaves_the_sink_out_is_an_error():
    state = StreamPass(TokenPlan(TARGET, TARGET))
    state.keep(attention_sites(SHAPE)[2], torch.zeros(1))
    with pytest.raises(ModelMismatchError, match=r"single_blocks\.0 never runs"):
        state.require_taken()


def test_the_table_of_flux_has_every_attention_once():
    sites = attention_sites(FluxShape(3072, 19, 38))
    assert len(sites) == 57 == len({site.sink for site in sites})
    assert FLUX1.shape is FluxShape
    assert [site.stream for site in sites] == ["image"] * 19 + ["all"] * 38


@pytest.mark.parametrize(("given", "word"), [((1.0, 0.6, 0.5), "lies after"), ((float("nan"), 0.0, 1.0), "no number")])
def test_what_could_never_act_is_refused(given, word):
    with pytest.raises(X2EditError, match=word):
        require_strength(*given)

"""What only FLUX.2 has: references in the host's own two ways, wide layers, texts filled from the front, its schedule."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from . import flux2_tiny
from .graphs import golden_adapter, golden_models, relative_error, velocity

CASE = flux2_tiny.case()


@pytest.fixture(scope="module")
def base(pack):
    return flux2_tiny.load_base(pack)


@pytest.fixture(scope="module")
def adapter(pack):
    return flux2_tiny.load_adapter(pack)


@pytest.fixture(scope="module")
def clean(pack):
    """An adapter that was trained with clean references."""
    return flux2_tiny.load_adapter(pack, "flux2 clean", references="index_timestep_zero")


def apply(pack, base, adapter, task="style", **inputs):
    (choice,) = pack.run("X2EditTask", task=task)
    return pack.run("X2EditApply", model=base, adapter=adapter, task=choice, **inputs)[0]


def shown(pack, case=CASE, rows=slice(None), method=None):
    """The text with one reference, of ours or, given a method, of the host's own nodes."""
    plain = [[case["context"][rows], {}]]
    if method:
        return [[plain[0][0], {"reference_latents": [case["ref"][rows]], "reference_latents_method": method}]]
    return pack.core("comfy_bridge.pictures").add_reference(plain, case["ref"][rows])


def test_the_stock_loader_finds_a_flux2_and_the_pack_its_places(pack, base):
    import comfy.model_base

    families = pack.core("families")
    network = base.model.diffusion_model
    assert type(base.model) is comfy.model_base.Flux2 and families.family_of(network) is families.FLUX2
    shape = families.FLUX2.shape_of(network)
    assert (shape.hidden, shape.double, shape.single) == (128, 1, 2)
    wide = network.single_blocks[0].linear1
    assert wide.out_features == 9 * 128 and network.single_blocks[0].linear2.in_features == 4 * 128
    for site in families.FLUX2.sites("x2edit", shape):
        module = network.get_submodule(site.module)
        assert site.in_width == (module.out_features if site.side == "output" else module.in_features)
        assert [slot.start for slot in site.slots] == [128 * index for index in range(len(site.slots))]


def naive(delta, site, tokens, bias):
    """One site's addition, an expert and a token at a time, in float64."""
    out = torch.zeros(len(tokens), site.width * len(site.slots), dtype=torch.float64)
    for projection in range(len(site.slots)):
        parts = [tuple(part.double() for part in pair) for pair in delta.parts(projection)]
        gate, experts = delta.gate(projection).double(), parts[:-1]
        for index, token in enumerate(tokens.double()):
            logits = gate[:, : tokens.shape[1]] @ token + bias[projection]
            shares = torch.softmax(logits, 0)
            best = shares.topk(2)
            for weight, expert in zip(best.values, best.indices, strict=True):
                down, up = experts[int(expert)]
                out[index, projection * site.width : (projection + 1) * site.width] += weight * (up @ (down @ token))
            down, up = parts[-1]
            out[index, projection * site.width : (projection + 1) * site.width] += up @ (down @ token)
    return out


def test_a_routed_pass_is_the_naive_loop_over_tokens_and_experts(pack, base, adapter):
    """Every Linear with its additions computed one expert and one token at a time, in the place of the pack's own."""
    found = velocity(apply(pack, base, adapter), shown(pack), CASE["noise"], 0.7)
    held, tasks = adapter.adapter, pack.core("tasks")
    choice = tasks.TaskChoice(tasks.Task.STYLE)
    embedding = held.task_embeddings([choice])[0].double()
    network, calls = base.model.diffusion_model, []
    handles = []
    for index, site in enumerate(held.sites):
        delta = held.delta(index)
        bias = [delta.gate(p).double()[:, site.in_width :] @ embedding for p in range(len(site.slots))]

        def hook(module, args, out, site=site, delta=delta, bias=bias):
            read = args[0] if site.side == "input" else out
            added = naive(delta, site, read.flatten(0, 1), bias)
            calls.append(site.module)
            out = out.clone()
            out[..., : added.shape[1]] += added.view(*out.shape[:2], -1).to(out.dtype)
            return out

        handles.append(network.get_submodule(site.module).register_forward_hook(hook))
    try:
        expected = velocity(base, shown(pack, method="index"), CASE["noise"], 0.7)
    finally:
        for handle in handles:
            handle.remove()
    assert sorted(calls) == sorted(site.module for site in held.sites)
    assert relative_error(found, expected) < 1e-5
    assert relative_error(velocity(base, shown(pack), CASE["noise"], 0.7), expected) > 1e-2


@pytest.mark.parametrize(
    "method", ["index", pytest.param("index_timestep_zero", marks=pytest.mark.needs("clean references on FLUX.2"))]
)
def test_references_are_shown_as_the_hosts_own_method_does(pack, base, adapter, clean, method):
    ours = adapter if method == "index" else clean
    model = apply(pack, base, ours, end_percent=0.0)  # at rest, so that only the references act
    found = velocity(model, shown(pack), CASE["noise"], 0.7)
    assert torch.equal(found, velocity(base, shown(pack, method=method), CASE["noise"], 0.7))
    other = "index_timestep_zero" if method == "index" else "index"
    assert relative_error(velocity(base, shown(pack, method=other), CASE["noise"], 0.7), found) > 1e-3


@pytest.mark.needs("clean references on FLUX.2")
def test_clean_references_of_several_pictures_and_embedded_guidance(pack, clean):
    """dev embeds guidance; by then the host has twice as many times as guidances."""
    base = flux2_tiny.load_base(pack, "flux2_guided.safetensors", guidance=True)
    model, case = apply(pack, base, clean), flux2_tiny.case(rows=2)
    both = velocity(model, shown(pack, case), case["noise"], 0.8)
    for row in (0, 1):
        one = slice(row, row + 1)
        alone = velocity(model, shown(pack, case, one), case["noise"][one], 0.8)
        torch.testing.assert_close(both[one], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.needs("clean references on FLUX.2")
def test_references_of_two_ways_do_not_go_together(pack, base, adapter, clean):
    refused = pack.core("errors").X2EditError
    with pytest.raises(refused, match="different references"):
        apply(pack, apply(pack, base, adapter), clean)
    add = pack.core("comfy_bridge.pictures").add_reference
    with pytest.raises(refused, match=r"'index_timestep_zero'; FLUX\.2 places all of them in one way, here 'index'"):
        velocity(
            apply(pack, base, adapter), add(shown(pack, method="index_timestep_zero"), CASE["ref"]), CASE["noise"], 0.7
        )


def told(pack, caplog, part):
    return sum(part in record.getMessage() for record in caplog.records)


@pytest.mark.needs("clean references on FLUX.2")
@pytest.mark.parametrize(("kind", "count"), [("adapter", 0), ("clean", 1)])
def test_the_hosts_own_references_are_told_where_the_adapter_knows_others(pack, base, request, caplog, kind, count):
    pack.core("comfy_bridge.notices")._said.clear()
    velocity(apply(pack, base, request.getfixturevalue(kind)), shown(pack, method="index"), CASE["noise"], 0.7)
    assert told(pack, caplog, "the adapter was trained with") == count


def test_a_pass_without_any_reference_is_told(pack, base, adapter, caplog):
    pack.core("comfy_bridge.notices")._said.clear()
    velocity(apply(pack, base, adapter), [[CASE["context"], {}]], CASE["noise"], 0.7)
    assert told(pack, caplog, "no picture to edit") == 1


def test_adapters_of_other_families_and_sizes_are_refused_by_both_names(pack, base, adapter):
    refused = pack.core("errors").ModelMismatchError
    with pytest.raises(refused, match=r"made for a FLUX\.1 with .*; a FLUX\.2 with hidden 128, 1 double and 2 single"):
        apply(pack, base, golden_adapter(pack))
    with pytest.raises(refused, match=r"made for a FLUX\.2 with .*; a FLUX\.1 with"):
        apply(pack, golden_models(pack)[0], adapter)
    deeper = flux2_tiny.load_base(pack, "flux2_deeper.safetensors", single=3)
    with pytest.raises(refused, match=r"FLUX\.2 with hidden 128, 1 double and 2 single.*3 single"):
        apply(pack, deeper, adapter)
    with pytest.raises(pack.core("errors").X2EditError, match=r"on FLUX\.2 references stand in frames of their own"):
        apply(pack, base, adapter, reference_offset=64)


def test_a_reference_of_flux1s_autoencoder_is_refused_with_both_numbers(pack, base, adapter):
    positive = pack.core("comfy_bridge.pictures").add_reference([[CASE["context"], {}]], torch.zeros(1, 16, 8, 12))
    with pytest.raises(pack.core("errors").ModelMismatchError, match=r"have 16 channels, the model works on 128"):
        velocity(apply(pack, base, adapter), positive, CASE["noise"], 0.7)


def test_a_forward_that_leaves_references_out_is_refused_by_its_module(pack, base, adapter, monkeypatch):
    network = base.model.diffusion_model

    def _forward(x, timestep, context, y=None, guidance=None, ref_latents=None, control=None, transformer_options=None,
                 **kwargs):  # fmt: skip
        del ref_latents
        return type(network)._forward(
            network, x, timestep, context, y, guidance, None, control, transformer_options, **kwargs
        )

    monkeypatch.setitem(network.__dict__, "_forward", _forward)
    with pytest.raises(
        pack.core("errors").ModelMismatchError, match=r"replaced FLUX\.2's _forward \(by .*test_flux2\)"
    ):
        velocity(apply(pack, base, adapter), shown(pack), CASE["noise"], 0.7)


@pytest.mark.parametrize(
    ("steps", "width", "height"), [(4, 512, 512), (20, 1024, 1024), (50, 1392, 752), (7, 1600, 1600)]
)
def test_sigmas_are_those_of_the_hosts_own_scheduler(pack, base, steps, width, height):
    latent = {"samples": torch.zeros(1, 128, height // 16, width // 16)}
    (found,) = pack.run("X2EditSigmas", model=base, latent=latent, steps=steps)
    (expected,) = pack.run("Flux2Scheduler", steps=steps, width=width, height=height)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_a_shift_of_the_model_is_refused_with_the_node_that_can(pack, base):
    with pytest.raises(pack.core("errors").X2EditError, match=r"number of steps.*X2Edit Sigmas"):
        pack.run("X2EditShift", model=base, latent={"samples": torch.zeros(1, 128, 8, 8)})


@pytest.mark.parametrize(("stream", "block", "place"), [
    ("double", 0, "double_blocks.0.img_attn.qkv"), ("single", -1, "single_blocks.1.linear1"),
])  # fmt: skip
def test_routing_map_shows_target_and_reference(pack, base, adapter, stream, block, place):
    image, text = pack.run(
        "X2EditRoutingMap", model=apply(pack, base, adapter), conditioning=shown(pack), stream=stream, block=block,
        latent={"samples": CASE["noise"]}, projection="v",
    )  # fmt: skip
    assert image.shape[-1] == 3 and place in text


def test_texts_are_filled_as_the_host_fills_them(pack):
    filled = pack.core("comfy_bridge.families.flux2").filled
    assert torch.equal(filled(CASE["context"]), functional.pad(CASE["context"], (0, 0, 500, 0)))
    long = torch.randn(1, 600, 4)
    assert filled(long) is long or torch.equal(filled(long), long)


def test_the_file_says_its_family_and_its_references(pack, clean):
    spec = clean.adapter.spec
    assert (spec.family, spec.offsets, spec.notes) == ("flux2", (0, 0), {"references": "index_timestep_zero"})
    assert "FLUX.2 with hidden 128" in clean.adapter.describe()

"""Source pictures into the sequence and back: any size, any batch, any number, and whose references are whose."""

from __future__ import annotations

import pytest
import torch

from .graphs import (
    GOLDEN_MOE,
    conditioning,
    fill_conditioning,
    golden_adapter,
    golden_cases,
    golden_models,
    relative_error,
    velocity,
)

CASE = golden_cases("x2edit")[0]["tensors"]


@pytest.fixture(scope="module")
def models(pack):
    return golden_models(pack)


@pytest.fixture(scope="module")
def applied(pack, models):
    adapter = golden_adapter(pack)
    (task,) = pack.run("X2EditTask", task="style")
    return pack.run("X2EditApply", model=models[0], adapter=adapter, task=task)[0]


def text():
    return conditioning(CASE["context"], CASE["pooled"])


def reference(pack, models, image, conds=None, **inputs):
    return pack.run("X2EditReference", conditioning=conds or text(), vae=models[2], image=image, **inputs)


def sample(pack, model, positive, latent, steps=1):
    (done,) = pack.run(
        "KSampler", model=model, positive=positive, negative=positive, latent_image=latent, seed=3, steps=steps, cfg=1.0,
        sampler_name="euler", scheduler="simple", denoise=1.0,
    )  # fmt: skip
    return done


@pytest.mark.parametrize("shape", [(1, 40, 56, 3), (2, 33, 97, 3), (3, 64, 48, 4), (1, 17, 65, 1), (4, 96, 31, 3)])
def test_any_picture_comes_back_at_its_own_size(pack, models, applied, shape):
    image = torch.rand(*shape)
    positive, latent, layout = reference(pack, models, image, size="keep")
    done = sample(pack, applied, positive, latent)
    (decoded,) = pack.run("VAEDecode", samples=done, vae=models[2])
    result, _ = pack.run("X2EditRestore", image=decoded, layout=layout)
    assert result.shape == (*shape[:3], 3)
    assert result.isfinite().all()


@pytest.mark.parametrize(
    ("rule", "extra", "expected"),
    [
        ("1024 buckets", {}, (832 // 8, 1248 // 8)),
        ("512 buckets", {}, (416 // 8, 624 // 8)),
        ("keep", {}, (64 // 8, 96 // 8)),
        ("1024 buckets", {"width": 128, "height": 80}, (80 // 8, 128 // 8)),
        ("keep", {"width": 192}, (128 // 8, 192 // 8)),
    ],
)
def test_sizes(pack, models, rule, extra, expected):
    positive, latent, layout = reference(pack, models, torch.rand(1, 64, 96, 3), size=rule, **extra)
    assert latent["samples"].shape == (1, 16, *expected)
    assert not latent["samples"].any()
    assert positive[0][1]["reference_latents"][0].shape[-2:] == expected
    assert (layout.target.height // 8, layout.target.width // 8) == expected


def test_untouched_pixels_stay_in_place(pack, models):
    """Encoding, decoding and restoring a smooth picture moves nothing: no shift of even a quarter of a pixel."""
    ramp = torch.linspace(0.2, 0.8, 150)[None, None, :, None].expand(1, 100, 150, 3).contiguous()
    _, _, layout = reference(pack, models, ramp, size="keep")
    pixels = pack.core("pixels")
    squashed = pixels.resize(ramp, layout.target)
    result, _ = pack.run("X2EditRestore", image=squashed, layout=layout)
    assert (result - ramp)[:, 8:-8, 8:-8].abs().max() < 0.25 * 0.6 / 149


def test_a_mask_pastes_the_source_back_bit_for_bit(pack, models):
    source, edited = torch.rand(2, 50, 70, 3), torch.rand(2, 48, 64, 3)
    _, _, layout = reference(pack, models, source, size="keep")
    mask = torch.zeros(1, 50, 70)
    mask[:, 10:20, 30:50] = 1.0
    result, _ = pack.run("X2EditRestore", image=edited, layout=layout, source=source, mask=mask)
    whole, _ = pack.run("X2EditRestore", image=edited, layout=layout)
    outside = mask.expand(2, -1, -1) == 0
    assert torch.equal(result[outside], source[outside])
    assert torch.equal(result[~outside], whole[~outside])
    with pytest.raises(ValueError, match="connect `source`"):
        pack.run("X2EditRestore", image=edited, layout=layout, mask=mask)


def test_chained_references_of_different_sizes(pack, models, applied):
    one, two = torch.rand(1, 64, 48, 3), torch.rand(1, 32, 80, 3)
    first, latent, _ = reference(pack, models, one, size="keep")
    both, _, _ = reference(pack, models, two, first, size="keep")
    assert len(first[0][1]["reference_latents"]) == 1, "the connected conditioning is not written to"
    assert [item.shape[-2:] for item in both[0][1]["reference_latents"]] == [(8, 6), (4, 10)]
    single, double = (sample(pack, applied, conds, latent)["samples"] for conds in (first, both))
    assert double.shape == latent["samples"].shape
    assert not torch.allclose(single, double, rtol=1e-3)


def test_a_second_reference_stands_two_offsets_away(pack, models, applied):
    """Against the same pass with positions and modulation written out by hand for the host's FLUX."""
    flux, case = models[0].model.diffusion_model, golden_cases("x2edit")[1]["tensors"]
    out, add = models[0].model.process_latent_out, pack.core("comfy_bridge.pictures").add_reference
    other = case["ref"].flip(-1)[..., :8]
    positive = add(add(text(), out(case["ref"])), out(other))
    found = velocity(applied, positive, case["noise"], 0.6)
    swapped = add(add(text(), out(other)), out(case["ref"]))
    assert relative_error(velocity(applied, swapped, case["noise"], 0.6), found) > 1e-4, "order gives place"
    stack, attach, core = pack.core("comfy_bridge.stack"), pack.core("adapters.attach"), pack.core("reference")
    grids = [
        core.reference_grid(6, 10, 64, 3, torch.device("cpu")),
        core.reference_grid(6, 4, 128, 3, torch.device("cpu")),
    ]
    plan = core.plan_references(60, grids, (True, True))
    guidance, sigma = torch.tensor([3.5]), torch.tensor([0.6])
    with torch.inference_mode():
        clean = stack.clean_vector(flux, torch.float32, sigma, CASE["pooled"], guidance)
    entries = [
        pack.core("adapters.attach").Attachment(item.adapter, item.tasks)
        for item in applied.get_attachment("x2edit").attachments
    ]
    options = stack.with_placed_references({}, plan)
    with (
        torch.inference_mode(),
        attach.attached(flux, entries, 1),
        attach.swapped(stack.reference_swaps(flux, plan, clean)),
    ):
        expected = flux._forward(
            case["noise"], sigma, CASE["context"], CASE["pooled"], guidance, [case["ref"], other],
            transformer_options=options, ref_latents_method="x2edit",
        )  # fmt: skip
    assert relative_error(found, expected) < 1e-5


def test_references_of_other_nodes_keep_the_hosts_behaviour(pack, models, applied, caplog):
    """Only the experts differ from the bare model then; a reference of ours beside them is still ours."""
    pack.core("comfy_bridge.notices")._said.clear()
    (theirs,) = pack.run("ReferenceLatent", conditioning=text(), latent={"samples": torch.rand(1, 16, 8, 8)})
    (indexed,) = pack.run(
        "FluxKontextMultiReferenceLatentMethod", conditioning=theirs, reference_latents_method="index"
    )
    resting = applied.clone()
    stack = applied.get_attachment("x2edit")
    silent = type(stack)(
        tuple(pack.core("adapters.attach").Attachment(a.adapter, a.tasks, 1e-30) for a in stack.attachments)
    )
    resting = pack.core("comfy_bridge.models").with_stack(
        applied, silent, applied.get_additional_models_with_key("x2edit")
    )
    for positive in (theirs, indexed):
        assert relative_error(
            velocity(resting, positive, CASE["noise"], 0.5), velocity(models[0], positive, CASE["noise"], 0.5)
        ) < 1e-6  # fmt: skip
    assert sum("set by another node" in record.getMessage() for record in caplog.records) == 1


def test_a_mixed_chain_treats_each_reference_as_whose_it_is(pack, models, applied):
    image = torch.rand(1, 64, 64, 3)
    (theirs,) = pack.run("ReferenceLatent", conditioning=text(), latent={"samples": torch.rand(1, 16, 8, 8)})
    mixed, _, _ = reference(pack, models, image, theirs, size="keep")
    (later,) = pack.run("ReferenceLatent", conditioning=mixed, latent={"samples": torch.rand(1, 16, 4, 4)})
    method = later[0][1]["reference_latents_method"]
    assert method == "x2edit"
    assert pack.core("reference").ours(method, 3) == (False, True, False)
    assert velocity(applied, later, CASE["noise"], 0.5).isfinite().all()


def positions(model, positive, reference_tokens):
    """Position ids of the image tokens in one evaluation, those of the first row after the 8 × 8 target's."""
    seen, watched = [], model.clone()

    def watch(state):
        seen.append(state["img_ids"][0, -reference_tokens:].clone())
        return state

    watched.set_model_patch(watch, "post_input")
    out = velocity(watched, positive, CASE["noise"], 0.5)
    return seen[0], out


@pytest.mark.parametrize("method", ["index", "uxo/uno", "offset", "index_timestep_zero"])
def test_foreign_references_keep_their_method_beside_ours(pack, models, applied, method, caplog):
    """Before ours or after it, they stand where the bare model has them without ours; it is said once.

    Places by the last method are those of `index`; the host itself cannot run it on a FLUX.1.
    """
    pack.core("comfy_bridge.notices")._said.clear()
    latents = [{"samples": torch.rand(1, 16, 8, 8)}, {"samples": torch.rand(1, 16, 4, 12)}]

    def foreign(conds, latent):
        return pack.run("ReferenceLatent", conditioning=conds, latent=latent)[0]

    def by_method(conds, method=method):
        name = "FluxKontextMultiReferenceLatentMethod"
        return pack.run(name, conditioning=conds, reference_latents_method=method)[0]

    both = foreign(foreign(text(), latents[0]), latents[1])
    alone = by_method(both, method.removesuffix("_timestep_zero"))
    expected, _ = positions(models[0], alone, 16 + 12)
    image = torch.rand(1, 64, 64, 3)
    last = reference(pack, models, image, by_method(both), size="keep")[0]
    between = foreign(
        reference(pack, models, image, by_method(foreign(text(), latents[0])), size="keep")[0], latents[1]
    )
    outs = []
    for mixed in (last, between):
        found, out = positions(applied, mixed, 16 + 12 + 16)
        assert torch.equal(found[:28], expected)
        assert (found[28:, 0] == 0).all() and found[28:, 1].min() == 64, "ours, one offset away"
        outs.append(out)
    assert torch.equal(*outs) and outs[0].isfinite().all()
    assert sum("set by another node" in record.getMessage() for record in caplog.records) == 1


def test_a_method_that_cleans_references_cleans_the_foreign_ones(pack, models, applied):
    """Their modulation is the step's own by the one method and that of t = 0 by the other; places are equal."""
    outs = []
    for method in ("index", "index_timestep_zero"):
        (theirs,) = pack.run("ReferenceLatent", conditioning=text(), latent={"samples": torch.ones(1, 16, 8, 8)})
        (marked,) = pack.run(
            "FluxKontextMultiReferenceLatentMethod", conditioning=theirs, reference_latents_method=method
        )
        mixed, _, _ = reference(pack, models, torch.full((1, 64, 64, 3), 0.5), marked, size="keep")
        outs.append(velocity(applied, mixed, CASE["noise"], 0.5))
    assert relative_error(*outs) > 1e-4


def test_references_on_a_base_with_further_channels_are_refused_by_name(pack):
    fill = golden_models(pack, "fill")
    adapter = golden_adapter(pack)
    (model,) = pack.run("X2EditApply", model=fill[0], adapter=adapter)
    positive, latent, _ = pack.run(
        "X2EditReference", conditioning=text(), vae=fill[2], image=torch.rand(1, 64, 64, 3), size="keep"
    )
    with pytest.raises(ValueError, match=r"FLUX.1 Fill takes 96 channels.*text-to-image FLUX.*ICEdit Diptych"):
        sample(pack, model, positive, latent)


def test_routing_map_shows_every_patch_and_counts_them(pack, models, applied):
    positive, latent, _ = reference(pack, models, torch.rand(2, 64, 96, 3), size="keep")
    for stream, projection in (("double", "q"), ("double", "proj"), ("single", "v")):
        image, report = pack.run(
            "X2EditRoutingMap", model=applied, conditioning=positive, latent=latent, sigma=0.6, stream=stream, block=-1,
            projection=projection,
        )  # fmt: skip
        assert image.shape[0] == 2 and image.shape[1] >= 4 * 16 and image.shape[2] >= 2 * 6 * 16
        assert len(image.flatten(0, 2).unique(dim=0)) > 6, "several experts are at work"
        shares = [float(line.split()[2].rstrip("%")) for line in report.splitlines()[2:-1]]
        assert len(shares) == 12 and abs(sum(shares) - 200) < 1, "top 2 of 12: every patch is served twice"


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"stream": "single", "projection": "proj"}, "q, k and v only"),
        ({"stream": "double", "block": 7}, "1 double blocks"),
    ],
)
def test_routing_map_says_what_does_not_exist(pack, models, applied, inputs, message):
    positive, latent, _ = reference(pack, models, torch.rand(1, 64, 64, 3), size="keep")
    arguments = {"stream": "double", "block": -1, "projection": "q", **inputs}
    with pytest.raises(ValueError, match=message):
        pack.run("X2EditRoutingMap", model=applied, conditioning=positive, latent=latent, sigma=0.6, **arguments)
    with pytest.raises(ValueError, match="No X2Edit adapter"):
        pack.run("X2EditRoutingMap", model=models[0], conditioning=positive, latent=latent, sigma=0.6, **arguments)


def said_about_references(caplog):
    return sum("holds no reference" in record.getMessage() for record in caplog.records)


def test_an_edit_without_a_reference_is_said_once(pack, models, applied, caplog):
    notices = pack.core("comfy_bridge.notices")
    notices._said.clear()
    with_reference, _, _ = reference(pack, models, torch.rand(1, 64, 64, 3), size="keep")
    for negative in (with_reference, text()):
        velocity(applied, with_reference, CASE["noise"], 0.5, negative, cfg=2.0)
    velocity(models[0], text(), CASE["noise"], 0.5)
    (late,) = pack.run("X2EditApply", model=models[0], adapter=golden_adapter(pack), start_percent=0.9)
    velocity(late, text(), CASE["noise"], 0.9)
    (fill,) = golden_models(pack, "fill")[:1]
    icedit = pack.core("comfy_bridge.models").load_managed(GOLDEN_MOE)
    case = golden_cases("icedit_moe")[0]
    (filled,) = pack.run("X2EditApply", model=fill, adapter=icedit)
    velocity(filled, fill_conditioning(fill, case), case["tensors"]["noise"], 0.5)
    assert said_about_references(caplog) == 0
    for _ in range(2):
        velocity(applied, text(), CASE["noise"], 0.5)
    assert said_about_references(caplog) == 1
    notices._said.clear()
    velocity(applied, text(), CASE["noise"], 0.5, with_reference, cfg=2.0)
    assert said_about_references(caplog) == 2, "a reference at the negative alone edits nothing"

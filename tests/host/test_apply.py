"""X2EditApply leaves nothing behind, adds nothing at strength 0, and acts when it says it acts."""

from __future__ import annotations

import comfy.model_management
import comfy.samplers
import pytest
import torch

from .graphs import assert_untouched, golden_adapter, golden_models, state, velocity


@pytest.fixture(scope="module")
def base(golden):
    return golden.base()


@pytest.fixture(scope="module")
def adapter(golden):
    return golden.adapter()


@pytest.fixture
def positive(golden, base):
    return golden.positive(base)


@pytest.fixture(scope="module")
def apply(golden):
    return lambda pack, *models, **inputs: golden.apply(*models, **inputs)


@pytest.fixture(scope="module")
def run(golden):
    return golden.run


def test_strength_zero_is_the_model_itself_bit_for_bit(pack, base, adapter, positive, apply, run):
    assert torch.equal(run(apply(pack, base, adapter, strength=0.0), positive), run(base, positive))


def test_a_run_leaves_the_base_as_it_was(pack, base, adapter, positive, apply, run):
    alone, before = run(base, positive), state(base.model)
    patched = run(apply(pack, base, adapter), positive)
    assert_untouched(base.model, before)
    assert not torch.equal(patched, alone)
    assert torch.equal(run(base, positive), alone), "the unpatched model answers as if nothing had happened"


class Stop(Exception):
    pass


def test_an_exception_in_the_middle_of_a_step_leaves_the_base_as_it_was(
    pack, base, adapter, positive, apply, run, golden
):
    before = state(base.model)
    model = apply(pack, base, adapter).clone()
    inside = []

    def fail(args, extra):
        inside.append(base.model.diffusion_model.get_submodule(golden.routed[-1]).__dict__.get("forward"))
        raise Stop

    model.set_model_patch_replace(fail, "dit", *golden.last_block)
    with pytest.raises(Stop):
        run(model, positive)
    assert inside[0] is not None, "the experts were attached when the step failed"
    assert_untouched(base.model, before)


def test_an_interrupt_leaves_the_base_as_it_was(pack, base, adapter, positive, apply, golden):
    before = state(base.model)
    guider = comfy.samplers.CFGGuider(apply(pack, base, adapter))
    guider.set_conds(positive, positive)
    guider.set_cfg(1.0)
    steps = []

    def interrupt(step, *_):
        steps.append(step)
        comfy.model_management.interrupt_current_processing()
        comfy.model_management.throw_exception_if_processing_interrupted()

    sampler, sigmas = comfy.samplers.sampler_object("euler"), torch.linspace(1, 0, 6)
    with pytest.raises(comfy.model_management.InterruptProcessingException), torch.inference_mode():
        guider.sample(golden.noise, torch.zeros_like(golden.noise), sampler, sigmas, callback=interrupt)
    assert steps == [0]
    assert_untouched(base.model, before)


def test_the_connected_model_is_never_changed(pack, base, adapter, apply):
    options, wrappers = str(base.model_options), str(base.wrappers)
    apply(pack, base, adapter)
    assert (str(base.model_options), str(base.wrappers)) == (options, wrappers)
    assert not base.attachments and not base.additional_models


def test_a_missing_task_is_other_and_is_said(pack, base, adapter, positive, caplog, apply, run):
    pack.core("comfy_bridge.notices")._said.clear()
    (model,) = pack.run("X2EditApply", model=base, adapter=adapter)
    pack.run("X2EditApply", model=base, adapter=adapter)
    assert torch.equal(run(model, positive), run(apply(pack, base, adapter, task="other"), positive))
    assert sum("no task is connected" in record.getMessage() for record in caplog.records) == 1


def test_the_task_changes_the_edit(pack, base, adapter, positive, apply, run):
    assert not torch.equal(
        run(apply(pack, base, adapter, task="style"), positive), run(apply(pack, base, adapter, task="text"), positive)
    )


def test_percents_follow_a_shift_set_later(pack, base, adapter, positive, apply, run):
    """With a larger shift the middle of sampling lies at a larger sigma, although the shift comes after the adapter."""
    first_half = apply(pack, base, adapter, end_percent=0.5)
    (shifted,) = pack.run("ModelSamplingFlux", model=first_half, max_shift=3.0, base_shift=3.0, width=1024, height=1024)
    full = apply(pack, base, adapter)
    plain_middle = base.get_model_object("model_sampling").percent_to_sigma(0.5)
    shifted_middle = shifted.get_model_object("model_sampling").percent_to_sigma(0.5)
    between = (plain_middle + shifted_middle) / 2
    assert plain_middle < between < shifted_middle
    assert torch.equal(run(first_half, positive, between), run(full, positive, between))
    assert not torch.equal(run(shifted, positive, between), run(full, positive, between))


def test_outside_its_range_the_references_stay_in_place(pack, base, adapter, positive, apply, run, golden):
    """At rest the experts add nothing, yet the reference tokens keep their places and their t = 0 modulation."""
    resting = run(apply(pack, base, adapter, end_percent=0.1), positive, 0.3)
    experts = apply(pack, base, adapter, strength=1e-30)
    torch.testing.assert_close(resting, run(experts, positive, 0.3), rtol=1e-5, atol=1e-6)
    if golden.name == "flux1":  # Qwen-Image's one reference on an even grid stands where the host puts it
        assert not torch.allclose(resting, run(base, positive, 0.3), rtol=1e-3, atol=1e-3)


def test_a_reversed_range_is_refused(pack, base, adapter, apply):
    with pytest.raises(ValueError, match="lies after end_percent"):
        apply(pack, base, adapter, start_percent=0.6, end_percent=0.5)


def one_half_at_a_time(apply_model, args):
    """As nodes that save memory do: the halves in turn, with the options of both."""
    count = len(args["cond_or_uncond"])
    assert count == 2, "the host gave both halves at once"

    def half(value, index):
        if isinstance(value, torch.Tensor):
            return value.chunk(count)[index]
        return [half(item, index) for item in value] if isinstance(value, list) else value

    parts = [
        apply_model(*(half(args[name], index) for name in ("input", "timestep")),
                    **{name: half(value, index) for name, value in args["c"].items()})
        for index in range(count)
    ]  # fmt: skip
    return torch.cat(parts)


def test_both_halves_of_guidance_use_their_rows_task(pack, golden, base, adapter):
    """Two pictures with two tasks and cfg 2 equal each picture with its own task alone."""
    case, text = golden.pair()
    add = pack.core("comfy_bridge.pictures").add_reference
    out = base.model.process_latent_out
    other = torch.roll(case["context"], 1, 0)

    def conds(context, rows):
        return add(text(context, rows), out(case["ref"][rows]))

    tasks = [pack.run("X2EditTask", task=name)[0] for name in ("remove subject", "subject")]
    (batch,) = pack.run("X2EditTaskBatch", **{"tasks.task0": tasks[0], "tasks.task1": tasks[1]})
    (model,) = pack.run("X2EditApply", model=base, adapter=adapter, task=batch)
    both = slice(0, 2)
    halves = conds(case["context"], both), conds(other, both)
    together = velocity(model, halves[0], case["noise"], 0.8, halves[1], cfg=2.0)
    apart = model.clone()
    apart.set_model_unet_function_wrapper(one_half_at_a_time)
    separate = velocity(apart, halves[0], case["noise"], 0.8, halves[1], cfg=2.0)
    torch.testing.assert_close(separate, together, rtol=1e-4, atol=1e-5)
    for row, task in enumerate(tasks):
        (model,) = pack.run("X2EditApply", model=base, adapter=adapter, task=task)
        one = slice(row, row + 1)
        alone = velocity(model, conds(case["context"], one), case["noise"][one], 0.8, conds(other, one), cfg=2.0)
        torch.testing.assert_close(together[one], alone, rtol=1e-4, atol=1e-5)


def test_at_its_edges_a_range_is_the_hosts(pack, base, adapter, positive, apply, run):
    """A step that lies exactly on a border belongs to the range that begins there, not to the one that ends."""
    (plain,) = pack.run("ModelSamplingFlux", model=base, max_shift=0.0, base_shift=0.0, width=1024, height=1024)
    border = plain.get_model_object("model_sampling").percent_to_sigma(0.5)
    assert border == 0.5, "without a shift, so that no rounding decides"

    def found(**inputs):
        return run(apply(pack, plain, adapter, **inputs), positive, border)

    whole, resting = found(), found(end_percent=0.5)
    assert torch.equal(found(start_percent=0.5), whole)
    assert not torch.equal(resting, whole)
    assert torch.equal(resting, found(end_percent=0.1))


def test_three_pictures_with_two_tasks_use_them_alike_in_both_halves_of_guidance(pack, golden, base, adapter):
    """Six rows in one pass, in which a row's number alone would give the second half the tasks the other way round."""
    case, text = golden.pair()
    rows = [0, 1, 0]
    add = pack.core("comfy_bridge.pictures").add_reference
    reference = base.model.process_latent_out(case["ref"])

    def conds(context, rows):
        return add(text(context, rows), reference[rows])

    tasks = [pack.run("X2EditTask", task=name)[0] for name in ("remove subject", "subject")]
    (batch,) = pack.run("X2EditTaskBatch", **{"tasks.task0": tasks[0], "tasks.task1": tasks[1]})
    (model,) = pack.run("X2EditApply", model=base, adapter=adapter, task=batch)
    other = torch.roll(case["context"], 1, 0)
    together = velocity(model, conds(case["context"], rows), case["noise"][rows], 0.8, conds(other, rows), cfg=2.0)
    for place, (row, task) in enumerate(zip(rows, (tasks[0], tasks[1], tasks[0]), strict=True)):
        (model,) = pack.run("X2EditApply", model=base, adapter=adapter, task=task)
        alone = velocity(model, conds(case["context"], [row]), case["noise"][[row]], 0.8, conds(other, [row]), cfg=2.0)
        torch.testing.assert_close(together[place : place + 1], alone, rtol=1e-4, atol=1e-5)


def test_a_flux_of_another_size_is_refused_with_both_sizes(pack):
    (fill, *_) = golden_models(pack, "fill")
    other = golden_adapter(pack).adapter
    shape = pack.core("families.flux1").FluxShape
    mismatched = type(other)(
        pack.core("adapters.adapter").AdapterSpec("x2edit", shape(256, 1, 1), 12, 4, 2, 4.0, True),
        [other.delta(index) for index in range(3)], other.task_table, "three sites",
    )  # fmt: skip
    managed = pack.core("comfy_bridge.models").manage(mismatched)
    with pytest.raises(ValueError, match=r"1 double and 1 single.*1 double and 2 single"):
        pack.run("X2EditApply", model=fill, adapter=managed)


def flux2(host_config):
    import comfy.supported_models

    config = {
        "image_model": "flux2", "in_channels": 4, "out_channels": 4, "vec_in_dim": None, "context_in_dim": 32,
        "hidden_size": 64, "mlp_ratio": 3.0, "num_heads": 1, "depth": 1, "depth_single_blocks": 1,
        "axes_dim": [16, 16, 16, 16], "theta": 2000, "patch_size": 1, "qkv_bias": False, "guidance_embed": False,
        "txt_ids_dims": [3], "global_modulation": True, "mlp_silu_act": True, "ops_bias": False,
    }  # fmt: skip
    return comfy.supported_models.Flux2(config)


def stable_diffusion(host_config):
    import comfy.supported_models

    config = {
        "image_size": 8, "in_channels": 4, "out_channels": 4, "model_channels": 32, "num_res_blocks": [1, 1],
        "channel_mult": [1, 1], "transformer_depth": [0, 0], "transformer_depth_middle": 0,
        "transformer_depth_output": [0, 0, 0, 0], "num_heads": 1, "use_spatial_transformer": True, "context_dim": 32,
        "adm_in_channels": None, "use_linear_in_transformer": False, "use_temporal_attention": False,
    }  # fmt: skip
    return comfy.supported_models.SD15(config)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (flux2, r"made for a .*; a FLUX\.2 with hidden 64, 1 double and 1 single blocks is connected"),
        (stable_diffusion, r"FLUX\.1, Qwen-Image or FLUX\.2 models; a BaseModel"),
    ],
)
def test_other_model_families_are_told_apart(pack, adapter, make, word, run):
    import comfy.model_patcher

    config = make(None)
    config.manual_cast_dtype = None
    model = comfy.model_patcher.ModelPatcher(config.get_model({}, ""), torch.device("cpu"), torch.device("cpu"))
    with pytest.raises(ValueError, match=word):
        pack.run("X2EditApply", model=model, adapter=adapter)

"""Adapters, LoRAs and other patchers on one model: the sum of all, whatever their order."""

from __future__ import annotations

import copy

import folder_paths
import pytest
import torch
from safetensors.torch import save_file

from .graphs import golden_adapter, golden_models, relative_error, state


@pytest.fixture(scope="module")
def base(golden):
    return golden.base()


@pytest.fixture(scope="module")
def adapter(golden):
    return golden.adapter()


@pytest.fixture(scope="module")
def second_adapter(pack, adapter):
    """Another adapter for the same base: the embedded one with its experts in another order and other signs."""
    twin = copy.deepcopy(adapter.adapter)
    with torch.no_grad():
        for delta in twin.deltas:
            delta.up.mul_(-0.5)
            delta.down_gate.copy_(delta.down_gate.roll(1, dims=1))
    return pack.core("comfy_bridge.models").manage(twin)


@pytest.fixture(scope="module")
def lora(golden, base, tmp_path_factory):
    """A LoRA file over sites that our experts use too; returns its deltas by layer."""
    folder = tmp_path_factory.mktemp("loras")
    tensors, deltas = {}, {}
    modules = dict(base.model.diffusion_model.named_modules())
    for path in golden.lora_sites:
        out_width, in_width = modules[path].weight.shape
        down, up = torch.randn(4, in_width) / in_width**0.5, torch.randn(out_width, 4) / 4
        tensors[f"diffusion_model.{path}.lora_A.weight"], tensors[f"diffusion_model.{path}.lora_B.weight"] = down, up
        deltas[path] = up @ down
    save_file(tensors, folder / lora_name(golden))
    folder_paths.add_model_folder_path("loras", str(folder))
    return deltas


@pytest.fixture
def positive(golden, base):
    return golden.positive(base)


@pytest.fixture(scope="module")
def apply(golden):
    return lambda pack, model, adapter, strength=1.0: golden.apply(model, adapter, strength=strength)


@pytest.fixture(scope="module")
def run(golden):
    return golden.run


def lora_name(golden):
    return f"test_stacking_{golden.name}.safetensors"


def with_lora(pack, golden, model, loader, strength=0.8):
    name = {"merged": "LoraLoaderModelOnly", "bypass": "LoraLoaderBypassModelOnly"}[loader]
    return pack.run(name, model=model, lora_name=lora_name(golden), strength_model=strength)[0]


def summed_reference(golden, positive, adapters, deltas):
    """The same evaluation with the LoRA added into copied weights by hand."""
    model = golden.base()
    modules = dict(model.model.diffusion_model.named_modules())
    with torch.no_grad():
        for path, delta in deltas.items():
            modules[path].weight = torch.nn.Parameter(modules[path].weight.float() + 0.8 * delta, requires_grad=False)
    for adapter, strength in adapters:
        model = golden.apply(model, adapter, strength=strength)
    return golden.run(model, positive)


def test_one_adapter_twice_is_its_strengths_sum(pack, base, adapter, positive, apply, run):
    split = apply(pack, apply(pack, base, adapter, 0.25), adapter, 0.75)
    whole = apply(pack, base, adapter, 1.0)
    # The serial site reads the bare output in both, so the sum is exact there too.
    assert relative_error(run(split, positive), run(whole, positive)) < 1e-5


def test_two_adapters_in_either_order_are_the_same(pack, base, adapter, second_adapter, positive, apply, run):
    one = run(apply(pack, apply(pack, base, adapter), second_adapter), positive)
    two = run(apply(pack, apply(pack, base, second_adapter), adapter), positive)
    assert relative_error(one, two) < 1e-5
    assert relative_error(one, run(apply(pack, base, adapter), positive)) > 1e-3


def test_stacked_adapters_equal_the_cores_own_sum(pack, base, adapter, second_adapter, positive, apply, run, golden):
    """Through the wrapper, against the core's `attached` around a plain call of the host's FLUX, without references."""
    attach, tasks = pack.core("adapters.attach"), pack.core("tasks")
    batch = tasks.TaskBatch.of(tasks.TaskChoice(tasks.Task.STYLE))
    plain = golden.plain()
    stacked = run(apply(pack, apply(pack, base, adapter, 0.5), second_adapter, -1.0), plain)
    attachments = [
        attach.Attachment(adapter.adapter, batch, 0.5), attach.Attachment(second_adapter.adapter, batch, -1.0)
    ]  # fmt: skip
    network = base.model.diffusion_model
    with attach.attached(network, attachments, rows=1), torch.inference_mode():
        expected = golden.bare_call(network)
    assert relative_error(stacked, expected) < 1e-5


@pytest.mark.parametrize("loader", ["merged", "bypass"])
@pytest.mark.parametrize("order", ["lora first", "adapter first"])
def test_loras_before_and_after_add_up(pack, base, adapter, lora, positive, loader, order, apply, run, golden):
    before = state(base.model)
    expected = summed_reference(golden, positive, [(adapter, 1.0)], lora)
    for _ in range(3):
        if order == "lora first":
            model = apply(pack, with_lora(pack, golden, base, loader), adapter)
        else:
            model = with_lora(pack, golden, apply(pack, base, adapter), loader)
        assert relative_error(run(model, positive), expected) < 1e-5
        alone = run(base, positive)
    assert relative_error(alone, expected) > 1e-3
    base.detach()
    after = state(base.model)["value"]
    assert all(torch.equal(after[name], value) for name, value in before["value"].items())


def test_lora_between_two_adapters(pack, base, adapter, second_adapter, lora, positive, apply, run, golden):
    expected = summed_reference(golden, positive, [(adapter, 1.0), (second_adapter, 0.5)], lora)
    model = apply(pack, with_lora(pack, golden, apply(pack, base, adapter), "bypass"), second_adapter, 0.5)
    assert relative_error(run(model, positive), expected) < 1e-5


def test_switching_between_graphs_leaves_each_as_it_was(pack, base, adapter, second_adapter, positive, apply, run):
    first, second = apply(pack, base, adapter), apply(pack, base, second_adapter)
    answers = [run(first, positive), run(second, positive), run(base, positive)]
    for _ in range(2):
        for model, answer in zip((first, second, base), answers, strict=True):
            assert torch.equal(run(model, positive), answer)


def test_unequal_reference_offsets_are_refused(pack):
    model, adapter = golden_models(pack)[0], golden_adapter(pack)
    (choice,) = pack.run("X2EditTask", task="style")
    (one,) = pack.run("X2EditApply", model=model, adapter=adapter, task=choice, reference_offset=32)
    with pytest.raises(ValueError, match=r"automatic.*32|32.*automatic"):
        pack.run("X2EditApply", model=one, adapter=adapter, task=choice, reference_offset=0)


def test_other_patchers_keep_working(pack, base, adapter, positive, apply, run, golden):
    """A block replacement, an attention output patch and a model function wrapper all still run, ours among them."""
    expected, seen = run(apply(pack, base, adapter), positive), []
    model = apply(pack, base, adapter).clone()

    def block(args, extra):
        seen.append("block")
        return extra["original_block"](args)

    def attention(attn, options):
        seen.append("attention")
        return attn

    def function(apply_model, args):
        seen.append("function")
        return apply_model(args["input"], args["timestep"], **args["c"])

    model.set_model_patch_replace(block, "dit", *golden.first_block)
    model.set_model_patch_replace(block, "dit", *golden.last_block)
    if golden.name != "qwen_image":  # whose attention asks no such patch
        model.set_model_attn1_output_patch(attention)
    model.set_model_unet_function_wrapper(function)
    assert torch.equal(run(model, positive), expected)
    assert (
        seen.count("block") == 2
        and seen.count("attention") == 3 * (golden.name != "qwen_image")
        and seen.count("function") == 1
    )


def test_the_compile_node_gives_the_same_picture(pack, base, adapter, positive, apply, run):
    expected = run(apply(pack, base, adapter), positive)
    for model in (
        pack.run("TorchCompileModel", model=apply(pack, base, adapter), backend="inductor")[0],
        apply(pack, pack.run("TorchCompileModel", model=base, backend="inductor")[0], adapter),
    ):
        for _ in range(2):
            assert relative_error(run(model, positive), expected) < 1e-5

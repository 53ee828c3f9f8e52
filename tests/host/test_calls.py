"""Passes are read by name: other hosts' orders of arguments, other packs' wrappers and replaced functions change nothing."""

from __future__ import annotations

import comfy.patcher_extension
import pytest
import torch

from .graphs import conditioning, golden_adapter, golden_cases, golden_models, velocity

CASE = golden_cases("x2edit")[0]["tensors"]


def patched(pack, model):
    """`model` with the golden adapter for a part of sampling, so that both of our wrappers are there."""
    (task,) = pack.run("X2EditTask", task="style")
    return pack.run(
        "X2EditApply", model=model, adapter=golden_adapter(pack), task=task, start_percent=0.1, end_percent=0.9
    )[0]


@pytest.fixture(scope="module")
def base(pack):
    return golden_models(pack)[0]


@pytest.fixture(scope="module")
def edited(pack, base):
    positive = conditioning(CASE["context"], CASE["pooled"])
    reference = base.model.process_latent_out(CASE["ref"])
    return patched(pack, base), pack.core("comfy_bridge.pictures").add_reference(positive, reference)


@pytest.fixture(scope="module")
def expected(edited):
    return velocity(*edited, CASE["noise"], 0.7)


@pytest.mark.parametrize("kind", ["DIFFUSION_MODEL", "APPLY_MODEL"])
@pytest.mark.parametrize("count", [1, 3, 5])
def test_a_wrapper_that_passes_arguments_by_keyword_changes_nothing(pack, base, edited, expected, kind, count):
    """What is left of `count` stays where it was; the rest comes by name, as a host with more parameters would pass it."""
    names = {
        "DIFFUSION_MODEL": (
            "x",
            "timestep",
            "context",
            "y",
            "guidance",
            "ref_latents",
            "control",
            "transformer_options",
        ),
        "APPLY_MODEL": ("x", "t", "c_concat", "c_crossattn", "control", "transformer_options"),
    }[kind]

    def by_name(executor, *args, **kwargs):
        return executor(*args[:count], **dict(zip(names[count:], args[count:], strict=True)), **kwargs)

    other = base.clone()
    other.add_wrapper_with_key(getattr(comfy.patcher_extension.WrappersMP, kind), "other pack", by_name)
    assert torch.equal(velocity(patched(pack, other), edited[1], CASE["noise"], 0.7), expected)


def test_a_replaced_function_without_names_is_read_by_the_hosts_own(edited, expected, monkeypatch):
    network = edited[0].model.diffusion_model
    original = network._forward

    def _forward(*args, **kwargs):
        return original(*args, **kwargs)

    monkeypatch.setitem(network.__dict__, "_forward", _forward)
    assert torch.equal(velocity(*edited, CASE["noise"], 0.7), expected)


def test_a_host_that_renamed_an_argument_is_said_to_have(pack):
    call, errors = pack.core("comfy_bridge.call"), pack.core("errors")

    class Executor:
        class_obj = None

        def original(self, picture, transformer_options):
            return picture

    with pytest.raises(errors.HostError, match="x, transformer_options"):
        call.Call(Executor(), (1, 2), {}, ("x", "transformer_options"))

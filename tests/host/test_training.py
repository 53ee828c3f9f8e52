"""The host's FLUX in training: values of the research code, gradients of an out-of-place float64 reference."""

from __future__ import annotations

import copy

import comfy.sd
import pytest
import torch
from comfy import model_management

from .graphs import GOLDEN, GOLDEN_FLUX, assert_untouched, golden_cases, relative_error, state
from .plain_flux import plain_velocity

CASE = golden_cases("x2edit")[0]


@pytest.fixture(scope="module")
def golden(pack):
    """The golden FLUX, its adapter, and a maker of trainable passes over them."""
    base = comfy.sd.load_diffusion_model(str(GOLDEN_FLUX))
    flux = base.get_model_object("diffusion_model").to(torch.float32)
    adapter = pack.core("adapters.checkpoint").load_adapter(GOLDEN / "x2edit").float()
    return flux, adapter


def inputs_of(pack, case):
    tensors = case["tensors"]
    rows = case["batch"]
    tasks = tuple(case["task"] * rows)[:rows]
    sigma = torch.full((rows,), case["t"])
    model = pack.core("train.model")
    return model.Inputs(tensors["noise"], sigma, tensors["context"], tensors["pooled"], tasks, (tensors["ref"],))


def trainable(pack, golden, case, stream=None, **settings):
    training = pack.core("comfy_bridge.training.flux")
    offsets = (case["offset"], case["offset"])
    settings = pack.core("comfy_bridge.training.trainable").PassSettings(
        guidance=case["guidance"], offsets=offsets, **settings
    )
    return training.TrainableFlux(*golden, settings, stream)


@pytest.mark.parametrize("case", golden_cases("x2edit"), ids=lambda case: f"task{case['task']}")
def test_a_training_pass_computes_what_the_research_code_does(pack, golden, recorded, case):
    model = trainable(pack, golden, case)
    with model.session(), torch.no_grad(), model.predicting(inputs_of(pack, case)) as prediction:
        found = prediction.velocity
    assert relative_error(found, case["tensors"]["out"]) <= 1e-5


def gradients(pack, golden, direction, watch, **settings):
    """Gradients by name of a scalar that depends on everything a loss may use; the adapter's, or the base's too."""
    flux, adapter = golden
    flux.requires_grad_(True)
    adapter.requires_grad_(True)
    model = trainable(pack, golden, CASE, **settings)
    with model.session(), model.predicting(inputs_of(pack, CASE), watch) as prediction:
        total = (prediction.velocity * direction).sum() + sum(
            item.float().square().mean() for item in prediction.features
        )
        total.backward()
    found = {f"flux.{name}": p.grad for name, p in flux.named_parameters()}
    found |= {f"adapter.{name}": p.grad for name, p in adapter.named_parameters()}
    for part in golden:
        part.zero_grad(set_to_none=True)
        part.requires_grad_(False)
    return found


@pytest.fixture(scope="module")
def expected(pack, golden):
    """The same gradients from float64 functions that change nothing in place."""
    flux, adapter = golden
    weights = {name: tensor.double().requires_grad_() for name, tensor in flux.state_dict().items()}
    wide = copy.deepcopy(adapter).double().requires_grad_(True)
    tensors = {name: tensor.double() for name, tensor in CASE["tensors"].items()}
    sigma = torch.full((CASE["batch"],), CASE["t"], dtype=torch.float64)
    direction = torch.randn(tensors["noise"].shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    out, features = plain_velocity(
        weights, tensors["noise"], sigma, tensors["context"], tensors["pooled"], CASE["guidance"], tensors["ref"],
        CASE["offset"], wide, CASE["task"],
    )  # fmt: skip
    assert relative_error(out, CASE["tensors"]["out"]) <= 1e-5, "the reference itself must be right"
    ((out * direction).sum() + sum(item.square().mean() for item in features)).backward()
    found = {f"flux.{name}": tensor.grad for name, tensor in weights.items()}
    found |= {f"adapter.{name}": p.grad for name, p in wide.named_parameters()}
    return direction.float(), found


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_are_those_of_an_out_of_place_reference(pack, golden, expected, checkpointing):
    direction, wanted = expected
    watch = pack.core("train.model").Watch(features=True, gates=True)
    found = gradients(pack, golden, direction, watch, checkpointing=checkpointing)
    assert set(found) == set(wanted)
    worst = {name: relative_error(found[name], wanted[name]) for name in found if wanted[name] is not None}
    assert max(worst.values()) <= 1e-4, sorted(worst.items(), key=lambda item: -item[1])[:5]
    assert all(found[name] is None or not found[name].any() for name in found if wanted[name] is None)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_blocks_that_visit_the_device_give_the_same_gradients(pack, golden, checkpointing):
    flux, adapter = copy.deepcopy(golden)
    flux.requires_grad_(False)
    blocks = pack.core("comfy_bridge.training.trainable").blocks_of(flux)
    stream = pack.core("train.streaming").BlockStream(blocks, torch.device("cpu"))
    watch = pack.core("train.model").Watch(features=True, gates=True)
    results = []
    for parts, visits in ((golden, None), ((flux, adapter), stream)):
        parts[1].requires_grad_(True)
        model = trainable(pack, parts, CASE, checkpointing=checkpointing, stream=visits)
        with model.session(), model.predicting(inputs_of(pack, CASE), watch) as prediction:
            assert visits is None or len(visits.resident) == 2
            (prediction.velocity.square().sum() + sum(item.square().mean() for item in prediction.features)).backward()
        results.append({name: p.grad for name, p in parts[1].named_parameters()})
        parts[1].zero_grad(set_to_none=True)
        parts[1].requires_grad_(False)
    assert not stream.resident and len(blocks) > 2
    assert all(torch.equal(grad, results[1][name]) for name, grad in results[0].items())


def test_training_leaves_the_model_as_it_was(pack, golden):
    flux, _ = golden
    before = state(flux)
    with pytest.raises(RuntimeError, match="stop"):
        model = trainable(pack, golden, CASE, checkpointing=True)
        with model.session(), model.predicting(inputs_of(pack, CASE)):
            raise RuntimeError("stop")
    assert_untouched(flux, before)
    assert not model_management.in_training

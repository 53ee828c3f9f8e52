"""FLUX compiled block by block, as compile nodes of other packs do: the uncompiled picture, whatever adapter comes next."""

from __future__ import annotations

import shutil

import comfy.model_management
import pytest
import torch
import torch._dynamo.utils
from comfy_api.torch_helpers import set_torch_compile_wrapper

from .graphs import (
    GOLDEN_MOE,
    conditioning,
    fill_conditioning,
    golden_adapter,
    golden_cases,
    golden_models,
    relative_error,
    state,
    velocity,
)

CASE = golden_cases("x2edit")[0]["tensors"]
FILL = golden_cases("icedit_moe")[0]
COMPILER = any(shutil.which(name) for name in ("g++", "clang++"))
BACKENDS = [
    "aot_eager",
    pytest.param("inductor", marks=[pytest.mark.full, pytest.mark.skipif(not COMPILER, reason="no C++ compiler")]),
]


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def block_names(model):
    flux = model.model.diffusion_model
    return [
        f"{kind}.{index}" for kind in ("double_blocks", "single_blocks") for index in range(len(getattr(flux, kind)))
    ]


def by_object_patches(model, backend):
    """Each block's compiled shell in its place while the model is loaded."""
    clone = model.clone()
    for name in block_names(model):
        block = model.get_model_object(f"diffusion_model.{name}")
        clone.add_object_patch(f"diffusion_model.{name}", torch.compile(block, backend=backend))
    return clone


def by_wrapper(model, backend):
    """Each block's compiled shell in its place for each pass, by the host's own helper."""
    clone = model.clone()
    keys = [f"diffusion_model.{name}" for name in block_names(model)]
    set_torch_compile_wrapper(clone, backend=backend, keys=keys)
    return clone


@pytest.fixture(scope="module")
def base(pack):
    return golden_models(pack)[0]


@pytest.fixture(scope="module")
def positive(pack, base):
    plain = conditioning(CASE["context"], CASE["pooled"])
    return pack.core("comfy_bridge.pictures").add_reference(plain, base.model.process_latent_out(CASE["ref"]))


@pytest.fixture(scope="module")
def x2edit(pack):
    adapter = golden_adapter(pack)

    def apply(model, task, strength=1.0):
        (choice,) = pack.run("X2EditTask", task=task)
        return pack.run("X2EditApply", model=model, adapter=adapter, task=choice, strength=strength)[0]

    return apply


@pytest.fixture(scope="module")
def fill(pack):
    return golden_models(pack, "fill")[0]


@pytest.fixture(scope="module")
def icedit(pack):
    adapter = pack.core("comfy_bridge.models").load_managed(GOLDEN_MOE)
    return lambda model, strength: pack.run("X2EditApply", model=model, adapter=adapter, strength=strength)[0]


def graphs():
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def require_uncompiled_pictures(base, run, apply, settings, compiled, backend, order):
    """Each setting in turn, and the bare model after it, against the same without a compiler.

    What a block was compiled to serves every adapter: after the first of them nothing more is compiled.
    """
    before, done = state(base.model), []
    expected, alone = [run(apply(base, *each)) for each in settings], run(base)
    assert relative_error(expected[1], expected[0]) > 1e-3 and relative_error(alone, expected[0]) > 1e-3
    shell = compiled(base, backend)
    for each, right in zip(settings, expected, strict=True):
        model = apply(shell, *each) if order == "compile first" else compiled(apply(base, *each), backend)
        assert relative_error(run(model), right) < 1e-5
        assert relative_error(run(shell), alone) < 1e-5
        done.append(graphs())
    assert done[0] > 0 and done[1:] == done[:1] * (len(done) - 1)
    comfy.model_management.unload_all_models()
    after = state(base.model)
    assert after["forward"] == before["forward"]
    assert all(torch.equal(after["value"][name], value) for name, value in before["value"].items())


ORDERS = [
    (by_object_patches, "compile first"),
    pytest.param(by_object_patches, "adapter first", marks=pytest.mark.full),
    pytest.param(by_wrapper, "compile first", marks=pytest.mark.full),
    (by_wrapper, "adapter first"),
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("compiled", "order"), ORDERS)
def test_x2edit(base, positive, x2edit, compiled, order, backend):
    settings = [("style", 1.0), ("text", 0.5), ("style", 1.0)]
    require_uncompiled_pictures(
        base, lambda model: velocity(model, positive, CASE["noise"], 0.7), x2edit, settings, compiled, backend, order
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("compiled", "order"), [case for case in ORDERS if case is not ORDERS[1]])
def test_icedit(fill, icedit, compiled, order, backend):
    positive, noise = fill_conditioning(fill, FILL), FILL["tensors"]["noise"]
    require_uncompiled_pictures(
        fill, lambda model: velocity(model, positive, noise, 0.7), icedit, [(1.0,), (0.5,), (1.0,)],
        compiled, backend, order,
    )  # fmt: skip


def test_merged_parts_that_a_later_node_covers_are_an_error(pack, fill, icedit):
    positive = fill_conditioning(fill, FILL)
    model = by_object_patches(icedit(fill, 1.0), "aot_eager")
    with pytest.raises(pack.core("errors").ModelMismatchError, match=r"would be lost.*before Apply X2Edit Adapter"):
        velocity(model, positive, FILL["tensors"]["noise"], 0.7)
    comfy.model_management.unload_all_models()
    assert torch.isfinite(velocity(icedit(fill, 1.0), positive, FILL["tensors"]["noise"], 0.7)).all()


def test_values_are_injected_into_compiled_blocks(pack):
    """What a block was compiled to serves every step."""
    model, _, vae = pack.run("X2EditDemoModels", base="x2edit")
    picture, x = torch.rand(1, 64, 64, 3), torch.randn(1, 16, 8, 16)
    settings = {"steps": 2, "solver": "euler", "width": 64, "layers_start": 0.0, "check": False}
    _, features, _ = pack.run("ICEditInvert", model=model, vae=vae, image=picture, **settings)
    text, inject = pack.core("comfy_bridge.inversion")._no_text(model.model.diffusion_model), []
    for each in (model, by_wrapper(model, "aot_eager")):
        inject.append(pack.run("ICEditInject", model=each, features=features)[0])
    for index, sigma in enumerate(features.sigmas[:2]):
        right = velocity(inject[0], text, x, sigma)
        assert relative_error(velocity(inject[1], text, x, sigma), right) < 1e-5
        assert relative_error(velocity(model, text, x, sigma), right) > 1e-3
        if index == 0:
            compiled = graphs()
    assert 0 < compiled == graphs()

"""The adapter's weights are the host's to count, move and free."""

from __future__ import annotations

import gc
import weakref

import comfy.model_management as memory
import comfy.model_patcher
import pytest
import torch

from .graphs import GOLDEN_MOE, golden_adapter


@pytest.fixture
def graph(golden):
    """Model with adapter, its conditioning, and the adapter itself; all owned by the test."""
    base, adapter = golden.base(), golden.adapter()
    return golden.apply(base, adapter), golden.positive(base), adapter


@pytest.fixture
def run(golden):
    return golden.run


def loaded(adapter):
    return [entry for entry in memory.current_loaded_models if entry.model and entry.model.model is adapter.adapter]


def test_the_host_counts_the_adapters_bytes(graph, run):
    model, positive, adapter = graph
    memory.unload_all_models()
    run(model, positive)
    (entry,) = loaded(adapter)
    weights = sum(tensor.numel() * tensor.element_size() for tensor in adapter.adapter.parameters())
    assert entry.model_memory() == weights
    assert entry.model_loaded_memory() == weights


def test_free_takes_them_away(graph, run):
    model, positive, adapter = graph
    run(model, positive)
    assert loaded(adapter)
    memory.unload_all_models()
    assert not loaded(adapter)


def test_dropping_the_graph_frees_the_adapter(pack, golden, graph, run):
    model, positive, adapter = graph
    run(model, positive)
    memory.unload_all_models()
    alive = weakref.ref(adapter.adapter)
    base, adapter = golden.base(), golden.adapter()
    (model,) = pack.run("X2EditApply", model=base, adapter=adapter)
    again = weakref.ref(adapter.adapter)
    run(model, positive)
    memory.unload_all_models()
    del model, base, adapter
    gc.collect()
    assert again() is None
    assert alive() is not None, "the fixture's own adapter is still in use"


def tensors_alive() -> int:
    gc.collect()
    return sum(isinstance(item, torch.Tensor) for item in gc.get_objects())


def test_ten_runs_leave_no_tensor_behind(graph, run):
    model, positive, _ = graph
    for _ in range(2):
        run(model, positive)
    before = tensors_alive()
    for _ in range(10):
        run(model, positive)
    assert tensors_alive() <= before


def test_a_model_loaded_in_part_gives_the_same_picture(golden, graph, monkeypatch, run):
    """The host keeps some layers offloaded and casts them at use; the experts attach to those just the same."""
    model, positive, adapter = graph
    expected = run(model, positive)
    memory.unload_all_models()
    use_more, network = memory.LoadedModel.model_use_more_vram, model.model.diffusion_model

    def with_little_room(entry, extra_memory, **options):
        room = entry.model.model_size() * golden.room if entry.model.model is model.model else extra_memory
        return use_more(entry, room, **options)

    monkeypatch.setattr(memory.LoadedModel, "model_use_more_vram", with_little_room)
    sites = [network.get_submodule(site.module) for site in adapter.adapter.sites]
    offloaded = []
    network.register_forward_pre_hook(
        lambda *_: offloaded.append(sum(hasattr(site, "prev_comfy_cast_weights") for site in sites))
    )
    options = model.model_options["transformer_options"]
    assert torch.equal(run(model, positive), expected)
    assert offloaded and all(0 < count < len(sites) for count in offloaded), "within the pass, some of our layers are"
    assert model.model_options["transformer_options"] is options
    memory.unload_all_models()


def test_the_adapter_takes_part_in_dynamic_memory_as_the_hosts_own_models_do(pack, monkeypatch):
    class Dynamic(comfy.model_patcher.ModelPatcher):
        def is_dynamic(self):
            return True

    monkeypatch.setattr(comfy.model_patcher, "CoreModelPatcher", Dynamic)
    models = pack.core("comfy_bridge.models")
    for managed in (golden_adapter(pack), models.load_managed(GOLDEN_MOE).routed, models.load_managed(GOLDEN_MOE).read):
        assert type(managed.patcher) is Dynamic
        reload, arguments = managed.patcher.cached_patcher_init
        assert type(reload(*arguments)) is Dynamic
        plain = managed.patcher.clone(disable_dynamic=True)
        assert type(plain) is comfy.model_patcher.ModelPatcher and plain.model is not managed.adapter
        assert plain.model.spec == managed.adapter.spec

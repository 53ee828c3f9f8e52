"""A model copied to further devices by the host's own functions: each copy computes with its own weights.

The machine has one processor; it stands for two devices by its index, which the host tells apart and torch does not.
"""

from __future__ import annotations

import comfy.model_management as memory
import comfy.multigpu
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

pytestmark = pytest.mark.needs("copies for several devices")

CASE = golden_cases("x2edit")[0]["tensors"]
FILL = golden_cases("icedit_moe")[0]
OTHER = torch.device("cpu", 1)


@pytest.fixture(autouse=True)
def two_devices(monkeypatch):
    monkeypatch.setattr(memory, "get_all_torch_devices", lambda **_: [memory.get_torch_device(), OTHER])
    monkeypatch.setattr(memory, "set_torch_device", lambda device: None)
    yield
    memory.unload_all_models()


@pytest.fixture
def read(pack, monkeypatch):
    """Ids of the experts' weights that were read, in order."""
    delta, seen = pack.core("adapters.moe").RoutedDelta, []
    add_to = delta.add_to
    monkeypatch.setattr(delta, "add_to", lambda self, *args: seen.append(id(self.up)) or add_to(self, *args))
    return seen


def experts(model):
    (stack,) = [model.get_attachment("x2edit")]
    return [{id(delta.up) for delta in item.adapter.deltas} for item in stack.attachments]


def x2edit(pack):
    base, adapter = golden_models(pack)[0], golden_adapter(pack)
    (task,) = pack.run("X2EditTask", task="style")
    (model,) = pack.run("X2EditApply", model=base, adapter=adapter, task=task)
    text = conditioning(CASE["context"], CASE["pooled"])
    add = pack.core("comfy_bridge.pictures").add_reference
    conds = [
        add(each, base.model.process_latent_out(CASE["ref"]))
        for each in (text, conditioning(CASE["context"] * 0, CASE["pooled"]))
    ]
    return model, lambda model: velocity(model, conds[0], CASE["noise"], 0.7, conds[1], cfg=2.0)


def icedit(pack):
    base = golden_models(pack, "fill")[0]
    adapter = pack.core("comfy_bridge.models").load_managed(GOLDEN_MOE)
    (model,) = pack.run("X2EditApply", model=base, adapter=adapter)
    positive = fill_conditioning(base, FILL)
    negative = [[positive[0][0] * 0, positive[0][1]]]
    return model, lambda model: velocity(model, positive, FILL["tensors"]["noise"], 0.7, negative, cfg=2.0)


@pytest.mark.parametrize("make", [x2edit, icedit])
def test_each_device_reads_its_own_copy(pack, read, make):
    model, run = make(pack)
    expected = run(model)
    both = comfy.multigpu.create_multigpu_deepclones(model, 2)
    (copy,) = both.get_additional_models_with_key("multigpu")
    assert copy.load_device == OTHER and copy.model is not model.model
    read.clear()
    assert relative_error(run(both), expected) < 1e-6
    (copy,) = both.get_additional_models_with_key("multigpu")
    (own,), (theirs,) = experts(both), experts(copy)
    assert not own & theirs
    assert own | theirs == set(read)
    assert [patcher.model for patcher in copy.get_additional_models_with_key("x2edit")] == [
        item.adapter for item in copy.get_attachment("x2edit").attachments
    ]


def test_a_model_moved_to_another_device_reads_what_moved_with_it(pack, read):
    model, run = x2edit(pack)
    expected, (first,) = run(model), experts(model)
    moved = model.deepclone_multigpu(new_load_device=OTHER)
    read.clear()
    assert relative_error(run(moved), expected) < 1e-6
    (own,) = experts(moved)
    assert set(read) == own and not own & first


def test_adapters_applied_to_a_model_that_was_copied_are_copied_too(pack, read):
    base, adapter = golden_models(pack)[0], golden_adapter(pack)
    _, run = x2edit(pack)
    expected = run(pack.run("X2EditApply", model=base, adapter=adapter)[0])
    both = comfy.multigpu.create_multigpu_deepclones(base, 2)
    (model,) = pack.run("X2EditApply", model=both, adapter=adapter)
    for _ in range(2):
        read.clear()
        assert relative_error(run(model), expected) < 1e-6
    (copy,) = model.get_additional_models_with_key("multigpu")
    (own,), (theirs,) = experts(model), experts(copy)
    assert set(read) == own | theirs and not own & theirs


def test_a_file_that_changed_meanwhile_is_an_error(pack, tmp_path):
    formats, models = pack.core("adapters.checkpoint"), pack.core("comfy_bridge.models")
    base, adapter = golden_models(pack)[0], golden_adapter(pack)
    managed = models.manage(adapter.adapter, lambda *_: models.manage(other).patcher)
    other = formats.load_adapter(GOLDEN_MOE)
    (model,) = pack.run("X2EditApply", model=base, adapter=managed)
    with pytest.raises(ValueError, match=r"when it was loaded and is .* now"):
        comfy.multigpu.create_multigpu_deepclones(model, 2)

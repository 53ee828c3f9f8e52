"""The research code's own numbers, through the host's loader, samplers and our nodes."""

from __future__ import annotations

import folder_paths
import pytest
import torch

from . import golden_embedding, wrong_ports
from .graphs import GOLDEN_FLUX, conditioning, golden_adapter, golden_cases, relative_error, velocity

CASES = golden_cases("x2edit")
TASK_NAMES = {0: "other", 1: "remove subject", 3: "style", 15: "subject"}
BOUND = 1e-5


@pytest.fixture(scope="module")
def base(pack):
    """The golden FLUX through the standard loader node, which recognises diffusers names."""
    folder_paths.add_model_folder_path("diffusion_models", str(GOLDEN_FLUX.parent))
    (model,) = pack.run("UNETLoader", unet_name=GOLDEN_FLUX.name, weight_dtype="default")
    return model


def edited(pack, base, case, adapter=None, offset=None, guidance=None, t=None):
    """The velocity of a case through our nodes, with any of its settings changed."""
    tensors = case["tensors"]
    tasks = [pack.run("X2EditTask", task=TASK_NAMES[task])[0] for task in case["task"]]
    (batch,) = pack.run("X2EditTaskBatch", **{f"tasks.task{index}": task for index, task in enumerate(tasks)})
    adapter, offset = adapter or golden_adapter(pack), offset or case["offset"]
    (model,) = pack.run("X2EditApply", model=base, adapter=adapter, task=batch, reference_offset=offset)
    positive = conditioning(tensors["context"], tensors["pooled"], guidance or case["guidance"])
    reference = base.model.process_latent_out(tensors["ref"])
    positive = pack.core("comfy_bridge.pictures").add_reference(positive, reference)
    return velocity(model, positive, tensors["noise"], t or case["t"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"task{case['task']}-offset{case['offset']}")
def test_x2edit_matches_the_research_code(pack, base, recorded, case):
    tensors = case["tensors"]
    assert relative_error(edited(pack, base, case), tensors["out"]) <= BOUND
    without = velocity(base, conditioning(tensors["context"], tensors["pooled"]), tensors["noise"], case["t"])
    assert relative_error(without, tensors["out"]) > 1e-3, "the case must tell the adapter from the bare base"


WRONG_CASES = {
    "shift": lambda case: {"t": wrong_ports.shifted(case["t"])},
    "guidance": lambda case: {"guidance": case["guidance"] + 0.5},
    "offset": lambda case: {"offset": case["offset"] + 1},
}
WRONG_ADAPTERS = {
    "dropped expert": wrong_ports.without_expert,
    "dropped shared expert": wrong_ports.without_shared,
    "number of experts": wrong_ports.another_count,
    "order of softmax and top k": wrong_ports.reordered,
}


@pytest.mark.parametrize("wrong", [*WRONG_CASES, *WRONG_ADAPTERS])
def test_a_wrong_port_lies_far_above_the_bound(pack, base, recorded, wrong):
    adapter = golden_adapter(pack)
    if wrong in WRONG_ADAPTERS:
        adapter = wrong_ports.changed(pack, adapter, WRONG_ADAPTERS[wrong])
    for case in CASES:
        if wrong == "shift" and case["t"] == 1.0:
            continue  # which a shift leaves where it is
        settings = WRONG_CASES[wrong](case) if wrong in WRONG_CASES else {}
        assert relative_error(edited(pack, base, case, adapter, **settings), case["tensors"]["out"]) >= 10 * BOUND


def test_references_at_the_steps_own_time_lie_far_above_the_bound(pack, base, recorded, monkeypatch):
    made = golden_embedding.embedding
    for case in CASES:
        # The one embedding of zeros in a pass is that of the clean tokens.
        golden_embedding.feed(monkeypatch, lambda t, case=case: made(t if t.any() else torch.full_like(t, case["t"])))
        assert relative_error(edited(pack, base, case), case["tensors"]["out"]) >= 10 * BOUND


def test_automatic_offset_is_the_trained_one_for_small_targets(pack, base):
    case = CASES[0]
    tensors = case["tensors"]
    adapter = golden_adapter(pack)
    positive = conditioning(tensors["context"], tensors["pooled"], case["guidance"])
    positive = pack.core("comfy_bridge.pictures").add_reference(positive, base.model.process_latent_out(tensors["ref"]))
    (task,) = pack.run("X2EditTask", task="style")
    results = [
        velocity(pack.run("X2EditApply", model=base, adapter=adapter, task=task, reference_offset=offset)[0],
                 positive, tensors["noise"], case["t"])
        for offset in (0, 64, 128)
    ]  # fmt: skip
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


@pytest.mark.parametrize("made", [golden_embedding.embedding, golden_embedding.other_processor])
def test_an_embedding_that_another_processor_makes_is_no_longer_met(pack, base, monkeypatch, made):
    """At this guidance its last bit is still below the bound; ICEdit's cases are at fifty."""
    golden_embedding.feed(monkeypatch, made)
    assert relative_error(edited(pack, base, CASES[0]), CASES[0]["tensors"]["out"]) <= BOUND

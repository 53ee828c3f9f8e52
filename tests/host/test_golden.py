"""The research code's own numbers, through the host's loader, samplers and our nodes."""

from __future__ import annotations

import folder_paths
import pytest
import torch

from .graphs import GOLDEN_FLUX, conditioning, golden_adapter, golden_cases, relative_error, velocity

CASES = golden_cases("x2edit")
TASK_NAMES = {0: "other", 1: "remove subject", 3: "style", 15: "subject"}


@pytest.fixture(scope="module")
def base(pack):
    """The golden FLUX through the standard loader node, which recognises diffusers names."""
    folder_paths.add_model_folder_path("diffusion_models", str(GOLDEN_FLUX.parent))
    (model,) = pack.run("UNETLoader", unet_name=GOLDEN_FLUX.name, weight_dtype="default")
    return model


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"task{case['task']}-offset{case['offset']}")
def test_x2edit_matches_the_research_code(pack, base, case):
    tensors = case["tensors"]
    adapter = golden_adapter(pack)
    tasks = [pack.run("X2EditTask", task=TASK_NAMES[task])[0] for task in case["task"]]
    (batch,) = pack.run("X2EditTaskBatch", **{f"tasks.task{index}": task for index, task in enumerate(tasks)})
    (model,) = pack.run("X2EditApply", model=base, adapter=adapter, task=batch, reference_offset=case["offset"])
    positive = conditioning(tensors["context"], tensors["pooled"], case["guidance"])
    reference = base.model.process_latent_out(tensors["ref"])
    positive = pack.core("comfy_bridge.pictures").add_reference(positive, reference)
    found = velocity(model, positive, tensors["noise"], case["t"])
    assert relative_error(found, tensors["out"]) <= 1e-5
    without = velocity(base, conditioning(tensors["context"], tensors["pooled"]), tensors["noise"], case["t"])
    assert relative_error(without, tensors["out"]) > 1e-3, "the case must tell the adapter from the bare base"


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

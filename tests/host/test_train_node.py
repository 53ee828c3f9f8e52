"""X2EditTrain in the host: the script's losses, a result that loads at once, a cancel that keeps the work."""

from __future__ import annotations

import comfy.model_management
import folder_paths
import pytest
import torch

from .test_train_script import config_text, losses_of, run_script

FURTHER = """
log_every = 2
save_every = 100
[model]
precision = "float32"
[data]
cache = "scenes"
cases = 12
pictures = 4
workers = 0
[loss]
contrast = 0.2
[optim]
ema = 0.5
"""


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """One output folder for all tests here, so that the scenes are drawn once."""
    return tmp_path_factory.mktemp("output")


@pytest.fixture(autouse=True)
def output(everything, monkeypatch):
    monkeypatch.setattr(folder_paths, "get_output_directory", lambda: str(everything))
    return everything / "x2edit_training"


@pytest.fixture
def cache(output):
    return output / "scenes"


def train(pack, name, steps=4, further="", patch=lambda model: model):
    model, clip, vae = pack.run("X2EditDemoModels", base="x2edit")
    model = patch(model)
    return model, pack.run(
        "X2EditTrain", model=model, clip=clip, vae=vae, dataset="scenes", name=name, kind="x2edit", steps=steps, batch=4,
        learning_rate=0.01, rank=2, experts=4, size=32, seed=0, further=FURTHER + further,
    )  # fmt: skip


def gradients_wanted(model):
    """Which of the base's weights ask for gradients; on older hosts some do from the start."""
    return {name for name, parameter in model.model.named_parameters() if parameter.requires_grad}


def test_node_and_script_learn_the_same(pack, cache, output, tmp_path):
    model, (adapter, _, plot) = train(pack, "same", steps=20)
    script = tmp_path / "script"
    assert run_script(pack, script, config_text(script, cache, "x2edit", steps=20)) == 0
    assert losses_of(output / "same") == losses_of(script) and len(losses_of(script)) == 20
    assert plot.shape[0] == 1 and plot.shape[-1] == 3 and 0 <= float(plot.min()) < float(plot.max()) <= 1
    trained = pack.core("checkpoint").load_adapter(script / "adapter.safetensors").state_dict()
    assert all(torch.equal(trained[name], tensor) for name, tensor in adapter.adapter.state_dict().items())
    (loaded,) = pack.run("X2EditAdapterLoader", adapter_name="same.safetensors")
    (task,) = pack.run("X2EditTask", task="color")
    pack.run("X2EditApply", model=model, adapter=loaded, task=task)
    fresh, _, _ = pack.run("X2EditDemoModels", base="x2edit")
    assert fresh.model is not model.model
    assert gradients_wanted(model) == gradients_wanted(fresh)


def test_the_export_is_the_research_codes_layout(pack, output):
    _, (adapter, _, _) = train(pack, "exported")
    released = pack.core("checkpoint").load_adapter(output / "exported" / "released")
    ours = adapter.adapter
    assert released.task_aware and released.spec.experts == ours.spec.experts
    for one, other in zip(released.deltas, ours.deltas, strict=True):
        assert torch.equal(one.up, other.up.to(torch.bfloat16))


def test_cancelling_keeps_the_work_and_a_second_run_goes_on(pack, output, monkeypatch):
    steps = []

    def interrupt():
        if (output / "cut" / "losses.csv").exists() and len(losses_of(output / "cut")) == 3:
            steps.append(True)
            raise comfy.model_management.InterruptProcessingException

    monkeypatch.setattr(comfy.model_management, "throw_exception_if_processing_interrupted", interrupt)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        train(pack, "cut", steps=6)
    assert steps and "cut.safetensors" in folder_paths.get_filename_list("x2edit")
    monkeypatch.undo()
    monkeypatch.setattr(folder_paths, "get_output_directory", lambda: str(output.parent))
    train(pack, "cut", steps=6)
    assert [step for step, _ in losses_of(output / "cut")] == ["1", "2", "3", "4", "5", "6"]


def test_a_run_is_not_continued_on_another_model(pack, output):
    def patch(model):
        key = "diffusion_model.double_blocks.0.img_attn.qkv.weight"
        clone = model.clone()
        assert clone.add_patches({key: ("diff", (torch.ones(model.model.state_dict()[key].shape),))})
        return clone

    train(pack, "pinned", steps=1)
    with pytest.raises(ValueError, match="another base model than connected"):
        train(pack, "pinned", steps=2, patch=patch)
    train(pack, "pinned", steps=2)
    assert len(losses_of(output / "pinned")) == 2


def test_cancelled_before_its_first_step_a_run_leaves_no_state_and_no_adapter(pack, output, monkeypatch):
    """The settings may then still be changed under the same name."""
    loop = pack.core("train.loop")

    def interrupted(self):
        raise comfy.model_management.InterruptProcessingException

    with monkeypatch.context() as early:
        early.setattr(loop.Trainer, "_advance", interrupted)
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            train(pack, "early")
    assert not list((output / "early").glob("*.pt")) and not (output / "early" / "adapter.safetensors").exists()
    assert "early.safetensors" not in folder_paths.get_filename_list("x2edit")
    train(pack, "early", steps=1, further="decay = 0.0")


@pytest.mark.parametrize(
    ("dataset", "name", "further", "told"),
    [
        ("/nowhere", "a", "", "no data"),
        ("scenes", "../a", "", "cannot be a file's name"),
        ("scenes", "/tmp/a", "", "cannot be a file's name"),
        ("scenes", "C:a", "", "cannot be a file's name"),
        ("scenes", "", "", "cannot be a file's name"),
        ("scenes", ".", "", "cannot be a file's name"),
        ("scenes", "a", 'output = "/tmp/elsewhere"', "not for a graph to choose"),
        ("scenes", "a", '[data]\ncache = "/tmp/elsewhere"', "`data.cache` .* cannot be a file's name"),
        ("scenes", "a", '[data]\ncache = "../elsewhere"', "`data.cache` .* cannot be a file's name"),
        ("scenes", "a", "steps = [1]", "a whole number was expected"),
        ("scenes", "a", 'optim = "fast"', "a table was expected"),
        ("scenes", "a", 'data = 3\nmodel = ""', "a table was expected"),
    ],
)
def test_wrong_inputs_are_told_at_once_and_write_nothing(pack, everything, dataset, name, further, told):
    before = sorted(everything.rglob("*"))
    model, clip, vae = pack.run("X2EditDemoModels", base="x2edit")
    with pytest.raises(ValueError, match=told):
        pack.run("X2EditTrain", model=model, clip=clip, vae=vae, dataset=dataset, name=name, further=further)
    assert sorted(everything.rglob("*")) == before


def test_two_runs_of_one_name_do_not_mix(pack, output):
    """Another server with this output folder is training under the same name."""
    claimed = pack.core("train.checkpoints").claimed
    with claimed(output / "shared"), pytest.raises(ValueError, match="another training run"):
        train(pack, "shared")
    train(pack, "shared", steps=1)

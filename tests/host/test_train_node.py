"""X2EditTrain in the host: the script's losses, a result that loads at once, a cancel that keeps the work."""

from __future__ import annotations

import os
from pathlib import Path

import comfy.model_management
import folder_paths
import pytest
import torch
from PIL import Image

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


def train(
    pack, name, steps=4, further="", patch=lambda model: model, dataset="scenes", rate=0.01, kind="x2edit", **more
):
    model, clip, vae = pack.run("X2EditDemoModels", base="x2edit")
    model = patch(model)
    return model, pack.run(
        "X2EditTrain", model=model, clip=clip, vae=vae, dataset=dataset, name=name, kind=kind, steps=steps, batch=4,
        learning_rate=rate, rank=2, experts=4, size=32, seed=0, further=FURTHER + further,
        **more,
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
    trained = pack.core("adapters.checkpoint").load_adapter(script / "adapter.safetensors").state_dict()
    assert all(torch.equal(trained[name], tensor) for name, tensor in adapter.adapter.state_dict().items())
    (loaded,) = pack.run("X2EditAdapterLoader", adapter_name="same.safetensors")
    (task,) = pack.run("X2EditTask", task="color")
    pack.run("X2EditApply", model=model, adapter=loaded, task=task)
    fresh, _, _ = pack.run("X2EditDemoModels", base="x2edit")
    assert fresh.model is not model.model
    assert gradients_wanted(model) == gradients_wanted(fresh)


def test_the_export_is_the_research_codes_layout(pack, output):
    _, (adapter, _, _) = train(pack, "exported")
    released = pack.core("adapters.checkpoint").load_adapter(output / "exported" / "released")
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
        ("/nowhere", "a", "", "outside of the folders that a graph may read"),
        ("nowhere", "a", "", "no data"),
        ("//server/share", "a", "", "outside of the folders"),
        ("\\\\server\\share", "a", "", "outside of the folders"),
        ("../../etc", "a", "", "outside of the folders"),
        ("scenes", "a", '[data]\nkind = "folder"\npath = "/etc"', "outside of the folders"),
        ("scenes", "a", '[model]\nalignnet = "/etc/passwd"', "model.alignnet .* outside of the folders"),
        ("scenes", "a", '[adapter]\nstart = "/etc/passwd"', "adapter.start .* outside of the folders"),
        ("scenes", "a", '[data]\nlesson = "paint"', "there are: channels"),
        ("scenes", "a", 'kind = "base"', "is for the script"),
        ("scenes", "a", "[data]\nworkers = 200", r"data\.workers = 200: at least 0 and at most 8"),
        ("scenes", "a", "[data]\nsize = 8192", r"data\.size = 8192"),
        ("scenes", "a", "steps = 100000000", r"steps = 100000000"),
        ("scenes", "a", "[optim]\nname = 'prodigy'", "learning_rate.*to 1"),
        ("scenes", "a", "[loss]\nedited = -5", r"loss\.edited = -5"),
        ("scenes", "剪" * 80, "", "240 bytes"),
        ("scenes", "nul.safetensors", "", "a device on Windows"),
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


def foreign_file(pack, seed=5):
    """Somebody's adapter, of this FLUX's shape, in models/x2edit under the name `taken`."""
    setup, adapters, checkpoint = (
        pack.core(name) for name in ("train.config", "train.adapters", "adapters.checkpoint")
    )
    shape = pack.core("families.flux1").FluxShape(256, 2, 4)
    adapter = adapters.new_adapter(
        adapters.spec_for("x2edit", setup.AdapterConfig(experts=4, rank=2), shape), True, seed
    )
    path = Path(folder_paths.get_folder_paths("x2edit")[0]) / "taken.safetensors"
    checkpoint.save_adapter(adapter, path)
    return path


def test_a_run_replaces_its_own_result_and_nobody_elses(pack, output, caplog):
    """The name is taken: the file stays bit by bit, the run's is another, on every later publication too."""
    path = foreign_file(pack)
    before = path.read_bytes()
    _, (_, published, _) = train(pack, "taken", steps=1)
    assert path.read_bytes() == before and Path(published).name == "taken_2.safetensors"
    assert "models/x2edit has another taken.safetensors already" in caplog.text
    first = Path(published).read_bytes()
    _, (newest, again, _) = train(pack, "taken", steps=3)
    assert again == published and Path(again).read_bytes() != first and path.read_bytes() == before
    assert not path.with_name("taken_3.safetensors").exists()
    (loaded,) = pack.run("X2EditAdapterLoader", adapter_name="taken_2.safetensors")
    expected = newest.adapter.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.adapter.state_dict().items())


def test_a_file_that_took_the_place_of_a_result_stays_too(pack, output):
    """Somebody replaced the published file by hand; another run of that name began in another output folder."""
    _, (_, published, _) = train(pack, "replaced", steps=1)
    foreign = foreign_file(pack)
    foreign.replace(published)
    before = Path(published).read_bytes()
    _, (_, other, _) = train(pack, "replaced", steps=2)
    assert Path(published).read_bytes() == before and Path(other).name == "replaced_2.safetensors"


def test_a_result_of_before_results_named_their_run_is_known_by_its_content(pack, output):
    _, (adapter, published, _) = train(pack, "older", steps=1)
    pack.core("adapters.checkpoint").save_adapter(adapter.adapter, Path(published))
    (output / "older" / "run-id.txt").unlink()
    _, (_, again, _) = train(pack, "older", steps=2)
    assert again == published


def test_a_suffix_in_the_name_is_not_added_twice(pack, output):
    _, (_, published, _) = train(pack, "Suffixed.safetensors", steps=1)
    assert Path(published).name == "Suffixed.safetensors" and (output / "Suffixed").is_dir()


def test_nothing_trains_that_cannot_be_published(pack, output, monkeypatch):
    """A folder has the adapter's name: told before any data is drawn, and no folder is left of the run."""
    target = Path(folder_paths.get_folder_paths("x2edit")[0]) / "blocked.safetensors"
    target.mkdir()
    node = pack.core("comfy_bridge.training.node")
    monkeypatch.setattr(node.Shelf, "_mine", lambda self, path: True)
    monkeypatch.setattr(node, "assemble", lambda *args, **options: pytest.fail("data was prepared first"))
    with pytest.raises(ValueError, match="a folder of that name"):
        train(pack, "blocked")
    assert not (output / "blocked").exists()
    target.rmdir()


def pairs(folder):
    """Two pairs of flat pictures."""
    folder.mkdir(parents=True)
    for index in range(2):
        for kind, colour in (("source", 40 + index), ("target", 200)):
            Image.new("RGB", (32, 32), (colour, 60, 60)).save(folder / f"{index}_{kind}.png")
        (folder / f"{index}.txt").write_text("make it brighter")
    return folder


@pytest.mark.parametrize("way", ["input", "absolute", "variable", "file", "pasted"])
def test_data_of_allowed_folders_is_learnt_from(pack, tmp_path, monkeypatch, way):
    places = pack.core("comfy_bridge.training.places")
    monkeypatch.setattr(folder_paths, "get_input_directory", lambda: str(tmp_path / "input"))
    monkeypatch.setattr(places, "roots_file", lambda: tmp_path / "system" / "data_roots.txt")
    inside, outside = pairs(tmp_path / "input" / "pairs"), pairs(tmp_path / "disk" / "pairs")
    dataset = {"input": "pairs", "absolute": str(inside), "pasted": f' "{inside}"\n'}.get(way, str(outside))
    if way == "variable":
        monkeypatch.setenv("X2EDIT_DATA_ROOTS", os.pathsep.join(["/elsewhere", str(tmp_path / "disk")]))
    if way == "file":
        (tmp_path / "system").mkdir()
        (tmp_path / "system" / "data_roots.txt").write_text(f"# data\n{tmp_path / 'disk'}\n", encoding="utf-8-sig")
    config = pack.core("comfy_bridge.training.node").node_config(dataset, "roots", {"kind": "x2edit", "steps": 1}, "")
    assert config.data.kind == "folder"
    assert Path(config.data.path).resolve() == (outside if way in ("variable", "file") else inside).resolve()


def test_what_leads_out_of_the_allowed_folders_is_refused_whatever_it_is_called(pack, tmp_path, monkeypatch):
    places = pack.core("comfy_bridge.training.places")
    monkeypatch.setattr(folder_paths, "get_input_directory", lambda: str(tmp_path / "input"))
    outside = pairs(tmp_path / "disk" / "pairs")
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "link").symlink_to(outside)
    (tmp_path / "input" / "round").symlink_to(tmp_path / "input" / "round")
    (tmp_path / "inputs").mkdir()
    monkeypatch.setenv("X2EDIT_DATA_ROOTS", "disk")  # a relative root would depend on where the server was started
    monkeypatch.chdir(tmp_path)
    for name in (
        "link",
        "round",
        str(outside),
        "../disk/pairs",
        str(tmp_path / "inputs"),
        "//127.0.0.1/disk",
    ):
        with pytest.raises(ValueError, match="outside of the folders"):
            places.allowed_path(name, "The data set")


def test_a_relative_name_means_the_input_folder(pack, tmp_path, monkeypatch):
    places = pack.core("comfy_bridge.training.places")
    monkeypatch.setattr(folder_paths, "get_input_directory", lambda: str(tmp_path / "input"))
    pairs(tmp_path / "disk" / "pairs")
    monkeypatch.chdir(tmp_path)
    assert places.allowed_path("disk/pairs", "The data set") == tmp_path / "input" / "disk" / "pairs"


def test_no_path_that_could_reach_another_machine_is_looked_at(pack, monkeypatch):
    """On Windows a look at \\\\server\\share sends the user's credentials there."""
    places = pack.core("comfy_bridge.training.places")
    looked = []
    for name in ("exists", "resolve", "stat", "is_dir"):
        monkeypatch.setattr(Path, name, lambda self, *a, name=name, **k: looked.append((name, str(self))) or self)
    roots = [Path("/in")]
    monkeypatch.setattr(places, "data_roots", lambda: roots)
    with pytest.raises(ValueError, match="outside of the folders"):
        places.allowed_path("\\\\server\\share\\pairs", "The data set")
    assert not [path for _, path in looked if "server" in path]


def test_the_nodes_log_says_what_is_about_to_be_learnt(pack, caplog, monkeypatch):
    shown = []
    node = pack.core("comfy_bridge.training.node")
    monkeypatch.setattr(node, "show_on_node", lambda text, node_id: shown.append(text))
    train(pack, "told", steps=2, further="\n[adapter]\noffset_512 = 64\n")
    train(pack, "told", steps=1, further="\n[adapter]\noffset_512 = 64\n")
    first, last = shown[0], shown[-1]
    assert "trained at: 32 × 32 (12)" in first and "12 named by the data" in first and "steps an epoch" in first
    assert "adamw, rate 0.01; batch 4 × 1" in first
    assert "2 steps were done before and 1 are asked for, so nothing was trained" in last


def test_a_new_name_is_taken_where_a_run_or_an_adapter_has_the_wanted_one(pack, output):
    """So that a graph that is run again trains anew, and its cached result is not taken for that."""
    node = pack.node("X2EditTrain")
    prints, results = [], []
    for _ in range(2):
        prints.append(node.fingerprint_inputs(name="anew", again="new name", steps=1))
        results.append(Path(train(pack, "anew", steps=1, again="new name")[1][1]))
    assert prints == ["anew", "anew_2"] and [path.name for path in results] == [
        "anew.safetensors",
        "anew_2.safetensors",
    ]
    assert results[0].read_bytes() != results[1].read_bytes(), "each names its own run"
    results[1].unlink()
    assert node.fingerprint_inputs(name="anew", again="new name") == "anew_3", "its run is still there"
    assert node.fingerprint_inputs(name="anew", again="go on") == "anew"
    assert node.fingerprint_inputs(name=None, again="new name") == "", "another node gives it"
    for name in ("//server/share", "../../x", ""):
        assert node.fingerprint_inputs(name=name, again="new name") == name
        with pytest.raises(ValueError, match="cannot be a file's name"):
            train(pack, name, again="new name")


def test_an_adapter_that_is_connected_is_begun_from(pack, output, monkeypatch):
    _, (earlier, _, _) = train(pack, "first", steps=3)
    (loaded,) = pack.run("X2EditAdapterLoader", adapter_name="first.safetensors")
    start = pack.core("train.start")
    monkeypatch.setattr(
        pack.core("comfy_bridge.training.setup"),
        "begun_from",
        lambda *args: begun.append(start.begun_from(*args)) or begun[0],
    )
    begun = []
    with monkeypatch.context() as at_once:
        at_once.setattr(pack.core("train.loop").Trainer, "run", lambda self, on_step: None)
        with pytest.raises(ValueError, match="before a step of it was done"):
            train(pack, "second", steps=1, start=loaded)
    found, expected = begun[0].state_dict(), earlier.adapter.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    train(pack, "second", steps=2, start=loaded)
    with pytest.raises(ValueError, match="another adapter to start from"):
        train(pack, "second", steps=3)
    with pytest.raises(ValueError, match="set experts = 4"):
        train(pack, "third", further="\n[adapter]\nexperts = 6\n", start=loaded)


def test_other_rates_are_taken_where_that_is_asked_for(pack, output):
    train(pack, "rates", steps=2)
    with pytest.raises(ValueError, match="another configuration"):
        train(pack, "rates", steps=3, rate=0.002)
    train(pack, "rates", steps=3, rate=0.002, again="go on with other rates")
    train(pack, "rates", steps=4, rate=0.004, again="go on with fresh moments")
    rows = pack.core("train.journal").read_table(output / "rates" / "losses.csv")
    assert [float(row["rate"]) for row in rows] == [0.01, 0.01, 0.002, 0.004]


def test_held_out_scenes_judge_a_run_in_its_tables_its_plot_and_its_words(pack, output, monkeypatch):
    shown = []
    node = pack.core("comfy_bridge.training.node")
    monkeypatch.setattr(node, "show_on_node", lambda text, node_id: shown.append(text))
    judged = "\n[validation]\nshare = 0.25\nevery = 1\ndrawn = 1\n"
    _, (_, _, plot) = train(pack, "judged", steps=2, further=judged)
    rows = pack.core("train.journal").read_table(output / "judged" / "validation.csv")
    assert [row["step"] for row in rows] == ["0", "1", "2"]
    assert all(0 < float(row["loss"]) < 10 and 3 < float(row["psnr_db"]) < 60 for row in rows)
    orange = (plot[0] * 255).round() == torch.tensor([0xD0, 0x60, 0x10])
    assert orange.all(-1).any()
    assert "3 edits are held out and judge the run, 9 are learnt from" in shown[0]
    assert "Warning: a rate of 0.01" not in shown[0], "it suits a miniature"
    best = pack.core("adapters.checkpoint").load_adapter(output / "judged" / "best" / "adapter.safetensors")
    assert best.spec.experts == 4

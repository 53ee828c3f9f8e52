"""Scenes through a shipped workflow in the real host, by the script itself: scored, written down, and resumed."""

from __future__ import annotations

import copy
import csv
import io
import json
import os
import shutil
import subprocess
import sys

import pytest
from devkit.layout import REPO, WORKFLOWS
from devkit.replace import with_adapter, with_demo_models
from devkit.running import Running, wait_for
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from x2edit_core.evaluate.editor import Editor, load_graph
from x2edit_core.evaluate.places import PlaceError, Places
from x2edit_core.evaluate.run import Evaluation
from x2edit_core.evaluate.scenes import scene_case
from x2edit_core.evaluate.scores import Scorer
from x2edit_core.miniature import EMBEDDED
from x2edit_core.scenes import make_case
from x2edit_core.tasks import Task
from x2edit_core.workflow.client import PromptError

STEPS = 2
CASE = scene_case(make_case(0, Task.TONE, "heldout", 64))
CONFIG = """
workflow = "{workflow}"
output = "{output}"
address = "{address}"
seed = 3

[cases]
kind = "scenes"
labels = ["remove subject", "tone"]
limit = 1
size = 64
"""


@pytest.fixture(scope="module")
def graph(server):
    """The shipped workflow with the embedded models and few steps, as the host takes it."""
    graph = with_demo_models(load_graph(WORKFLOWS / "X2Edit (all nodes).json", server))
    for node in graph.values():
        if node["class_type"] == "KSampler":
            node["inputs"]["steps"] = STEPS
    return graph


def evaluate(folder):
    """One run of the script; returns what it printed."""
    command = [sys.executable, "-m", "x2edit_core.evaluate", str(folder / "config.toml")]
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def files_of(folder):
    return {path.name for path in folder.iterdir() if path.is_file()} if folder.exists() else set()


def test_two_scenes_are_edited_scored_and_not_done_again(server, graph, tmp_path):
    saved, output = tmp_path / "workflow.json", tmp_path / "out"
    saved.write_text(json.dumps(graph), encoding="utf-8")
    text = CONFIG.format(workflow=saved.as_posix(), output=output.as_posix(), address=server.url)
    (tmp_path / "config.toml").write_text(text, encoding="utf-8")
    before = [files_of(server.base / name) for name in ("input", "output")]
    assert evaluate(tmp_path).count("  done") == 2
    assert [files_of(server.base / name) for name in ("input", "output")] == before, (
        "the person's folders stay as they were"
    )

    rows = list(csv.DictReader((output / "results.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["label"] for row in rows] == ["remove subject", "tone"]
    assert all(row["error"] == "" and row["success"] in ("0.0", "1.0") for row in rows)
    sizes = {Image.open(output / row["edit"]).size for row in rows}
    assert sizes == {(64, 64)}
    found = json.loads((output / "summary.json").read_text(encoding="utf-8"))
    assert found["scenebench"]["average"]["count"] == 2
    assert rows[0]["edit"] in (output / "index.html").read_text(encoding="utf-8")

    pictures = {row["edit"]: (output / row["edit"]).read_bytes() for row in rows}
    lines = (output / "results.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (output / "results.jsonl").write_text(lines[0] + lines[1][:20], encoding="utf-8")
    said = evaluate(tmp_path)
    assert (said.count("  kept"), said.count("  done")) == (1, 1), "a line that a kill cut off is made again"
    assert {name: (output / name).read_bytes() for name in pictures} == pictures
    assert evaluate(tmp_path).count("  kept") == 2


def test_the_host_works_on_the_next_case_while_one_is_scored(server, graph, tmp_path):
    """Seen from the host: each time something is scored, one prompt more than is scored is there or was."""
    known, seen = set(server.get_json("/history")), []

    class Looking(Scorer):
        def score(self, case, picture):
            waiting = [item[1] for items in server.get_json("/queue").values() for item in items]
            seen.append(len({*server.get_json("/history"), *waiting} - known))
            return super().score(case, picture)

    cases = [scene_case(make_case(seed, Task.TONE, "heldout", 64)) for seed in range(3)]
    outcomes = Evaluation(Editor(server, graph), Looking(lambda picture: picture), tmp_path).run(cases)
    assert all(outcome.done for outcome in outcomes), outcomes
    assert seen == [2, 3, 3]


def adapter_beside(path):
    """The embedded adapter with its first expert weights turned round: one that somebody trained."""
    shipped = EMBEDDED["embedded: x2edit"]
    tensors, notes = load_file(shipped), metadata_of(shipped)
    for name, tensor in tensors.items():
        tensors[name] = -tensor if "up" in name else tensor
    save_file(tensors, path, notes)
    return path


def pixels(data):
    """Without the graph, which the host writes into the file."""
    return Image.open(io.BytesIO(data)).tobytes()


def metadata_of(path):
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def test_the_tool_runs_the_configurations_workflow_with_an_adapter_of_ones_own(server, graph, tmp_path):
    """In the API's form, into the folder that is asked for, with the miniature and an adapter trained on it."""
    (tmp_path / "graph.json").write_text(json.dumps(graph), encoding="utf-8")
    text = CONFIG.format(workflow=(tmp_path / "graph.json").as_posix(), output=(tmp_path / "no").as_posix(), address="")
    text = text.replace('address = ""', "").replace('"remove subject", ', "")
    (tmp_path / "config.toml").write_text(text, encoding="utf-8")
    adapter = adapter_beside(tmp_path / "mine.safetensors")
    options = ["--demo-models", "--adapter", str(adapter), "--output", str(tmp_path / "out")]
    command = [sys.executable, str(REPO / "tools" / "dev.py"), "evaluate", str(tmp_path / "config.toml"), *options]
    environment = {**os.environ, "COMFYUI_PATH": server.host.comfyui, "COMFYUI_PYTHON": sys.executable}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "no").exists()
    (row,) = csv.DictReader((tmp_path / "out" / "results.csv").read_text(encoding="utf-8").splitlines())

    models = server.base / "models" / "x2edit"
    models.mkdir(parents=True, exist_ok=True)
    shutil.copy(adapter, models / "mine.safetensors")
    edits = {}
    for name in ("embedded: x2edit", "mine.safetensors"):
        edits[name] = pixels(Editor(server, with_adapter(graph, name)).edit(CASE, CASE.source(), 3))
    (models / "mine.safetensors").unlink()
    made = pixels((tmp_path / "out" / row["edit"]).read_bytes())
    assert edits["embedded: x2edit"] != edits["mine.safetensors"] == made


def endless(server, graph):
    """`graph` with far more steps than a test waits for, and the id of its sampler."""
    graph = copy.deepcopy(graph)
    (load,), (sampler,) = (
        [name for name, node in graph.items() if node["class_type"] == kind] for kind in ("LoadImage", "KSampler")
    )
    graph[load]["inputs"]["image"] = server.upload("a.png", CASE.source(), "temp")
    graph[sampler]["inputs"]["steps"] = 10_000
    return graph, sampler


def edit_too_slowly(server, graph, timeout):
    with pytest.raises(PromptError, match=f"did not finish the graph within {timeout} s"):
        Editor(server, graph, timeout=timeout).edit(CASE, CASE.source(), 0)


def test_a_case_that_waits_too_long_leaves_the_run_before_it_alone(server, graph):
    other = Running(server, *endless(server, graph))
    assert other.begun.wait(120), other.error
    edit_too_slowly(server, graph, 1)
    other.join(2)
    queue = server.get_json("/queue")
    try:
        assert other.is_alive(), other.error
        assert (len(queue["queue_running"]), queue["queue_pending"]) == (1, [])
    finally:
        server.interrupt()
        other.join(60)


def test_a_case_that_runs_too_long_is_stopped(server, graph):
    edit_too_slowly(server, endless(server, graph)[0], 10)
    wait_for(lambda: not server.get_json("/queue")["queue_running"], 60)


@pytest.mark.parametrize("path", sorted(WORKFLOWS.glob("*.json")), ids=lambda path: path.stem)
def test_shipped_workflows_say_where_a_case_goes_or_what_to_name(server, path):
    """Those with several turns or results cannot know which one is meant."""
    graph = load_graph(path, server)
    if path.stem.startswith("Try it now"):
        with pytest.raises(PlaceError, match="One LoadImage node was expected"):
            Editor(server, graph)
        return
    if path.stem in (
        "ICEdit several turns (all nodes)", "ICEdit without adapter (all nodes)", "Edit like a picture (all nodes)"
    ):  # fmt: skip
        with pytest.raises(PlaceError, match=r"places\."):
            Editor(server, graph)
        return
    places = Editor(server, graph).places
    assert len(places.image) == 1 and places.instruction and places.seed and places.output
    has_task = any(node["class_type"] == "X2EditTask" for node in graph.values())
    assert bool(places.task) == has_task


def test_a_place_of_ones_own_picks_a_turn(server):
    graph = load_graph(WORKFLOWS / "ICEdit several turns (all nodes).json", server)
    named = Places(instruction=(("8", "instruction"),), output="13")
    assert Editor(server, graph, named).places.image == (("5", "image"),)

"""The server killed in the middle of work, as by a power cut: what was made stays whole, and the same graph goes on."""

from __future__ import annotations

import csv
import os
import sys

import pytest
from devkit.host import Host
from devkit.running import Running, shown, wait_for
from devkit.server import Server

from x2edit_core.workflow.client import ServerError

from ..core.chat_server import Reply, completion, serving
from .runs import edit_graph, filter_graph, node, saved_picture

FURTHER = """
log_every = 2
save_every = 4
[model]
precision = "float32"
[data]
cache = "scenes"
cases = 12
pictures = 4
workers = 0
"""


@pytest.fixture(scope="module")
def mortal(tmp_path_factory):
    """A server of this file's own; each test leaves it running."""
    with Server(
        Host(os.environ["COMFYUI_PATH"], sys.executable, ""), base=tmp_path_factory.mktemp("mortal")
    ) as running:
        yield running


@pytest.fixture
def judge():
    """A vision model behind HTTP that always prefers the first edit."""
    with serving() as fake:
        fake.script = [Reply(completion("1, it is red"))]
        yield fake


def training(steps):
    return {
        "models": node("X2EditDemoModels", base="x2edit"),
        "train": node(
            "X2EditTrain", model=["models", 0], clip=["models", 1], vae=["models", 2], dataset="scenes", name="cut",
            kind="x2edit", steps=steps, batch=2, learning_rate=0.01, rank=2, experts=4, size=32, seed=0, further=FURTHER,
        ),
    }  # fmt: skip


def rows_of(path):
    """Steps and losses in the table so far; the last row may be half written."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [(row["step"], row["loss"]) for row in csv.DictReader(file) if row["seconds"]]


def kill_in_the_middle(server, running, reached):
    wait_for(lambda: reached() or running.error)
    assert running.error is None and running.result is None
    server.kill()
    running.join(120)
    assert isinstance(running.error, ServerError)


def test_killed_in_training_it_goes_on_from_the_last_state(mortal, pack):
    run = mortal.base / "output" / "x2edit_training" / "cut"
    running = Running(mortal, training(100_000))
    kill_in_the_middle(mortal, running, lambda: len(rows_of(run / "losses.csv")) >= 7)
    saved = pack.core("train.checkpoints").load_newest(run)
    assert saved["step"] >= 4
    assert pack.core("adapters.checkpoint").load_adapter(run / "adapter.safetensors").spec.experts == 4
    assert not (mortal.base / "models" / "x2edit" / "cut.safetensors").exists(), "it was not finished"
    before = rows_of(run / "losses.csv")[: saved["step"]]
    mortal.start()
    mortal.run(training(saved["step"] + 3))
    after = rows_of(run / "losses.csv")
    assert after[: saved["step"]] == before
    assert [int(step) for step, _ in after] == list(range(1, saved["step"] + 4))
    result = pack.core("adapters.checkpoint").load_adapter(mortal.base / "models" / "x2edit" / "cut.safetensors")
    assert result.task_aware
    assert mortal.run(edit_graph("cut.safetensors")).images, "the loader of the restarted server lists it"


def test_killed_in_the_filter_the_same_graph_gives_the_same_edit(mortal, judge):
    first = mortal.run(filter_graph(judge.address))
    kept = {path: path.read_bytes() for path in (mortal.base / "output").rglob("*.png")}
    assert kept
    mortal.free()
    running = Running(mortal, filter_graph(judge.address, seeds=4, steps=2000), "filter", events=9)
    kill_in_the_middle(mortal, running, running.begun.is_set)
    assert {path: path.read_bytes() for path in (mortal.base / "output").rglob("*.png")} == kept
    mortal.start()
    again = mortal.run(filter_graph(judge.address))
    assert shown(again, "seed") == shown(first, "seed") == "7"
    assert saved_picture(again) == saved_picture(first)


def test_a_judge_lost_on_the_way_costs_only_its_judgement(mortal, judge):
    """The first comparison is answered, once for log-probabilities and once in words; then nobody listens any more."""

    def last(asked):
        judge.socket.close()
        return Reply(cut=20)

    judge.script = [*[Reply(completion("2, it is red"))] * 2, last]
    result = mortal.run(filter_graph(judge.address, seeds=4))
    assert shown(result, "seed") == "8", "the best so far stays"
    assert "cannot be reached" in shown(result, "report") or "was cut" in shown(result, "report")
    assert saved_picture(result) == saved_picture(mortal.run(edit_graph(seed=8, steps=4)))

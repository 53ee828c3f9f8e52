"""The builder on the real host: every shipped recipe on the miniature, and scenes that become pairs to learn from."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from devkit.replace import with_demo_models
from PIL import Image

from x2edit_core.dataset import shards
from x2edit_core.dataset.config import DatasetConfig, HostConfig, RecipeConfig, load_config
from x2edit_core.dataset.recipes import SHIPPED
from x2edit_core.dataset.release import write_release
from x2edit_core.dataset.run import Run
from x2edit_core.dataset.shop import workshop
from x2edit_core.dataset.sources import read_sources
from x2edit_core.dataset.validate import validate
from x2edit_core.workflow.files import load_graph

from .test_train_script import config_text, losses_of, run_script

DEMO = SHIPPED["demo"].parents[1] / "demo.toml"


def made(config: DatasetConfig):
    Run(workshop(config)).run(read_sources(config.sources))
    return [one for folder in shards.finished_shards(config.folder) for one in shards.outcomes_of(folder)]


def small(server, name, folder):
    """A shipped recipe with the embedded models, two steps and small pictures, in the API's form."""
    graph = with_demo_models(load_graph(SHIPPED[name], server))
    for node in graph.values():
        inputs = node["inputs"]
        inputs.update({key: value for key, value in (("steps", 2), ("width", 64), ("height", 64)) if key in inputs})
    (folder / f"{name}.json").write_text(json.dumps(graph))
    return str(folder / f"{name}.json")


def written(folder):
    """One photo-like picture with its mask and an instruction, or a prompt."""
    ramp = np.linspace(0, 255, 64)
    picture = np.stack([*np.meshgrid(ramp, ramp), np.full((64, 64), 90)], -1).astype(np.uint8)
    Image.fromarray(picture).save(folder / "a.png")
    mask = np.zeros((64, 64), np.uint8)
    mask[16:40, 16:40] = 255
    Image.fromarray(mask).save(folder / "a_mask.png")
    line = {"image": "a.png", "mask": "a_mask.png", "instruction": "Remove the ball", "task": "remove"}
    (folder / "list.jsonl").write_text(json.dumps(line))
    (folder / "prompts.txt").write_text("Remove the ball\n")


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_recipe_edits_on_the_miniature(server, tmp_path, name):
    written(tmp_path)
    kind, path = ("prompts", "prompts.txt") if name == "draw" else ("jsonl", "list.jsonl")
    plain = load_config(DEMO)
    sources = replace(plain.sources, kind=kind, path=str(tmp_path / path), licence="CC0-1.0", origin="test", limit=1)
    recipes = {name: RecipeConfig(small(server, name, tmp_path), timeout=240.0)}
    config = replace(
        plain, output=str(tmp_path / "out"), sources=sources, recipes=recipes, hosts=[HostConfig(server.url)],
        instructions=replace(plain.instructions, writer="given"), scores=replace(plain.scores, judge="none"),
    )  # fmt: skip
    (found,) = made(config)
    if name == "draw":
        assert (found["stage"], found["synthetic"]) == ("instructions", True), found["reasons"]
        return
    assert "edit" in found and found["size"] == [64, 64], found["reasons"]
    made_by = found["provenance"][-1]
    assert (made_by["recipe"], made_by["host"]) == (name, server.url) and len(made_by["workflow_sha256"]) == 64
    if name == "inpaint":
        store = shards.folder_of(config.folder, 0) / "blobs"
        source, edit = (np.asarray(Image.open(store / found[part]).convert("RGB")) for part in ("source", "edit"))
        assert (source[60:] == edit[60:]).all() and not (source[20:36, 20:36] == edit[20:36, 20:36]).all(), (
            "in its mask"
        )


def test_scenes_become_pairs_that_the_trainer_learns_from(server, pack, tmp_path):
    """Tones, which the miniature does: judged by the exact edit, released, read, and learnt from."""
    plain = load_config(DEMO)
    sources = replace(plain.sources, limit=4, size=64, tasks={"tone": 1.0})
    config = replace(plain, output=str(tmp_path / "set"), sources=sources, hosts=[HostConfig(server.url)])
    found = made(config)
    kept = [one for one in found if one["kept"]]
    assert kept and all(one["scores"]["success"] == 1 and one["source"] != one["edit"] for one in kept)
    assert all(one["words"]["en"] and one["words"]["zh"] for one in kept)
    assert write_release(config).pairs == len(kept)
    release = config.folder / "release"
    assert not validate(release).faults
    text = config_text(tmp_path / "run", tmp_path / "cache", "lora", steps=6, optim__rate=0.02, log_every=1)
    text = text.replace("[data]", f'[data]\nkind = "webdataset"\npath = "{(release / "webdataset").as_posix()}"')
    assert run_script(pack, tmp_path / "run", text) == 0
    found = [float(loss) for _, loss in losses_of(tmp_path / "run")]
    assert len(found) == 6 and np.isfinite(found).all()
    adapter = pack.core("adapters.checkpoint").load_adapter(tmp_path / "run" / "adapter.safetensors")
    assert all(delta.up.any() for delta in adapter.deltas), "every site has learnt something"

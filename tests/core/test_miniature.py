"""The recipes of the embedded models: valid, in an order in which each finds what it starts from, all results shipped."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from devkit import miniature

from x2edit_core.train.config import load_config

CONFIGS = {miniature.stage_name(path): (path, load_config(path)) for path in miniature.recipes()}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_recipe_is_a_run_in_the_folder_of_its_stage(name):
    path, config = CONFIGS[name]
    assert PurePosixPath(config.output) == PurePosixPath("out/miniature", name)
    assert PurePosixPath(config.data.cache) == PurePosixPath("out/miniature/cache")
    assert miniature.steps_of(path) == config.steps


def test_every_stage_starts_from_an_earlier_one():
    made: set[str] = set()
    for name, (_, config) in CONFIGS.items():
        needed = [file for file in (config.model.base, *config.model.clip) if file not in ("", "demo")]
        assert {PurePosixPath(file).parts[2] for file in needed} <= made
        made.add(name)


def test_what_is_shipped_comes_from_the_stages():
    made = {"autoencoder", *CONFIGS}
    assert {PurePosixPath(source).parts[0] for source in miniature.RESULTS} <= made
    shipped = {path.name for path in miniature.WEIGHTS.glob("*.safetensors")}
    assert shipped == set(miniature.RESULTS.values())


def test_a_stage_is_done_when_its_last_state_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(miniature, "FOLDER", tmp_path)
    names = ["autoencoder", *CONFIGS]
    assert [name for name, _ in miniature._stages("cpu")] == names
    (tmp_path / "autoencoder").mkdir()
    (tmp_path / "autoencoder" / "autoencoder.safetensors").touch()
    (tmp_path / names[1]).mkdir()
    (tmp_path / names[1] / "state-0000001.pt").touch()
    assert [name for name, _ in miniature._stages("cpu")] == names[1:]
    (tmp_path / names[1] / f"state-{CONFIGS[names[1]][1].steps:07d}.pt").touch()
    assert [name for name, _ in miniature._stages("cpu")] == names[2:]

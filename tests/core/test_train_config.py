"""Configurations: refused as a whole with every fault, saved so that they read back equal."""

from __future__ import annotations

import pytest

from x2edit_core.settings import ConfigError, to_toml
from x2edit_core.train.config import load_config, parse_config

LEAST = {"kind": "x2edit", "output": "run", "steps": 10, "model": {"base": "flux.safetensors"}}


def test_a_saved_configuration_reads_back_equal(tmp_path):
    data = {"mix": {"edit": 2, "copy": 0.5}, "tasks": {"remove subject": 3}, "path": 'a "quoted"\\path\n'}
    config = parse_config({**LEAST, "data": data, "model": {"base": "b", "clip": ["l", "t5"]}, "tensorboard": True})
    path = tmp_path / "config.toml"
    path.write_text(to_toml(config), encoding="utf-8")
    assert load_config(path) == config
    assert load_config(path, steps=7).steps == 7


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"stpes": 3}, "stpes is not known"),
        ({"optim": {"lr": 1.0}}, "optim.lr is not known"),
        ({"steps": "ten"}, "steps = 'ten'; a whole number"),
        ({"steps": True}, "steps = True"),
        ({"kind": "dreambooth"}, "one of x2edit, moe"),
        ({"optim": {"name": "sgd"}}, "one of adamw, prodigy"),
        ({"model": 3}, "model: a table"),
        ({"steps": 0}, "steps = 0: at least 1"),
        ({"model": {"base": ""}}, "model.base is empty"),
        ({"data": {"kind": "folder"}}, "data.path is empty"),
        ({"data": {"mix": {"paint": 1.0}}}, "data.mix names paint"),
        ({"data": {"mix": {"edit": -1.0}}}, "not negative"),
        ({"data": {"mix": {}}}, "data.mix needs shares"),
        ({"flux": {"hidden": 100}}, "a multiple of 128"),
        ({"optim": {"ema": 1.0}}, "optim.ema = 1.0"),
        ({"optim": {"name": "prodigy", "state": "bfloat16"}}, "prodigy rounds to nearest"),
        ({"optim": {"name": "muon", "state": "bfloat16"}}, "muon rounds to nearest"),
    ],
)
def test_faults_are_named(change, told):
    with pytest.raises(ConfigError) as caught:
        parse_config({**LEAST, **change})
    assert told in str(caught.value)


def test_all_faults_come_together():
    with pytest.raises(ConfigError) as caught:
        parse_config({"kind": "q", "steps": "x", "colour": 1, "data": {"size": 0.5}})
    assert len(caught.value.problems) == 5, "kind, steps, colour, data.size, and output that is missing"


def test_unreadable_files_are_told(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("steps = ")
    with pytest.raises(ConfigError, match="no valid TOML"):
        load_config(tmp_path / "bad.toml")

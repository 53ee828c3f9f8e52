"""Configurations: refused as a whole with every fault, saved so that they read back equal."""

from __future__ import annotations

import dataclasses
import typing

import pytest

from x2edit_core.settings import ConfigError, to_toml
from x2edit_core.train.config import TrainConfig, load_config, parse_config

LEAST = {"kind": "x2edit", "output": "run", "steps": 10, "model": {"base": "flux.safetensors"}}


def test_a_saved_configuration_reads_back_equal(tmp_path):
    data = {"mix": {"edit": 2, "copy": 0.5}, "tasks": {"remove subject": 3}, "path": 'a "quoted"\\path'}
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


OUTSIDE = {
    "": {"steps": [0, -1, 10**10], "batch": [0, 10**6], "accumulate": [0], "save_every": [0], "keep": [0], "log_every": [0],
         "sample_every": [-1], "sample_steps": [0, 10**6], "device": ["tpu", "cuda:x", "CUDA 0"], "output": ["", "  "]},
    "model": {"guidance": [-1.0, float("nan")], "clip": [[], [""]], "vae": [""], "base": [" "]},
    "flux": {"hidden": [0, 100, -128], "double": [0, 10**6], "single": [-1], "context": [0], "pooled": [-4]},
    "adapter": {"experts": [0, -1, 2000], "rank": [0, 10**6], "top_k": [0], "alpha": [-1.0, float("inf")],
                "plain_rank": [-1], "offset_512": [-64], "offset_1024": [10**9]},
    "data": {"size": [0, -64, 15, 10**6], "cases": [0], "pictures": [0], "first_seed": [-1], "workers": [-1, 10**5],
             "drop_text": [5.0, -0.1, float("nan")], "mix": [{"edit": float("nan")}, {"edit": float("inf")}],
             "tasks": [{"remove subject": -1.0}, {"remove subject": float("nan")}, {"paint": 1.0}]},
    "loss": {"time_mean": [float("nan")], "time_spread": [-1.0], "edited": [-5.0], "contrast": [-0.2, float("inf")],
             "temperature": [0.0, -0.5], "balance": [-1.0]},
    "optim": {"rate": [float("nan"), 0.0, -1e-4, float("inf"), 100.0], "beta1": [1.0, -0.1], "beta2": [2.0, 1.0],
              "decay": [-1.0], "clip": [-1.0, float("nan")], "warmup": [-1], "final": [-0.5, 1.5], "ema": [-0.1, 1.0]},
}  # fmt: skip
CASES = [(table, name, value) for table, names in OUTSIDE.items() for name, values in names.items() for value in values]


def with_values(values):
    """A configuration that is right but for these (table, name, value)."""
    made = {name: dict(value) if isinstance(value, dict) else value for name, value in LEAST.items()}
    for table, name, value in values:
        (made.setdefault(table, {}) if table else made)[name] = value
    return made


@pytest.mark.parametrize(("table", "name", "value"), CASES)
def test_values_out_of_range_are_refused_by_name(table, name, value):
    with pytest.raises(ConfigError) as caught:
        parse_config(with_values([(table, name, value)]))
    place = f"{table}.{name}" if table else name
    assert all(problem.startswith(place) for problem in caught.value.problems), caught.value.problems


def test_every_value_out_of_range_is_told_at_once():
    """One bad value of each entry, and then the same beside a fault of type, which must not hide them."""
    worst = [(table, name, values[0]) for table, names in OUTSIDE.items() for name, values in names.items()]
    places = [f"{table}.{name}" if table else name for table, name, _ in worst]
    for extra in ([], [("optim", "name", "sgd")]):
        with pytest.raises(ConfigError) as caught:
            parse_config(with_values([*worst, *extra]))
        told = [place for place in places if any(problem.startswith(place) for problem in caught.value.problems)]
        by_range = {"device", "output", "model.clip", "model.vae", "model.base"}
        assert set(places) - set(told) <= (by_range if extra else set())


def test_a_loss_cannot_be_made_negative_nor_a_step_endless_by_replacing_values_later():
    config = parse_config(LEAST)
    with pytest.raises(ConfigError, match=r"loss\.edited = -5"):
        dataclasses.replace(config, loss=dataclasses.replace(config.loss, edited=-5.0))


def test_every_number_has_a_range():
    def unbounded(cls, prefix=""):
        for name, hint in typing.get_type_hints(cls, include_extras=True).items():
            if dataclasses.is_dataclass(hint):
                yield from unbounded(hint, f"{prefix}{name}.")
            elif hint in (int, float) or hint == dict[str, float]:
                yield f"{prefix}{name}"

    assert list(unbounded(TrainConfig)) == ["seed"]


# What TOML makes of C:\runs\new, C:\train, C:\backup and C:\form between double quotes.
@pytest.mark.parametrize("path", ["C:\runs\new", "C:\train", "C:\backup", "C:\form", "a\x7f"])
@pytest.mark.parametrize("place", ["output", "data.path", "data.cache", "model.base", "model.vae", "model.alignnet"])
def test_a_windows_path_whose_backslashes_became_line_breaks_is_refused(path, place):
    table, _, name = place.rpartition(".")
    with pytest.raises(ConfigError, match="single quotes") as caught:
        parse_config(with_values([(table, name, path)]))
    assert any(problem.startswith(place) for problem in caught.value.problems)


@pytest.mark.parametrize("written", [r'"C:\data"', r'"C:\Users\me"', r'"C:\runs\new"'])
def test_a_windows_path_in_double_quotes_is_told_how_to_be_written(tmp_path, written):
    path = tmp_path / "run.toml"
    path.write_text(f'kind = "base"\nsteps = 1\noutput = {written}\n')
    with pytest.raises(ConfigError, match="C:/runs/new"):
        load_config(path)
    path.write_text(f"kind = 'base'\nsteps = 1\noutput = {written}\n".replace('"', "'"))
    assert load_config(path).output == written.strip('"')


def test_a_path_may_have_spaces_of_any_script():
    path = "数据\u3000集/a\u00a0b/É"
    assert parse_config({**LEAST, "data": {"kind": "folder", "path": path}}).data.path == path


def test_prodigy_starts_at_one_and_is_refused_where_it_could_not_learn():
    assert parse_config({**LEAST, "optim": {"name": "prodigy"}}).optim.rate == 1.0
    with pytest.raises(ConfigError, match=r"optim\.rate = 0\.0001 with prodigy.*to 1"):
        parse_config({**LEAST, "optim": {"name": "prodigy", "rate": 1e-4}})


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

from __future__ import annotations

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from x2edit_core.miniature import train_autoencoder
from x2edit_core.miniature.autoencoder import initial_weights
from x2edit_core.miniature.train_autoencoder import Plan, drawn, evaluate, train

PLAN = Plan(steps=4, batch=2, cases=3, heldout=2, size=32)


@pytest.fixture(autouse=True)
def _short_stages(monkeypatch):
    monkeypatch.setattr(train_autoencoder, "SAVE_EVERY", 2)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of one whole run, and what came out."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, train(PLAN, folder, 1e9)


def test_stages_give_the_weights_of_one_run(tmp_path, run):
    _, whole = run
    assert train(PLAN, tmp_path / "staged", 0) is None
    staged = train(PLAN, tmp_path / "staged", 0)
    assert whole is not None
    assert staged is not None
    first, second = load_file(whole), load_file(staged)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_result_is_half_precision_and_says_how_good_it_is(run):
    folder, path = run
    assert path is not None
    with safe_open(path, "pt") as file:
        said = file.metadata()
    weights = load_file(path)
    measured = evaluate(weights, drawn(folder, PLAN.heldout, "heldout", PLAN.size))
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    assert said["steps"] == "4"
    assert float(said["edits_psnr_db"]) == pytest.approx(measured["psnr_db"], abs=0.01)


def test_training_lowers_the_error(tmp_path):
    plan = Plan(steps=16, batch=2, cases=1, heldout=1, size=32)
    path = train(plan, tmp_path, 1e9)
    assert path is not None
    seen = drawn(tmp_path, plan.cases, "train", plan.size)
    assert evaluate(load_file(path), seen)["psnr_db"] > evaluate(initial_weights(), seen)["psnr_db"]


def test_pictures_are_drawn_once(tmp_path, monkeypatch):
    first = drawn(tmp_path, 2, "train", 32)
    monkeypatch.setattr(train_autoencoder, "make_case", None)
    assert torch.equal(first, drawn(tmp_path, 2, "train", 32))

"""Turns of one workflow: what drifts outside the edit is measured against the first picture, whatever the turns before did."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
import torch
from bench.planted import photo
from PIL import Image

from x2edit_core.evaluate.cases import Case, png
from x2edit_core.evaluate.drift import TABLE, curve, edited, measured, run_turns
from x2edit_core.evaluate.editor import Editor
from x2edit_core.tasks import Task

from .test_evaluate import GRAPH, Host

SIDE = 160
FIRST = photo(31, SIDE)


def as_bytes(picture):
    return png((picture[0] * 255).round().byte().numpy())


def opened(data):
    return torch.from_numpy(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(np.float32) / 255)[None]


def painted(picture):
    edit = picture.clone()
    edit[:, 40:80, 40:80] = torch.tensor((1.0, 0.1, 0.1))
    return edit


def case_of(picture=FIRST, **more):
    return Case(
        name="0", label="color", instruction="make it red", task=Task.COLOR, source=lambda: as_bytes(picture), **more
    )


def turned(edit, turns, folder, case=None):
    """Turns of an editor that does `edit` to pixels, and what it told."""
    told = []
    editor = Editor(Host(lambda graph, data: as_bytes(edit(opened(data)))), GRAPH)
    return run_turns(editor, [case or case_of()], folder, turns, 7, told.append), told, editor


def test_an_editor_that_keeps_the_rest_never_drifts(tmp_path):
    found, _, editor = turned(painted, 4, tmp_path)
    assert [turn.turn for turn in found] == [1, 2, 3, 4]
    assert all(turn.psnr_db == 100 and turn.delta_e == 0 and abs(turn.right_px) < 0.02 for turn in found)
    assert [graph["3"]["inputs"]["seed"] for graph in editor.client.graphs] == [7, 8, 9, 10]
    assert len(list((tmp_path / "turns").iterdir())) == 4
    with open(tmp_path / TABLE, newline="", encoding="utf-8") as file:
        assert [row["turn"] for row in csv.DictReader(file)] == ["1", "2", "3", "4"]


def test_a_shift_of_a_pixel_a_turn_adds_up(tmp_path):
    found, _, _ = turned(lambda picture: torch.roll(painted(picture), 1, 2), 5, tmp_path)
    assert [turn.right_px for turn in found] == pytest.approx([1, 2, 3, 4, 5], abs=0.15)
    assert all(abs(turn.down_px) < 0.1 and abs(turn.zoom - 1) < 0.002 for turn in found)
    assert found[0].psnr_db > found[2].psnr_db and found[0].delta_e < found[2].delta_e


def test_a_gain_shows_as_colour_and_not_as_movement(tmp_path):
    found, _, _ = turned(lambda picture: painted(picture * 0.99), 3, tmp_path)
    assert found[0].delta_e < found[1].delta_e < found[2].delta_e
    assert all(abs(turn.right_px) < 0.1 and abs(turn.down_px) < 0.1 for turn in found)


def test_an_edit_of_the_whole_picture_has_no_rest(tmp_path):
    found, told, _ = turned(lambda picture: 1 - picture, 3, tmp_path)
    assert found == [] and told == [
        "0: The edit is of the whole picture, so there is nothing outside it that could drift."
    ]


def test_a_mask_says_where_the_edit_belongs():
    mask = torch.zeros(1, SIDE, SIDE)
    mask[:, 60:70, 60:70] = 1
    case = case_of(mask=lambda: png((mask[0] * 255).byte().numpy()))
    area = edited(case, FIRST, FIRST)
    assert area[0, 52:78, 52:78].all() and area.sum() == 26 * 26
    outside = FIRST.clone()
    outside[:, 100:] = (outside[:, 100:] + 0.1).clamp(0, 1)
    assert measured("0", 1, FIRST, outside, area).psnr_db < 30


def test_the_curve_is_the_mean_by_turn():
    one, other = (measured("x", turn, FIRST, painted(FIRST), torch.zeros(1, SIDE, SIDE)) for turn in (1, 1))
    (row,) = curve([one, other])
    assert row["cases"] == 2 and row["psnr_db"] == one.psnr_db and row["turn"] == 1

"""Scenes as data to learn from, with an edit of their own or one that all of them show."""

from __future__ import annotations

import pytest
import torch

from x2edit_core.errors import X2EditError
from x2edit_core.scenes import make_case
from x2edit_core.train.config import DataConfig, parse_config
from x2edit_core.train.scene_data import scene_pools

from .test_train_data import Averages


def test_a_lesson_takes_the_place_of_every_scenes_own_edit(tmp_path):
    config = DataConfig(size=64, cases=3, workers=0, lesson="inversion")
    encoder = Averages()
    pool = scene_pools(config, "reference", tmp_path, encoder)["edit"]
    for index in range(3):
        example, source = pool.example(index), make_case(index, size=64).source
        assert (example.instruction, example.task) == ("turn every value upside down", 11)
        assert example.reference is not None
        shown = encoder.encode(torch.from_numpy(source)[None])[0]
        torch.testing.assert_close(example.reference.float(), shown, rtol=0, atol=0.01)
        torch.testing.assert_close(example.target.float(), 1 - shown, rtol=0, atol=0.01)


def test_lessons_share_the_drawn_pictures_and_no_latents(tmp_path):
    encoder = Averages()
    targets = []
    for lesson in ("", "inversion", "channels", "inversion"):
        config = DataConfig(size=64, cases=3, workers=0, lesson=lesson)
        targets.append(scene_pools(config, "reference", tmp_path, encoder)["edit"].example(0).target)
    assert len(list(tmp_path.rglob("*.npz"))) == 1 and len(list((tmp_path / "latents").iterdir())) == 3
    assert torch.equal(targets[1], targets[3]) and not torch.equal(targets[0], targets[1])


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"lesson": "paint"}, "there are: channels"),
        ({"lesson": "grid", "kind": "folder", "path": "x"}, "changes scenes"),
    ],
)
def test_an_unknown_lesson_and_one_for_other_data_are_refused(data, told):
    with pytest.raises(X2EditError, match=told):
        parse_config({"kind": "lora", "output": "run", "steps": 1, "model": {"base": "demo:x2edit"}, "data": data})

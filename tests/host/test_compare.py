"""Before and after under one slider: what the node hands to the page, as files in the host's temporary folder."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image


@pytest.fixture(scope="module")
def compare(pack):
    def run(**inputs):
        return pack.node("X2EditCompare").execute(**inputs).ui["x2edit_compare"]

    return run


def opened(entry):
    import folder_paths

    assert entry["type"] == "temp" and entry["subfolder"] == ""
    with Image.open(f"{folder_paths.get_temp_directory()}/{entry['filename']}") as file:
        return np.asarray(file.copy())


def test_pictures_of_any_size_arrive_as_they_are(compare):
    before, after = torch.rand(1, 24, 40, 3), torch.rand(1, 48, 32, 3)
    (pair,) = compare(before=before, after=after)
    assert set(pair) == {"before", "after"}
    for name, picture in (("before", before), ("after", after)):
        assert np.array_equal(opened(pair[name]), (picture[0] * 255).round().byte().numpy())


def test_the_shorter_batch_is_cycled(compare):
    before, after = torch.rand(1, 8, 8, 3), torch.rand(3, 8, 8, 3)
    pairs = compare(before=before, after=after)
    assert len(pairs) == 3
    assert len({pair["after"]["filename"] for pair in pairs}) == 3
    assert all(np.array_equal(opened(pair["before"]), opened(pairs[0]["before"])) for pair in pairs)
    assert np.array_equal(opened(pairs[2]["after"]), (after[2] * 255).round().byte().numpy())


def test_a_target_and_a_mask_come_along(compare):
    picture, mask = torch.rand(1, 8, 8, 3), torch.zeros(1, 8, 8)
    mask[0, :4] = 1
    (pair,) = compare(before=picture, after=picture, target=1 - picture, mask=mask)
    assert np.array_equal(opened(pair["target"]), ((1 - picture[0]) * 255).round().byte().numpy())
    tint = opened(pair["mask"])
    assert tint.shape == (8, 8, 4)
    assert (tint[:4, :, 3] > 0).all() and (tint[4:, :, 3] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_pictures_of_other_precisions_and_channels(compare, dtype):
    (pair,) = compare(before=torch.rand(1, 8, 8, 1, dtype=dtype), after=torch.rand(1, 8, 8, 4, dtype=dtype))
    assert opened(pair["before"]).shape == opened(pair["after"]).shape == (8, 8, 3)


def test_an_empty_batch_is_named(pack, compare):
    with pytest.raises(pack.core("errors").X2EditError, match="`after` is an empty batch"):
        compare(before=torch.rand(1, 8, 8, 3), after=torch.rand(0, 8, 8, 3))


def test_a_scene_is_drawn_with_its_answer(pack):
    image, instruction, target, task = pack.run("X2EditDemoScene", task="tone", seed=1)
    assert image.shape == target.shape == (1, 128, 128, 3)
    assert image.dtype == torch.float32 and image.min() >= 0 and image.max() <= 1
    assert instruction and not torch.equal(image, target)
    assert task.task.english == "tone"
    again = pack.run("X2EditDemoScene", task="tone", seed=1)
    assert torch.equal(again[0], image) and again[1] == instruction


def test_a_scene_speaks_chinese(pack):
    instruction = pack.run("X2EditDemoScene", task="remove subject", seed=3, language="zh")[1]
    assert any("\u4e00" <= letter <= "\u9fff" for letter in instruction)


def test_a_task_chosen_by_hand_is_not_classified(pack):
    task, name, confidence, report = pack.run("X2EditClassify", instruction="remove the dog", task="tone")
    assert (task.task.english, name, confidence) == ("tone", "tone", 1.0)
    assert "by hand" in report
    assert pack.run("X2EditClassify", instruction="remove the dog", task="automatic")[1] == "remove subject"

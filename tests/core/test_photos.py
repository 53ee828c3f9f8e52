"""Crops of photos to teach and to score with: never of one scene, the same on every machine, none without its package."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from devkit import photos
from PIL import Image

from x2edit_core.errors import X2EditError
from x2edit_core.miniature.lessons import LESSONS


def test_no_photo_is_both_learnt_from_and_scored():
    parts = [set(names) for names in photos.PARTS.values()]
    assert all(parts) and not any(one & other for one, other in itertools.combinations(parts, 2))


def test_crops_are_of_one_size_with_something_in_them_and_always_the_same():
    first, again = (list(photos.crops("test", 6, 32)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert all(crop.shape == (32, 32, 3) and crop.std() >= photos.LEAST_CONTRAST for crop in first)
    assert len({crop.tobytes() for crop in first}) == 6


def test_pairs_show_each_lesson_equally_often_in_its_own_words(tmp_path):
    lessons = [LESSONS["inversion"], LESSONS["mirror"]]
    index = photos.write_pairs(tmp_path, "validation", lessons, 3, 32)
    lines = [json.loads(line) for line in index.read_text(encoding="utf-8").splitlines()]
    assert sorted(line["task"] for line in lines) == ["camera"] * 3 + ["tone"] * 3
    for line in lines:
        source, target = (np.asarray(Image.open(tmp_path / line[name])) for name in ("source", "target"))
        lesson = next(lesson for lesson in lessons if lesson.instruction == line["instruction"])
        assert np.array_equal(lesson.apply(source), target)
    said = photos.write_pairs(tmp_path / "one", "validation", lessons, 1, 32, "change it").read_text(encoding="utf-8")
    assert said.count('"instruction": "change it"') == 2


def test_without_the_package_it_is_named(monkeypatch):
    monkeypatch.setattr(photos, "find_spec", lambda name: None)
    with pytest.raises(X2EditError, match="pip install scikit-image"):
        photos.photo("coffee.png")

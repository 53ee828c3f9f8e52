"""Edits to be taught: what each does to a picture, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from x2edit_core.errors import X2EditError
from x2edit_core.miniature.lessons import LESSONS, lesson_named

PICTURE = np.random.default_rng(4).integers(0, 256, (32, 48, 3), dtype=np.uint8)


def edited(name, picture=PICTURE):
    before = picture.copy()
    result = lesson_named(name).apply(picture)
    assert np.array_equal(picture, before), "the source stays as it is"
    assert result.shape == picture.shape and result.dtype == np.uint8
    return result


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_changes_a_picture_and_has_words_and_a_task_of_its_own(name):
    lesson = lesson_named(name)
    assert np.abs(edited(name).astype(int) - PICTURE).mean() > 5
    others = [other for other in LESSONS.values() if other is not lesson]
    assert lesson.instruction not in [other.instruction for other in others]
    assert lesson.task not in [other.task for other in others]


def test_values_are_changed_pixel_by_pixel():
    pixel = np.array([[[10, 120, 250]]], np.uint8)
    assert edited("channels", pixel).tolist() == [[[120, 250, 10]]]
    assert edited("inversion", pixel).tolist() == [[[245, 135, 5]]]
    assert edited("levels", pixel).tolist() == [[[0, 127, 255]]]
    assert edited("solarise", pixel).tolist() == [[[10, 120, 5]]]


def test_two_colours_run_from_the_dark_ink_to_the_light_one():
    ends = edited("two colours", np.array([[[0] * 3, [255] * 3]], np.uint8))
    assert ends.tolist() == [[[28, 18, 110], [255, 226, 130]]]
    green = edited("two colours", np.array([[[0, 255, 0]]], np.uint8))
    assert green.tolist() == [[[round(28 + 0.587 * 227), round(18 + 0.587 * 208), round(110 + 0.587 * 20)]]]


def test_grid_mirror_and_mosaic_go_by_places():
    grid = edited("grid")
    lines = (grid == (230, 0, 200)).all(-1)
    assert (
        lines[::8].all() and lines[:, ::12].all() and not lines[4, 4] and np.array_equal(grid[~lines], PICTURE[~lines])
    )
    assert lines.sum(0).min() == 8, "four lines of two rows"
    mirrored = edited("mirror")
    assert np.array_equal(mirrored[5, 0], PICTURE[5, 47]) and np.array_equal(mirrored[::-1], PICTURE[::-1, ::-1])
    mosaic = edited("mosaic")
    assert np.array_equal(mosaic[4:8, 6:12], np.broadcast_to(np.rint(PICTURE[4:8, 6:12].mean((0, 1))), (4, 6, 3)))
    assert edited("mosaic", PICTURE[:30, :41]).std() > 0, "sides that eight does not divide"


def test_an_unknown_lesson_is_told_with_those_that_there_are():
    with pytest.raises(X2EditError, match="'paint'; there are: channels, inversion"):
        lesson_named("paint")

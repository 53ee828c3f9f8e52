from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from x2edit_core import scenes
from x2edit_core.errors import X2EditError
from x2edit_core.miniature.autoencoder import Autoencoder, initial_weights
from x2edit_core.miniature.autoencoder import round_trip as through
from x2edit_core.scenes import scenebench
from x2edit_core.scenes.cases import edited_region
from x2edit_core.scenes.items import Thing
from x2edit_core.tasks import Task

SIZE = 64


@pytest.fixture(scope="module", params=["exact", "coarse"])
def round_trip(request):
    """No loss at all, and one that loses far more than a trained autoencoder."""
    if request.param == "exact":
        return lambda picture: picture
    network = Autoencoder()
    network.load_state_dict(initial_weights())
    return partial(through, network)


@pytest.fixture(scope="module")
def cases():
    return [scenes.make_case(seed, task, "heldout", SIZE) for task in scenes.TASKS for seed in range(4)]


def test_the_exact_target_always_succeeds(cases, round_trip):
    for case in cases:
        assert scenebench.score(case, case.target, round_trip).success
        assert scenebench.score(case, round_trip(case.target), round_trip).success


def test_doing_nothing_never_succeeds(cases, round_trip):
    for case in cases:
        assert not scenebench.score(case, case.source, round_trip).success
        assert not scenebench.score(case, round_trip(case.source), round_trip).success


def test_another_cases_answer_fails_or_spoils_the_rest(cases, round_trip):
    for case, other in zip(cases, cases[7:], strict=False):
        score = scenebench.score(case, other.target, round_trip)
        assert not score.success or (score.preservation_db is not None and score.preservation_db < 25)


def thing(x, kind, colour):
    return Thing(x, 0.5, 0.14, kind, colour)


BEFORE = (thing(0.3, "circle", "red"), thing(0.7, "square", "blue"))
RIGHT = (thing(0.3, "circle", "green"), BEFORE[1])
WRONG = {
    "another colour": (thing(0.3, "circle", "yellow"), BEFORE[1]),
    "another thing": (BEFORE[0], thing(0.7, "square", "green")),
    "another shape": (thing(0.3, "star", "green"), BEFORE[1]),
    "another place": (thing(0.4, "circle", "green"), BEFORE[1]),
    "another edit": (BEFORE[1],),
}


def hand_made(after):
    source, target = (scenes.render(scenes.Scene("beach", things), SIZE) for things in (BEFORE, after))
    region = edited_region(source, target)
    return scenes.EditCase(source, target, "make the circle green", "en", Task.COLOR, region, 0, "train")


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_edit_fails(wrong, round_trip):
    case = hand_made(RIGHT)
    assert not scenebench.score(case, hand_made(WRONG[wrong]).target, round_trip).success


def test_a_missing_subject_does_not_hide_in_a_right_background(round_trip):
    source, target, empty = (
        scenes.render(scenes.Scene(background, things), SIZE)
        for background, things in (("pale blue", BEFORE[:1]), ("meadow", BEFORE[:1]), ("meadow", ()))
    )
    region = np.ones((SIZE, SIZE), bool)
    case = scenes.EditCase(source, target, "show it on a meadow", "en", Task.SUBJECT, region, 0, "train")
    assert scenebench.score(case, target, round_trip).success
    assert not scenebench.score(case, empty, round_trip).success


def test_half_an_edit_fails(round_trip):
    case = hand_made(RIGHT)
    halfway = ((case.source.astype(int) + case.target) // 2).astype(np.uint8)
    assert not scenebench.score(case, halfway, round_trip).success


def test_preservation_looks_outside_only(round_trip):
    case = hand_made(RIGHT)
    edited = round_trip(case.source).copy()
    edited[case.region] = 0
    assert scenebench.score(case, edited, round_trip).preservation_db == scenebench.BEST_DB
    shifted = np.roll(round_trip(case.source), 3, axis=1)
    kept = scenebench.score(case, shifted, round_trip).preservation_db
    assert kept is not None
    assert kept < 35


def test_edits_of_the_whole_picture_have_nothing_to_preserve(round_trip):
    case = scenes.make_case(1, Task.TONE, size=SIZE)
    assert scenebench.score(case, case.target, round_trip).preservation_db is None


def test_psnr_is_that_of_the_whole_picture():
    case = hand_made(RIGHT)
    off = (case.target.astype(int) + np.where(case.target < 128, 10, -10)).astype(np.uint8)
    assert scenebench.score(case, off, lambda picture: picture).psnr_db == pytest.approx(20 * np.log10(255 / 10))


def test_a_picture_of_another_size_is_refused():
    case = hand_made(RIGHT)
    with pytest.raises(X2EditError, match=r"\(32, 32, 3\).*\(64, 64, 3\)"):
        scenebench.score(case, case.target[:32, :32], lambda picture: picture)


def test_growing_reaches_that_far():
    mask = np.zeros((9, 9), bool)
    mask[4, 4] = True
    grown = scenebench.grown(mask, 2)
    assert grown.sum() == 13
    assert grown[4, 2]
    assert not grown[4, 1]


def test_summary_averages_each_task_and_then_the_tasks():
    score = scenebench.Score
    report = scenebench.summary(
        [
            (Task.TONE, score(True, None, 30.0)),
            (Task.REMOVE, score(True, 40.0, 20.0)),
            (Task.REMOVE, score(False, 30.0, 10.0)),
        ]
    )
    assert report["tasks"] == {
        "remove": {"success": 0.5, "preservation_db": 35.0, "psnr_db": 15.0, "count": 2},
        "tone": {"success": 1.0, "preservation_db": None, "psnr_db": 30.0, "count": 1},
    }
    assert report["average"] == {"success": 0.75, "preservation_db": 35.0, "psnr_db": 22.5, "count": 3}


def star(kind="star", x=0.5):
    return scenes.render(scenes.Scene("beach", (Thing(x, 0.5, 0.14, kind, "red"),)), 128)


def added(target):
    source = scenes.render(scenes.Scene("beach"), 128)
    return scenes.EditCase(source, target, "add it", "en", Task.ADD, edited_region(source, target), 0, "train")


@pytest.mark.parametrize(("pixels", "right"), [(1, True), (4, False), (-4, False)])
def test_place_counts_but_not_to_the_pixel(pixels, right):
    output = star(x=0.5 + pixels / 128)
    assert scenebench.score(added(star()), output, lambda picture: picture).success is right


@pytest.mark.parametrize("kind", ["cross", "circle", "heart", "moon"])
def test_a_shape_that_covers_the_right_one_fails(kind):
    assert not scenebench.score(added(star()), star(kind), lambda picture: picture).success

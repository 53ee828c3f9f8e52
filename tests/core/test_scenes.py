from __future__ import annotations

import itertools
import os
import string
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from x2edit_core import scenes
from x2edit_core.errors import X2EditError
from x2edit_core.miniature.text import SLOTS, pieces, tokenize
from x2edit_core.scenes import backgrounds, filters, glyphs, items, refer, wording, wording_looks
from x2edit_core.scenes.cases import EDITORS, LEAST_CONTRAST, contrast
from x2edit_core.scenes.draw import GRID, Draw
from x2edit_core.scenes.layout import thing_scene
from x2edit_core.tasks import Task

SIZE = 64


def every_task(count=3, **options):
    return [scenes.make_case(seed, task, size=SIZE, **options) for task in scenes.TASKS for seed in range(count)]


def test_every_task_but_other_has_scenes():
    assert set(scenes.TASKS) == set(Task) - {Task.OTHER}
    with pytest.raises(X2EditError, match="other"):
        scenes.make_case(0, Task.OTHER)


@pytest.mark.parametrize("task", scenes.TASKS, ids=lambda task: task.name.lower())
def test_an_edit_is_visible_and_only_in_its_region(task):
    for seed in range(6):
        case = scenes.make_case(seed, task, size=SIZE)
        assert case.task is task
        assert case.source.shape == case.target.shape == (SIZE, SIZE, 3)
        assert contrast(case.source, case.target, case.region) >= LEAST_CONTRAST
        difference = np.abs(case.source.astype(int) - case.target.astype(int)).max(-1)
        assert difference[~case.region].max(initial=0) <= 6


def test_cases_are_the_same_every_time():
    for first, second in zip(every_task(1), every_task(1), strict=True):
        assert first.instruction == second.instruction
        assert np.array_equal(first.source, second.source)
        assert np.array_equal(first.target, second.target)


PRINT_DIGEST = """
import hashlib, sys
sys.path.append(sys.argv[1])
from x2edit_core import scenes
for task in scenes.TASKS:
    case = scenes.make_case(7, task, size=32)
    print(case.instruction, hashlib.sha256(case.source.tobytes() + case.target.tobytes()).hexdigest())
"""


def test_cases_do_not_depend_on_the_process():
    command = [sys.executable, "-X", "utf8", "-c", PRINT_DIGEST, str(Path(__file__).resolve().parents[2])]
    first, second = (
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True).stdout
        for seed in ("1", "2")
    )
    assert first == second
    assert len(first.splitlines()) == len(scenes.TASKS)


def test_the_language_can_be_chosen():
    assert all(case.instruction.isascii() for case in every_task(2, language="en"))
    assert not any(case.instruction.isascii() for case in every_task(2, language="zh"))


def test_pictures_agree_between_sizes():
    small, large = (scenes.make_case(3, Task.ADD, size=size) for size in (64, 256))
    assert small.instruction == large.instruction
    shrunk = large.source.reshape(64, 4, 64, 4, 3).mean((1, 3))
    assert np.abs(shrunk - small.source).mean() < 3


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_scenes_of_the_splits_stand_on_different_columns(split):
    parity = {"train": 0, "heldout": 1}[split]
    columns = [
        item.x * GRID
        for task, seed in itertools.product(scenes.TASKS, range(5))
        for draft in [EDITORS[task](Draw(seed, split, "test"))]
        if draft
        for item in draft.source.items
    ]
    assert len(columns) > 50
    assert all(column % 2 == parity for column in columns)


def every_wording():
    for module in (wording, wording_looks):
        for value in vars(module).values():
            if isinstance(value, wording.Wording):
                yield value
            elif isinstance(value, dict):
                yield from (entry for entry in value.values() if isinstance(entry, wording.Wording))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_heldout_sentences_are_new_but_use_known_words(language):
    known = set(pieces(" ".join(wording.OPENINGS[language]))) | {"!", "person"}
    for one in every_wording():
        known |= words_of(*one.templates(language, "train"))
    for one in every_wording():
        heldout = one.templates(language, "heldout")
        assert not set(heldout) & set(one.templates(language, "train"))
        assert words_of(*heldout) <= known, heldout


def words_of(*templates):
    literals = (text for template in templates for text, *_ in string.Formatter().parse(template))
    return set(pieces(" ".join(literals)))


def test_wordings_use_the_same_fields_in_both_languages_and_splits():
    for one in every_wording():
        needed = {"new"} if "new" in str(one.en) else set()
        for template in itertools.chain(one.en, one.en_heldout, one.zh, one.zh_heldout):
            fields = {name for _, name, *_ in string.Formatter().parse(template) if name}
            assert fields <= fields_of(one.en)
            assert fields >= needed


def fields_of(templates):
    return {name for template in templates for _, name, *_ in string.Formatter().parse(template) if name}


def test_references_fit_one_item_only():
    told = 0
    for seed in range(60):
        scene = thing_scene(Draw(seed, "train", "test"), 3, 4)
        said = [
            {words.en for group in refer.references(scene.items, i) for words in group} for i in range(len(scene.items))
        ]
        assert not any(first & second for first, second in itertools.combinations(said, 2))
        told += sum(map(bool, said))
    assert told > 150


def thing(x, y, kind="circle", colour="red", size=0.12):
    return items.Thing(x, y, size, kind, colour)


def test_references_read_the_scene():
    scene = [thing(0.2, 0.5), thing(0.5, 0.5, "star", "blue", 0.2), thing(0.8, 0.5)]
    left, middle, right = ({words.en for group in refer.references(scene, i) for words in group} for i in range(3))
    assert left == {"the leftmost object", "the leftmost circle", "the circle to the left of the blue star"}
    assert {"the largest object", "the star", "the blue star", "the blue object"} <= middle
    assert "the circle to the right of the blue star" in right
    assert "圆形" not in [words.zh for group in refer.references(scene, 0) for words in group]


def drawn(*content, look="photo"):
    return scenes.render(scenes.Scene("pale blue", content, look=look), SIZE)


def test_rendering_puts_things_where_they_are():
    mask = drawn(thing(0.25, 0.75, "square", size=0.2), look="mask")[..., 0] > 127
    rows, columns = np.nonzero(mask)
    assert abs(rows.mean() / SIZE - 0.75) < 0.01
    assert abs(columns.mean() / SIZE - 0.25) < 0.01
    assert np.isclose(mask.mean(), (2 * 0.86 * 0.2) ** 2, rtol=0.1)


@pytest.mark.parametrize("kind", items.KINDS)
def test_things_stay_within_their_reach(kind):
    scene = scenes.Scene("pale blue", (thing(0.5, 0.5, kind, size=0.3),), look="mask")
    rows, columns = np.nonzero(scenes.render(scene, SIZE)[..., 0])
    assert np.hypot(rows + 0.5 - SIZE / 2, columns + 0.5 - SIZE / 2).max() < 0.3 * items.Thing.reach * SIZE + 1


def test_colour_words_look_like_their_colour():
    picture = drawn(thing(0.5, 0.5, colour="green", size=0.3)).astype(int)
    red, green, blue = picture[SIZE // 2, SIZE // 2]
    assert green > max(red, blue) + 30


def test_a_zoomed_view_is_the_middle_enlarged():
    scene = scenes.Scene("beach", (thing(0.45, 0.55),))
    zoomed = scenes.render(scenes.Scene(scene.background, scene.items, scenes.View(zoom=2.0)), SIZE)
    middle = scenes.render(scene, 2 * SIZE)[SIZE // 2 : -SIZE // 2, SIZE // 2 : -SIZE // 2]
    assert np.abs(zoomed.astype(float) - middle).mean() < 2


def test_backgrounds_differ_from_one_another():
    pictures = [scenes.render(scenes.Scene(name), 32).astype(float) for name in backgrounds.BACKGROUNDS]
    assert min(np.abs(a - b).mean() for a, b in itertools.combinations(pictures, 2)) > 4


@pytest.mark.parametrize("name", filters.FILTERS)
def test_filters_are_alike_at_every_size(name):
    scene = scenes.Scene("meadow", (thing(0.4, 0.5, "house", "blue", 0.2),), filters=(name,))
    small, large = scenes.render(scene, 128).astype(float), scenes.render(scene, 256).astype(float)
    assert np.abs(large.reshape(128, 2, 128, 2, 3).mean((1, 3)) - small).mean() < 12


def test_every_character_of_signs_can_be_drawn():
    pictures = [
        scenes.render(scenes.Scene("gray", (items.Sign(0.5, 0.5, 0.4, character, "blue"),)), SIZE).tobytes()
        for character in glyphs.CHARACTERS
    ]
    assert len(set(pictures)) == len(glyphs.CHARACTERS)


def test_captions_name_what_is_drawn():
    picture, caption = scenes.make_picture(5, size=SIZE, language="en")
    assert picture.shape == (SIZE, SIZE, 3)
    scene_words = set(pieces(caption))
    assert scene_words & (set(items.KINDS) | {"person", "sign"})


def test_most_instructions_fit_the_text_encoders_first_length():
    lengths = sorted(len(tokenize(case.instruction)) for case in every_task(4))
    assert lengths[int(0.95 * len(lengths))] <= SLOTS and lengths[-1] <= 2 * SLOTS

"""Edits that do not say what to draw: it follows from the picture."""

from __future__ import annotations

import math
from dataclasses import replace

from .backgrounds import SKIES
from .draft import Draft, any_of, with_item, with_items
from .draw import Draw
from .items import SHAPES, Item, Sign, Thing
from .layout import CLASHES, SIGN_COLOURS, add_thing, any_background, colours_on, free, shape_scene, thing_scene
from .refer import refer
from .render import Scene
from .wording_looks import REASONING
from .words import COLOUR_WORDS, Words

GROUND = 0.95
CEILING = 0.05
ROUND = ("circle", "ring")


def reasoning(draw: Draw) -> Draft | None:
    return any_of(draw, (_odd_one, _sum, _same_colour, _fall, _corners, _swap, _equal))


def _odd_one(draw: Draw) -> Draft | None:
    """Three alike and one of another kind or colour."""
    background = any_background(draw)
    kinds, colours = draw.sample(SHAPES, 2), draw.sample(colours_on(background), 2)
    other = draw.chance(0.5)
    looks = [(kinds[0], colours[0])] * 3 + [(kinds[1], colours[0]) if other else (kinds[0], colours[1])]
    items: list[Item] = []
    for kind, colour in draw.sample(looks, 4):
        if not add_thing(draw, background, items, kind, colour, size=0.12):
            return None
    scene = Scene(background, tuple(items))
    left = [item for item in items if isinstance(item, Thing) and (item.kind, item.colour) == looks[0]]
    return Draft(scene, with_items(scene, left), REASONING["odd one"])


def _sum(draw: Draw) -> Draft:
    """`2+3` on one sign, a question mark on the other."""
    first = 1 + draw.integer(8)
    second = 1 + draw.integer(9 - first)
    background = draw.choice((*SKIES, "room"))
    colours = draw.sample([colour for colour in SIGN_COLOURS if colour not in CLASHES.get(background, ())], 2)
    question = Sign(draw.column(0.27, 0.31), draw.uniform(0.38, 0.5), 0.19, f"{first}+{second}", colours[0])
    answer = Sign(draw.column(0.73, 0.77), question.y, 0.15, "?", colours[1])
    scene = Scene(background, (question, answer))
    return Draft(scene, with_item(scene, 1, replace(answer, text=str(first + second))), REASONING["sum"])


def _by_size(draw: Draw, scene: Scene) -> tuple[list[Thing], int, int] | None:
    """The things made clearly different in size, with the indices of the smallest and the largest."""
    items = [item for item in scene.items if isinstance(item, Thing)]
    if len(items) < 2:
        return None
    small, large = draw.sample(range(len(items)), 2)
    sizes = {small: 0.09, large: 0.18}
    sized = [replace(item, size=sizes.get(i, 0.125)) for i, item in enumerate(items)]
    return (sized, small, large) if _apart(sized) else None


def _apart(items: list[Thing]) -> bool:
    return all(free(item.x, item.y, item.size, items[:i]) for i, item in enumerate(items))


def _same_colour(draw: Draw) -> Draft | None:
    found = _by_size(draw, scene := shape_scene(draw, 2, 3, plain=True))
    if found is None:
        return None
    items, _, large = found
    target = [replace(item, colour=items[large].colour) for item in items]
    if target == items:
        return None
    return Draft(with_items(scene, items), with_items(scene, target), REASONING["same colour"])


def _swap(draw: Draw) -> Draft | None:
    found = _by_size(draw, scene := shape_scene(draw, 2, 3))
    if found is None:
        return None
    items, small, large = found
    target = list(items)
    target[small] = replace(items[small], x=items[large].x, y=items[large].y)
    target[large] = replace(items[large], x=items[small].x, y=items[small].y)
    if not _apart(target):
        return None
    return Draft(with_items(scene, items), with_items(scene, target), REASONING["swap"])


def _equal(draw: Draw) -> Draft | None:
    found = _by_size(draw, scene := shape_scene(draw, 2, 3))
    if found is None:
        return None
    items, small, large = found
    target = [replace(item, size=items[large].size) if i == small else item for i, item in enumerate(items)]
    if not _apart(target):
        return None
    return Draft(with_items(scene, items), with_items(scene, target), REASONING["equal"])


def _fall(draw: Draw) -> Draft | None:
    """A thing in the air drops to the bottom, or a balloon rises to the top."""
    scene = thing_scene(draw, 2, 3, draw.choice(SKIES))
    rises = draw.chance(0.4)
    if rises:
        index = next((i for i, item in enumerate(scene.items) if _kind(item) == "balloon"), None)
    else:
        index = next((i for i, item in enumerate(scene.items) if _kind(item) in SHAPES and item.y < 0.5), None)
    if index is None:
        return None
    old, it = scene.items[index], refer(draw, scene.items, index)
    y = CEILING + old.size if rises else GROUND - old.size
    landed = replace(old, y=y)
    others = [item for i, item in enumerate(scene.items) if i != index]
    if it is None or abs(y - old.y) < 0.2 or not _clear(landed, others):
        return None
    return Draft(scene, with_item(scene, index, landed), REASONING["rise" if rises else "drop"], {"it": it})


def _kind(item: object) -> str:
    return item.kind if isinstance(item, Thing) else ""


def _clear(item: Item, others: list[Item]) -> bool:
    return all(math.hypot(item.x - other.x, item.y - other.y) > item.size + other.size for other in others)


def _corners(draw: Draw) -> Draft | None:
    """Just one of the shapes is round."""
    scene = shape_scene(draw, 2, 4, plain=True)
    round_ones = [(i, item) for i, item in enumerate(scene.items) if _kind(item) in ROUND]
    angular = [item for item in scene.items if _kind(item) in ("square", "triangle", "star", "cross")]
    if len(round_ones) != 1 or len(angular) != len(scene.items) - 1 or not angular:
        return None
    index, old = round_ones[0]
    assert isinstance(old, Thing)
    colour = draw.choice([name for name in colours_on(scene.background) if name != old.colour])
    words: dict[str, Words] = {"colour": COLOUR_WORDS[colour]}
    return Draft(scene, with_item(scene, index, replace(old, colour=colour)), REASONING["corners"], words)

"""Edits of the whole picture: style, background, tone, camera, conversions, and a subject in a new place."""

from __future__ import annotations

from dataclasses import replace

from . import wording as w
from . import wording_looks as looks
from .backgrounds import BACKGROUNDS, PLACES, PLAIN
from .draft import Draft, any_of
from .draw import Draw
from .filters import CONVERSIONS, STYLES, TONES
from .items import Item, Person, Thing
from .layout import CLASHES, colours_on, kinds_on, people_scene, thing_scene
from .refer import a_name, full_name, kind_name, refer
from .render import Scene, View
from .words import BACKGROUND_WORDS, SLOT_WORDS, SLOTS, STYLE_WORDS, Words, listing

PAN = 0.22
TURN = 15.0
ZOOMS = {"in": 1.5, "out": 0.7}
VIEWS = {
    "in": View(zoom=ZOOMS["in"]),
    "out": View(zoom=ZOOMS["out"]),
    "left": View(x=0.5 - PAN),
    "right": View(x=0.5 + PAN),
    "up": View(y=0.5 - PAN),
    "down": View(y=0.5 + PAN),
    "clockwise": View(degrees=-TURN),
    "counterclockwise": View(degrees=TURN),
}
CLOSE_UP = 1.8


def _scene(draw: Draw) -> Scene:
    return people_scene(draw, ("standing", "waving")) if draw.chance(0.15) else thing_scene(draw)


def style(draw: Draw) -> Draft:
    scene, name = _scene(draw), draw.choice(list(STYLES))
    return Draft(scene, replace(scene, filters=(name,)), w.STYLE, {"style": STYLE_WORDS[name]})


def tone(draw: Draw) -> Draft:
    scene, name = _scene(draw), draw.choice(list(TONES))
    return Draft(scene, replace(scene, filters=(name,)), looks.TONE[name])


def background(draw: Draw) -> Draft | None:
    scene = _scene(draw)
    name = draw.choice([name for name in BACKGROUNDS if name != scene.background])
    if any(item_colour(item) in CLASHES.get(name, ()) for item in scene.items):
        return None
    return Draft(scene, replace(scene, background=name), w.BACKGROUND, {"place": BACKGROUND_WORDS[name]})


def item_colour(item: Item) -> str:
    if isinstance(item, Thing):
        return item.colour
    return item.shirt if isinstance(item, Person) else ""


def camera(draw: Draw) -> Draft | None:
    scene = _scene(draw)
    if draw.chance(0.3):
        return _close_up(draw, scene)
    name = draw.choice(list(VIEWS))
    return Draft(scene, replace(scene, view=VIEWS[name]), looks.CAMERA[name])


def _close_up(draw: Draw, scene: Scene) -> Draft | None:
    if not scene.items:
        return None
    index = draw.integer(len(scene.items))
    it = refer(draw, scene.items, index)
    if it is None:
        return None
    item = scene.items[index]
    return Draft(scene, replace(scene, view=View(item.x, item.y, CLOSE_UP)), looks.CAMERA["to"], {"it": it})


def low_level(draw: Draw) -> Draft | None:
    return any_of(draw, (*[_convert] * 4, *[_repair] * 3, _colour_lines))


def _convert(draw: Draw) -> Draft:
    scene = _scene(draw)
    name = draw.choice(("edges", "lines", "depth", "mask"))
    target = replace(scene, filters=(name,)) if name in CONVERSIONS else replace(scene, look=name)
    return Draft(scene, target, looks.LOW_LEVEL[name])


def _repair(draw: Draw) -> Draft:
    scene, name = _scene(draw), draw.choice(("noisy", "blurred", "scratched"))
    return Draft(replace(scene, filters=(name,)), scene, looks.LOW_LEVEL[name])


def _colour_lines(draw: Draw) -> Draft | None:
    """A drawing whose colours the instruction tells; each kind occurs once, or the words could not say which is which."""
    scene = thing_scene(draw, 1, 3, plain=True)
    kinds = [kind_name(item) for item in scene.items]
    if len(set(kinds)) < len(kinds) or not kinds:
        return None
    return Draft(replace(scene, filters=("lines",)), scene, looks.LOW_LEVEL["draw"], description(scene))


def description(scene: Scene) -> dict[str, Words]:
    """`items` and `place` of a caption."""
    return {"items": listing([a_name(item) for item in scene.items]), "place": BACKGROUND_WORDS[scene.background]}


def subject(draw: Draw) -> Draft:
    """The thing before a plain background is shown elsewhere, where and how the instruction says."""
    plain = draw.choice(PLAIN)
    place = draw.choice([name for name in PLACES if name != plain])
    colours = [colour for colour in colours_on(plain) if colour not in CLASHES.get(place, ())]
    kind = draw.choice(kinds_on(plain))
    thing = Thing(draw.column(0.36, 0.64), draw.uniform(0.4, 0.6), draw.uniform(0.24, 0.3), kind, draw.choice(colours))
    source = Scene(plain, (thing,))
    name = kind_name(thing) if draw.chance(0.5) else full_name(thing)
    words = {"it": name, "place": BACKGROUND_WORDS[place]}
    if draw.chance(0.25):
        pair = tuple(replace(thing, x=x, y=0.55, size=0.18) for x in (0.28, 0.72))
        return Draft(source, Scene(place, pair), w.SUBJECT_PAIR, words)
    slot = draw.choice(list(SLOTS))
    x, y = SLOTS[slot]
    moved = replace(thing, x=x, y=y, size=0.17)
    return Draft(source, Scene(place, (moved,)), w.SUBJECT, {**words, "where": SLOT_WORDS[slot]})

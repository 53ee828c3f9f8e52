"""Edits of one thing among others: remove, add, replace, recolour, remake, move."""

from __future__ import annotations

from dataclasses import replace

from . import wording as w
from .draft import Draft, any_of, with_item, with_items
from .draw import Draw
from .items import POSES, Item, Person, Thing
from .layout import colours_on, free, kinds_on, people_scene, shape_scene, thing_scene
from .materials import COLOURLESS, MATERIALS
from .refer import a_name, full_name, refer
from .render import Scene
from .words import COLOUR_WORDS, MATERIAL_NOUNS, POSE_WORDS, SIDE_WORDS, SIDES, SLOT_WORDS, SLOTS, Words

STANDARD = 0.14
BESIDE = 0.05
"""Room between a new thing and the one it is put beside."""


def remove(draw: Draw) -> Draft | None:
    scene = thing_scene(draw)
    index = draw.integer(max(1, len(scene.items)))
    it = refer(draw, scene.items, index) if scene.items else None
    if it is None:
        return None
    left = [item for i, item in enumerate(scene.items) if i != index]
    return Draft(scene, with_items(scene, left), w.REMOVE, {"it": it})


def add(draw: Draw) -> Draft | None:
    scene = thing_scene(draw, 1, 3)
    place = _beside(draw, scene) if draw.chance(0.5) else _in_slot(draw, scene.items)
    if place is None:
        return None
    x, y, where = place
    new = _new_thing(draw, scene, x, y, STANDARD)
    return Draft(scene, with_items(scene, [*scene.items, new]), w.ADD, {"new": a_name(new), "where": where})


def _new_thing(draw: Draw, scene: Scene, x: float, y: float, size: float, kinds: tuple[str, ...] = ()) -> Thing:
    return Thing(
        x, y, size, draw.choice(kinds or kinds_on(scene.background)), draw.choice(colours_on(scene.background))
    )


def _in_slot(draw: Draw, items: tuple[Item, ...]) -> tuple[float, float, Words] | None:
    open_slots = [name for name, (x, y) in SLOTS.items() if free(x, y, STANDARD, items)]
    if not open_slots:
        return None
    name = draw.choice(open_slots)
    return (*SLOTS[name], SLOT_WORDS[name])


def _beside(draw: Draw, scene: Scene) -> tuple[float, float, Words] | None:
    """A free place next to a thing that can be referred to."""
    if not scene.items:
        return None
    index = draw.integer(len(scene.items))
    anchor, name = scene.items[index], refer(draw, scene.items, index)
    places = {}
    for side, (dx, dy) in SIDES.items():
        reach = anchor.size + STANDARD + BESIDE
        x, y = anchor.x + dx * reach, anchor.y + dy * reach
        if free(x, y, STANDARD, scene.items):
            places[side] = (x, y)
    if not places or name is None:
        return None
    side = draw.choice(list(places))
    where = SIDE_WORDS[side]
    return (*places[side], Words(f"{where.en} {name.en}", f"{name.zh}的{where.zh}"))


def replace_thing(draw: Draw) -> Draft | None:
    scene = thing_scene(draw)
    picked = _pick(draw, scene)
    if picked is None:
        return None
    index, old, it = picked
    kinds = tuple(kind for kind in kinds_on(scene.background) if kind != old.kind)
    new = _new_thing(draw, scene, old.x, old.y, old.size, kinds)
    if full_name(new) in map(full_name, scene.items):
        return None
    return Draft(scene, with_item(scene, index, new), w.REPLACE, {"it": it, "new": a_name(new)})


def _pick(draw: Draw, scene: Scene, allowed: tuple[str, ...] = tuple(MATERIALS)) -> tuple[int, Thing, Words] | None:
    """One thing of an allowed material with a reference to it."""
    fitting = [(i, item) for i, item in enumerate(scene.items) if isinstance(item, Thing) and item.material in allowed]
    if not fitting:
        return None
    index, item = draw.choice(fitting)
    it = refer(draw, scene.items, index)
    return None if it is None else (index, item, it)


def recolour(draw: Draw) -> Draft | None:
    scene = thing_scene(draw)
    picked = _pick(draw, scene, tuple(name for name in MATERIALS if name not in COLOURLESS))
    if picked is None:
        return None
    index, old, it = picked
    colour = draw.choice([name for name in colours_on(scene.background) if name != old.colour])
    target = with_item(scene, index, replace(old, colour=colour))
    return Draft(scene, target, w.COLOUR, {"it": it, "colour": COLOUR_WORDS[colour]})


def remake(draw: Draw) -> Draft | None:
    scene = shape_scene(draw)
    picked = _pick(draw, scene, ("plain",))
    if picked is None:
        return None
    index, old, it = picked
    material = draw.choice([name for name in MATERIALS if name != "plain"])
    if material in ("striped", "dotted") and old.colour == "white":
        return None
    target = with_item(scene, index, replace(old, material=material))
    if material in MATERIAL_NOUNS:
        return Draft(scene, target, w.MATERIAL, {"it": it, "material": MATERIAL_NOUNS[material]})
    return Draft(scene, target, w.STRIPES if material == "striped" else w.DOTS, {"it": it})


def act(draw: Draw) -> Draft | None:
    return any_of(draw, (_pose, _pose, _move))


def _pose(draw: Draw) -> Draft | None:
    scene = people_scene(draw, list(POSES))
    index, old = draw.choice([(i, item) for i, item in enumerate(scene.items) if isinstance(item, Person)])
    it = refer(draw, scene.items, index)
    if it is None:
        return None
    pose = draw.choice([name for name in POSES if name != old.pose])
    return Draft(scene, with_item(scene, index, replace(old, pose=pose)), w.POSE, {"it": it, "pose": POSE_WORDS[pose]})


def _move(draw: Draw) -> Draft | None:
    scene = thing_scene(draw, 2, 3)
    picked = _pick(draw, scene)
    if picked is None:
        return None
    index, old, it = picked
    others = tuple(item for i, item in enumerate(scene.items) if i != index)
    slots = [
        name
        for name, (x, y) in SLOTS.items()
        if free(x, y, old.size, others) and abs(x - old.x) + abs(y - old.y) > old.size
    ]
    if not slots:
        return None
    slot = draw.choice(slots)
    x, y = SLOTS[slot]
    target = with_item(scene, index, replace(old, x=x, y=y))
    return Draft(scene, target, w.MOVE, {"it": it, "where": SLOT_WORDS[slot]})

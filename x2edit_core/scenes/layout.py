"""Random scenes: what stands where, so that nothing overlaps, everything is in the picture and can be told apart."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .backgrounds import PLACES, PLAIN, SKIES
from .draw import Draw
from .faces import Face
from .items import FLOATING, GROUNDED, SHAPES, Item, Person, Sign, Thing
from .materials import COLOURLESS, MATERIALS
from .palette import COLOURS, HAIR, SKIN
from .render import Scene

MARGIN = 0.03
GAP = 0.03

CLASHES: dict[str, tuple[str, ...]] = {
    "night": ("black", "blue", "purple"),
    "sea": ("blue", "green"),
    "meadow": ("green",),
    "forest": ("green",),
    "desert": ("orange", "yellow", "brown"),
    "beach": ("yellow",),
    "sunset": ("orange", "purple", "pink"),
    "city": ("white",),
    "room": ("brown", "white", "orange"),
    "snow": ("white",),
    **{name: ("white",) for name in PLAIN},
    "stripes": ("white", "orange", "yellow"),
    "pale yellow": ("white", "yellow"),
    "pale pink": ("white", "pink"),
}
"""Colours that would be hard to see before a background."""


def colours_on(background: str) -> list[str]:
    return [name for name in COLOURS if name not in CLASHES.get(background, ())]


def any_background(draw: Draw) -> str:
    return draw.choice(PLACES) if draw.chance(0.6) else draw.choice(PLAIN)


def free(x: float, y: float, size: float, others: Sequence[Item]) -> bool:
    """Whether a thing of this size fits there: inside the picture and apart from the others."""
    edge = size + MARGIN
    inside = edge <= x <= 1 - edge and edge <= y <= 1 - edge
    return inside and all(
        math.hypot(x - other.x, y - other.y) >= size + other.size * _extent(other) + GAP for other in others
    )


def _extent(item: Item) -> float:
    return item.reach if isinstance(item, Sign | Person) else 1.0


def _spot(draw: Draw, background: str, kind: str, size: float, others: Sequence[Item]) -> tuple[float, float] | None:
    low, high = size + MARGIN, 1 - size - MARGIN
    top = low
    if background in SKIES and kind in GROUNDED:
        top = min(0.58, high)
    for _ in range(40):
        x, y = draw.column(low + 0.004, high - 0.004), draw.uniform(top, high)
        if free(x, y, size, others):
            return x, y
    return None


def add_thing(
    draw: Draw, background: str, items: list[Item], kind: str, colour: str, material: str = "plain", size: float = 0.0
) -> bool:
    """Put a thing somewhere free into `items`; False where no room was found."""
    size = size or draw.uniform(0.11, 0.17)
    spot = _spot(draw, background, kind, size, items)
    if spot is None:
        return False
    items.append(Thing(*spot, size, kind, colour, material))
    return True


def things(
    draw: Draw, background: str, low: int = 2, high: int = 4, pool: Sequence[str] = (), plain: bool = False
) -> tuple[Thing, ...]:
    """Some things, no two of the same kind and look; often two of one kind or colour, so that names matter."""
    wanted = low + draw.integer(high - low + 1)
    pool = pool or kinds_on(background)
    kinds = draw.sample(pool, min(wanted, len(pool)))
    colours = draw.sample(colours_on(background), wanted)
    kinds += [draw.choice(kinds) for _ in range(wanted - len(kinds))]
    if wanted > 1 and draw.chance(0.4):
        kinds[1] = kinds[0]
    elif wanted > 1 and draw.chance(0.35):
        colours[1] = colours[0]
    items: list[Item] = []
    for kind, colour in zip(kinds, colours, strict=True):
        material = draw.choice(list(MATERIALS)) if kind in SHAPES and not plain and draw.chance(0.25) else "plain"
        if material in COLOURLESS and any(isinstance(item, Thing) and item.material == material for item in items):
            material = "plain"
        add_thing(draw, background, items, kind, colour, material)
    return tuple(item for item in items if isinstance(item, Thing))


def kinds_on(background: str) -> tuple[str, ...]:
    """Shapes stand before anything; things of the world mostly where they belong."""
    if background == "sea":
        return (*SHAPES, "fish", "fish")
    if background == "night":
        return (*SHAPES, "house", "tree", "balloon", "car")
    if background in SKIES or background == "room":
        return (*SHAPES, *GROUNDED, *FLOATING[:1], *GROUNDED)
    return (*SHAPES, *SHAPES, *GROUNDED, *FLOATING)


def thing_scene(draw: Draw, low: int = 2, high: int = 4, background: str = "", plain: bool = False) -> Scene:
    background = background or any_background(draw)
    return Scene(background, things(draw, background, low, high, plain=plain))


def shape_scene(draw: Draw, low: int = 2, high: int = 4, plain: bool = False) -> Scene:
    background = any_background(draw)
    return Scene(background, things(draw, background, low, high, SHAPES, plain))


def person(draw: Draw, background: str, x: float, size: float, shirt: str, pose: str) -> Person:
    hair = HAIR[draw.choice(("black", "brown", "blond", "red"))]
    return Person(x, 0.62 if background in PLACES else 0.55, size, shirt, pose, draw.choice(SKIN), hair)


def people_scene(draw: Draw, poses: Sequence[str]) -> Scene:
    """One or two persons; where there is one, something stands beside."""
    background = draw.choice((*SKIES, "room", *PLAIN[:3]))
    shirts = draw.sample([colour for colour in colours_on(background) if colour != "white"], 2)
    if draw.chance(0.5):
        persons = [
            person(draw, background, draw.column(middle - 0.03, middle + 0.03), 0.22, shirt, draw.choice(poses))
            for middle, shirt in zip((0.26, 0.74), shirts, strict=True)
        ]
        return Scene(background, tuple(persons))
    left = draw.chance(0.5)
    x = draw.column(0.27, 0.32) if left else draw.column(0.68, 0.73)
    items: list[Item] = [person(draw, background, x, draw.uniform(0.23, 0.27), shirts[0], draw.choice(poses))]
    kind = draw.choice(("tree", "house", "car", "mushroom", "flower", "balloon"))
    side = draw.column(0.76, 0.8) if left else draw.column(0.2, 0.24)
    items.append(Thing(side, 0.7 if kind in GROUNDED else 0.35, draw.uniform(0.12, 0.16), kind, shirts[1]))
    return Scene(background, tuple(items))


def face(draw: Draw, x: float, y: float, size: float, shirt: str) -> Face:
    return Face(
        x,
        y,
        size,
        draw.choice(SKIN),
        draw.choice(list(HAIR)),
        draw.choice(("short", "long", "curly")),
        shirt,
        mouth=draw.choice(("neutral", "smile", "sad")),
        eyes=draw.choice(("open", "open", "closed")),
        glasses=draw.choice(("none", "none", "glasses", "sunglasses")),
        hat=draw.choice(("none", "none", "cap", "crown")),
        beard=draw.chance(0.2),
        blush=draw.chance(0.2),
        spots=draw.chance(0.5),
        earrings=draw.chance(0.2),
    )


def portrait_scene(draw: Draw) -> Scene:
    """One face, or two smaller ones side by side."""
    background = draw.choice((*PLAIN, "meadow", "room", "beach"))
    shirts = draw.sample(("red", "green", "blue", "purple", "yellow", "black"), 2)
    if draw.chance(0.6):
        return Scene(background, (face(draw, draw.column(0.44, 0.56), draw.uniform(0.44, 0.5), 0.32, shirts[0]),))
    faces = [
        face(draw, draw.column(middle - 0.01, middle + 0.01), draw.uniform(0.48, 0.54), 0.21, shirt)
        for middle, shirt in zip((0.27, 0.73), shirts, strict=True)
    ]
    return Scene(background, tuple(faces))


SIGN_COLOURS = ("red", "blue", "green", "yellow", "purple", "white", "black", "pink")
WORDS_ON_SIGNS = (
    "CAT",
    "DOG",
    "SUN",
    "SKY",
    "TEA",
    "BUS",
    "FUN",
    "HI",
    "OK",
    "GO",
    "UP",
    "NO",
    "YES",
    "ART",
    "BOX",
    "MAP",
)


def writing(draw: Draw) -> str:
    """A short word, or a number of one or two digits."""
    if draw.chance(0.5):
        return draw.choice(WORDS_ON_SIGNS)
    return str(draw.integer(10)) if draw.chance(0.6) else str(10 + draw.integer(90))


def sign_scene(draw: Draw) -> Scene:
    """One large sign, or two, with different writing."""
    background = draw.choice((*SKIES, "room", *PLAIN))
    colours = draw.sample([c for c in SIGN_COLOURS if c not in CLASHES.get(background, ())], 2)
    if draw.chance(0.5):
        sign = Sign(
            draw.column(0.4, 0.6), draw.uniform(0.42, 0.55), draw.uniform(0.24, 0.28), writing(draw), colours[0]
        )
        return Scene(background, (sign,))
    first = writing(draw)
    second = draw.choice([word for word in (*WORDS_ON_SIGNS, "3", "7", "52") if word != first])
    signs = [
        Sign(draw.column(middle - 0.01, middle + 0.01), draw.uniform(0.4, 0.6), 0.18, text, colour)
        for middle, text, colour in zip((0.25, 0.75), (first, second), colours, strict=True)
    ]
    return Scene(background, tuple(signs))

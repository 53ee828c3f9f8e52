"""What stands in a scene: things, persons, faces and signs, each a few painted shapes within a unit circle or so."""

from __future__ import annotations

from dataclasses import dataclass

from . import fields as f
from .fields import Field
from .glyphs import text_field
from .materials import MATERIALS, Paint, flat, plain, trim
from .palette import COLOURS, Rgb, rgb

MAIN = "main"


@dataclass(frozen=True)
class Part:
    """A shape in the item's own coordinates and its paint."""

    field: Field
    paint: Paint


@dataclass(frozen=True)
class Item:
    """Something placed: centre in the picture's unit square, `size` the length of the item's own unit."""

    x: float
    y: float
    size: float

    reach = 1.25
    """Nothing of the item is farther from its centre than this, in its own unit."""

    def parts(self) -> list[Part]:
        """Back to front."""
        raise NotImplementedError


@dataclass(frozen=True)
class Thing(Item):
    """A shape or an everyday object of one colour."""

    kind: str
    colour: str
    material: str = "plain"

    def parts(self) -> list[Part]:
        colour = COLOURS[self.colour]
        return [
            Part(field, MATERIALS[self.material](colour) if role == MAIN else trim(colour, role))
            for field, role in KINDS[self.kind]
        ]


@dataclass(frozen=True)
class Sign(Item):
    """A board with writing on it, on a post."""

    text: str
    colour: str

    reach = 1.7

    def parts(self) -> list[Part]:
        ink = rgb("2e3038") if self.colour in LIGHT_COLOURS else rgb("ffffff")
        return [
            Part(f.box(0, 0.95, 0.09, 0.55), plain(rgb("7b5a41"))),
            Part(f.box(0, 0, 1.2, 0.72, 0.16), plain(COLOURS[self.colour])),
            Part(text_field(self.text, 0.92, 0.46), flat(ink)),
        ]


LIGHT_COLOURS = ("yellow", "white", "pink", "orange")

_HEART = f.scaled(
    f.union(
        f.circle(-0.45, -0.32, 0.5),
        f.circle(0.45, -0.32, 0.5),
        f.polygon([(-0.86, -0.02), (0.86, -0.02), (0, 0.98)], 0.02),
        f.polygon([(-0.5, -0.3), (0.5, -0.3), (0, 0.3)]),
    ),
    0.98,
)
_PETALS = f.union(*(f.turned(f.circle(0, -0.36, 0.23), 72 * k) for k in range(5)))

KINDS: dict[str, list[tuple[Field, str]]] = {
    "circle": [(f.circle(0, 0, 0.9), MAIN)],
    "square": [(f.box(0, 0, 0.86, 0.86, 0.03), MAIN)],
    "triangle": [(f.polygon([(0, -0.88), (0.92, 0.72), (-0.92, 0.72)], 0.06), MAIN)],
    "star": [(f.star(5, 0.98, 0.44, 0.03), MAIN)],
    "heart": [(_HEART, MAIN)],
    "cross": [(f.union(f.box(0, 0, 0.32, 0.92, 0.06), f.box(0, 0, 0.92, 0.32, 0.06)), MAIN)],
    "ring": [(f.ring(0, 0, 0.68, 0.25), MAIN)],
    "moon": [(f.cut(f.circle(0, 0, 0.92), f.circle(0.5, -0.22, 0.74)), MAIN)],
    "tree": [
        (f.box(0, 0.68, 0.13, 0.32), "8a5a3c"),
        (f.union(f.circle(-0.38, 0.08, 0.42), f.circle(0.38, 0.08, 0.42), f.circle(0, -0.42, 0.5)), MAIN),
    ],
    "house": [
        (f.box(0, 0.36, 0.7, 0.6), MAIN),
        (f.polygon([(0, -0.92), (0.88, -0.2), (-0.88, -0.2)], 0.05), "dark"),
        (f.box(-0.28, 0.6, 0.17, 0.36, 0.03), "6d4a34"),
        (f.box(0.32, 0.34, 0.19, 0.19, 0.03), "dff1fb"),
    ],
    "car": [
        (f.polygon([(-0.55, -0.05), (-0.32, -0.46), (0.3, -0.46), (0.6, -0.05)], 0.07), "dark"),
        (f.polygon([(-0.42, -0.08), (-0.26, -0.37), (-0.06, -0.37), (-0.06, -0.08)]), "dff1fb"),
        (f.polygon([(0.06, -0.08), (0.06, -0.37), (0.25, -0.37), (0.44, -0.08)]), "dff1fb"),
        (f.box(0, 0.16, 0.98, 0.26, 0.14), MAIN),
        (f.union(f.circle(-0.52, 0.42, 0.24), f.circle(0.52, 0.42, 0.24)), "2e3038"),
        (f.union(f.circle(-0.52, 0.42, 0.1), f.circle(0.52, 0.42, 0.1)), "c9ced6"),
    ],
    "fish": [
        (f.polygon([(0.45, 0), (0.95, -0.48), (0.95, 0.48)], 0.04), "dark"),
        (f.ellipse(-0.15, 0, 0.78, 0.5), MAIN),
        (f.polygon([(0, 0.04), (0.3, -0.14), (0.3, 0.22)], 0.03), "dark"),
        (f.circle(-0.55, -0.1, 0.13), "ffffff"),
        (f.circle(-0.57, -0.1, 0.07), "2e3038"),
    ],
    "mushroom": [
        (f.box(0, 0.5, 0.24, 0.46, 0.18), "f3e6cf"),
        (f.both(f.circle(0, 0.12, 0.92), f.turned(f.half_plane(-0.24), 180)), MAIN),
        (f.union(f.circle(-0.42, -0.14, 0.13), f.circle(0.06, -0.48, 0.14), f.circle(0.45, -0.1, 0.12)), "fffaf0"),
    ],
    "balloon": [
        (f.stroke([(0, 0.4), (0.06, 0.62), (-0.05, 0.8), (0.02, 1.0)], 0.025), "6b7280"),
        (f.polygon([(0, 0.38), (0.1, 0.54), (-0.1, 0.54)]), "dark"),
        (f.ellipse(0, -0.3, 0.6, 0.72), MAIN),
    ],
    "flower": [
        (f.stroke([(0, -0.2), (0, 0.95)], 0.06), "3f8f4f"),
        (f.turned(f.ellipse(0.24, 0.6, 0.26, 0.1), -12), "3f8f4f"),
        (f.moved(f.scaled(_PETALS, 1.1), 0, -0.3), MAIN),
        (f.circle(0, -0.3, 0.2), "f9cf3f"),
    ],
    "cup": [
        (f.ring(0.55, 0.05, 0.3, 0.09), "dark"),
        (f.polygon([(-0.72, -0.62), (0.56, -0.62), (0.44, 0.7), (-0.6, 0.7)], 0.1), MAIN),
        (f.ellipse(-0.08, -0.62, 0.6, 0.12), "dark"),
    ],
}

SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "ring", "moon")
GROUNDED = ("tree", "house", "car", "mushroom", "flower", "cup")
"""Things that stand on the ground where there is one."""
FLOATING = ("balloon", "fish")

Limb = tuple[float, float]


@dataclass(frozen=True)
class Pose:
    """Elbow and hand, knee and foot of both sides (left first, as seen), and how far the body is off its place."""

    elbows: tuple[Limb, Limb]
    hands: tuple[Limb, Limb]
    knees: tuple[Limb, Limb]
    feet: tuple[Limb, Limb]
    lift: float = 0.0


_LEGS = ((-0.13, 0.5), (0.13, 0.5)), ((-0.15, 0.92), (0.15, 0.92))

POSES: dict[str, Pose] = {
    "standing": Pose(((-0.34, -0.12), (0.34, -0.12)), ((-0.36, 0.18), (0.36, 0.18)), *_LEGS),
    "arms raised": Pose(((-0.42, -0.58), (0.42, -0.58)), ((-0.5, -0.98), (0.5, -0.98)), *_LEGS),
    "waving": Pose(((-0.34, -0.12), (0.5, -0.44)), ((-0.36, 0.18), (0.66, -0.84)), *_LEGS),
    "arms spread": Pose(((-0.5, -0.36), (0.5, -0.36)), ((-0.88, -0.36), (0.88, -0.36)), *_LEGS),
    "sitting": Pose(
        ((-0.36, -0.1), (0.36, -0.1)),
        ((-0.3, 0.2), (0.3, 0.2)),
        ((-0.42, 0.3), (0.42, 0.3)),
        ((-0.46, 0.62), (0.46, 0.62)),
        lift=-0.3,
    ),
    "jumping": Pose(
        ((-0.46, -0.56), (0.46, -0.56)),
        ((-0.62, -0.9), (0.62, -0.9)),
        ((-0.4, 0.36), (0.4, 0.36)),
        ((-0.26, 0.7), (0.26, 0.7)),
        lift=0.38,
    ),
    "running": Pose(
        ((-0.44, -0.16), (0.4, -0.2)),
        ((-0.7, -0.34), (0.66, -0.02)),
        ((-0.26, 0.46), (0.38, 0.36)),
        ((-0.68, 0.6), (0.42, 0.86)),
    ),
}


@dataclass(frozen=True)
class Person(Item):
    """A whole figure; what it wears names it, its pose is what an action changes."""

    shirt: str
    pose: str
    skin: Rgb
    hair: Rgb

    reach = 1.5

    def parts(self) -> list[Part]:
        pose = POSES[self.pose]
        limbs = [
            Part(f.stroke([hip, pose.knees[i], pose.feet[i]], 0.1), plain(rgb("47536b")))
            for i, hip in enumerate([(-0.12, 0.14), (0.12, 0.14)])
        ]
        limbs += [
            Part(f.stroke([(side * 0.22, -0.34), pose.elbows[i], pose.hands[i]], 0.075), flat(self.skin))
            for i, side in enumerate((-1, 1))
        ]
        body = [
            *limbs,
            Part(f.box(0, -0.1, 0.27, 0.36, 0.14), plain(COLOURS[self.shirt])),
            Part(f.circle(0, -0.78, 0.27), flat(self.hair)),
            Part(f.circle(0, -0.71, 0.22), flat(self.skin)),
            Part(f.union(f.circle(-0.08, -0.73, 0.03), f.circle(0.08, -0.73, 0.03)), flat(rgb("2e3038"))),
        ]
        return [Part(f.moved(part.field, 0, -pose.lift), part.paint) for part in body]

"""Portraits: a face from a few features, each of which a retouching instruction can name."""

from __future__ import annotations

from dataclasses import dataclass

from . import fields as f
from .items import Item, Part
from .materials import flat, plain
from .palette import COLOURS, HAIR, Rgb, darker, mix, rgb

DARK = rgb("3a3034")
WHITE = rgb("ffffff")


@dataclass(frozen=True)
class Face(Item):
    """Head and shoulders. `hair_style` is short, long or curly; `mouth` neutral, smile, sad or open."""

    skin: Rgb
    hair: str
    hair_style: str
    shirt: str
    mouth: str = "neutral"
    eyes: str = "open"
    glasses: str = "none"
    hat: str = "none"
    beard: bool = False
    blush: bool = False
    spots: bool = False
    earrings: bool = False

    reach = 1.75

    def parts(self) -> list[Part]:
        return [
            *self._hair_behind(),
            Part(f.both(f.ellipse(0, 1.75, 1.05, 0.85), f.half_plane(0.85)), plain(COLOURS[self.shirt])),
            Part(f.box(0, 0.85, 0.26, 0.3, 0.1), flat(darker(self.skin, 0.1))),
            Part(f.union(f.circle(-0.76, 0.05, 0.15), f.circle(0.76, 0.05, 0.15)), flat(darker(self.skin, 0.06))),
            Part(f.ellipse(0, 0.06, 0.76, 0.86), flat(self.skin)),
            *self._skin_details(),
            *self._hair_in_front(),
            *self._eyes(),
            *self._mouth(),
            *self._glasses(),
            *self._hat(),
        ]

    def _hair_behind(self) -> list[Part]:
        paint = plain(darker(HAIR[self.hair], 0.12))
        if self.hair_style == "long":
            return [Part(f.box(0, 0.2, 0.95, 1.05, 0.6), paint)]
        if self.hair_style == "curly":
            places = [(-0.78, -0.35), (0.78, -0.35), (-0.88, 0.1), (0.88, 0.1), (-0.45, -0.8), (0.45, -0.8), (0, -0.92)]
            return [Part(f.union(*(f.circle(x, y, 0.36) for x, y in places)), paint)]
        return []

    def _hair_in_front(self) -> list[Part]:
        cap = f.cut(f.ellipse(0, -0.08, 0.84, 0.9), f.ellipse(0.1, 0.5, 0.88, 0.88))
        return [Part(cap, plain(HAIR[self.hair]))]

    def _skin_details(self) -> list[Part]:
        details = [Part(f.stroke([(0.0, 0.08), (0.06, 0.24), (-0.03, 0.27)], 0.03), flat(darker(self.skin, 0.22)))]
        if self.beard:
            jaw = f.cut(f.ellipse(0, 0.08, 0.77, 0.87), f.ellipse(0, -0.16, 0.84, 0.72))
            details.append(Part(jaw, flat(HAIR[self.hair])))
        if self.blush:
            pink = tuple(float(value) for value in mix(self.skin, rgb("f0567a"), 0.5))
            details.append(Part(f.union(f.circle(-0.44, 0.28, 0.15), f.circle(0.44, 0.28, 0.15)), flat(_rgb(pink))))
        if self.spots:
            places = [(-0.5, 0.25), (-0.34, 0.4), (0.36, 0.2), (0.5, 0.36), (-0.16, -0.28), (0.22, 0.66), (0.3, -0.22)]
            details.append(Part(f.union(*(f.circle(x, y, 0.062) for x, y in places)), flat(rgb("b3402e"))))
        if self.earrings:
            details.append(Part(f.union(f.circle(-0.78, 0.28, 0.1), f.circle(0.78, 0.28, 0.1)), plain(rgb("f2c230"))))
        return details

    def _eyes(self) -> list[Part]:
        brows = Part(
            f.union(f.stroke([(-0.46, -0.2), (-0.2, -0.22)], 0.035), f.stroke([(0.2, -0.22), (0.46, -0.2)], 0.035)),
            flat(darker(HAIR[self.hair], 0.3)),
        )
        if self.eyes == "closed":
            lids = [f.stroke([(s * 0.44, 0.0), (s * 0.32, 0.05), (s * 0.2, 0.0)], 0.035) for s in (-1, 1)]
            return [brows, Part(f.union(*lids), flat(DARK))]
        whites = f.union(f.ellipse(-0.32, 0.0, 0.17, 0.12), f.ellipse(0.32, 0.0, 0.17, 0.12))
        return [
            brows,
            Part(whites, flat(WHITE)),
            Part(f.union(f.circle(-0.32, 0.0, 0.09), f.circle(0.32, 0.0, 0.09)), flat(DARK)),
        ]

    def _mouth(self) -> list[Part]:
        if self.mouth == "open":
            return [
                Part(f.ellipse(0, 0.56, 0.22, 0.17), flat(rgb("7d2630"))),
                Part(f.ellipse(0, 0.64, 0.13, 0.07), flat(rgb("e2707a"))),
            ]
        bend = {"neutral": 0.0, "smile": 0.17, "sad": -0.15}[self.mouth]
        curve = [(0.3 * t, 0.52 + bend * (1 - t * t) * 1.0 - bend * 0.3) for t in (-1, -0.6, -0.2, 0.2, 0.6, 1)]
        return [Part(f.stroke(curve, 0.05), flat(rgb("a23a44")))]

    def _glasses(self) -> list[Part]:
        if self.glasses == "none":
            return []
        frame = f.union(
            f.ring(-0.34, 0.0, 0.24, 0.035),
            f.ring(0.34, 0.0, 0.24, 0.035),
            f.stroke([(-0.1, -0.02), (0.1, -0.02)], 0.03),
            f.stroke([(-0.58, -0.02), (-0.74, -0.06)], 0.03),
            f.stroke([(0.58, -0.02), (0.74, -0.06)], 0.03),
        )
        lenses = f.union(f.circle(-0.34, 0.0, 0.24), f.circle(0.34, 0.0, 0.24))
        dark = [Part(lenses, plain(rgb("23262e")))] if self.glasses == "sunglasses" else []
        return [*dark, Part(frame, flat(rgb("23262e")))]

    def _hat(self) -> list[Part]:
        if self.hat == "cap":
            dome = f.both(f.ellipse(0, -0.42, 0.86, 0.66), f.turned(f.half_plane(0.4), 180))
            return [
                Part(dome, plain(COLOURS["red"])),
                Part(f.ellipse(0.3, -0.44, 0.86, 0.13), plain(rgb("b02733"))),
            ]
        if self.hat == "crown":
            points = [
                (-0.66, -0.5),
                (-0.76, -1.16),
                (-0.36, -0.86),
                (0, -1.28),
                (0.36, -0.86),
                (0.76, -1.16),
                (0.66, -0.5),
            ]
            return [
                Part(f.polygon(points, 0.03), plain(rgb("f2c230"))),
                Part(f.union(*(f.circle(x, -0.66, 0.08) for x in (-0.4, 0.0, 0.4))), flat(COLOURS["red"])),
            ]
        return []


def _rgb(values: tuple[float, ...]) -> Rgb:
    red, green, blue = values
    return red, green, blue

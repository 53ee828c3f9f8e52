"""How an item can be pointed out: by name, size, place or by what stands beside it. Every reference fits one item."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .draw import Draw
from .items import Item, Person, Sign, Thing
from .materials import COLOURLESS
from .words import COLOUR_WORDS, KIND_WORDS, MATERIAL_ADJECTIVES, SIDE_WORDS, SIDES, Words, article

LARGER = 1.25
"""How much larger the largest must be than the next to be called so."""
APART = 0.1
"""How far apart the leftmost and the next must be, and items that are left of one another."""


def kind_name(item: Item) -> Words:
    if isinstance(item, Thing):
        return KIND_WORDS[item.kind]
    if isinstance(item, Sign):
        return Words("sign", "牌子")
    return Words("person", "人")


def full_name(item: Item) -> Words:
    """`red circle`, `wooden star`, `person in the blue shirt`, without an article."""
    kind = kind_name(item)
    if isinstance(item, Person):
        colour = COLOUR_WORDS[item.shirt]
        return Words(f"{kind.en} in the {colour.en} shirt", f"穿{colour.zh}衣服的{kind.zh}")
    look = appearance(item)
    if look is None:
        return kind
    return Words(f"{look.en} {kind.en}", f"{look.zh}的{kind.zh}")


def a_name(item: Item) -> Words:
    """With the indefinite article, for something that is new or being described."""
    name = full_name(item)
    return Words(article(name.en), f"一个{name.zh}")


def appearance(item: Item) -> Words | None:
    """The colour, or the material where it hides the colour."""
    if isinstance(item, Thing):
        return (MATERIAL_ADJECTIVES if item.material in COLOURLESS else COLOUR_WORDS)[
            item.material if item.material in COLOURLESS else item.colour
        ]
    if isinstance(item, Sign):
        return COLOUR_WORDS[item.colour]
    return None


def references(items: Sequence[Item], index: int) -> list[list[Words]]:
    """Ways to say which item is meant, grouped by their kind: names, size, place, neighbours. Empty groups left out."""
    groups = [_names(items, index), _sizes(items, index), _places(items, index), _neighbours(items, index)]
    return [group for group in groups if group]


def refer(draw: Draw, items: Sequence[Item], index: int) -> Words | None:
    """One reference at random; a kind of reference first, so that rare kinds are heard. None where nothing fits."""
    groups = references(items, index)
    return draw.choice(draw.choice(groups)) if groups else None


def _names(items: Sequence[Item], index: int) -> list[Words]:
    item = items[index]
    names = [full_name(item)]
    look = appearance(item)
    looks = [appearance(other) for other in items]
    if _single(items, index, kind_name):
        names.append(kind_name(item))
    if look is not None and looks.count(look) == 1 and isinstance(item, Thing):
        names.append(Words(f"{look.en} object", f"{look.zh}的物体"))
    if not _single(items, index, full_name):
        return []
    return [Words(f"the {name.en}", name.zh) for name in names]


def _single(items: Sequence[Item], index: int, said: Callable[[Item], Words]) -> bool:
    return [said(item) for item in items].count(said(items[index])) == 1


def _sizes(items: Sequence[Item], index: int) -> list[Words]:
    if len(items) < 2 or not all(isinstance(item, Thing) for item in items):
        return []
    others = [item.size for i, item in enumerate(items) if i != index]
    if items[index].size > LARGER * max(others):
        return [Words("the largest object", "最大的物体"), Words("the biggest object", "最大的那个物体")]
    if items[index].size * LARGER < min(others):
        return [Words("the smallest object", "最小的物体"), Words("the smallest of all objects", "最小的那个物体")]
    return []


def _places(items: Sequence[Item], index: int) -> list[Words]:
    """Extremes within all items, or within those of one kind."""
    found = []
    for noun, among in ((Words("object", "物体"), list(items)), (kind_name(items[index]), _alike(items, index))):
        if len(among) < 2 or (noun.en == "object" and not all(isinstance(item, Thing) for item in items)):
            continue
        for word, key in _EXTREMES:
            ranked = sorted(among, key=key)
            if ranked[0] is items[index] and key(ranked[1]) - key(ranked[0]) > APART:
                found.append(Words(f"the {word.en} {noun.en}", f"{word.zh}的{noun.zh}"))
    return found


def _alike(items: Sequence[Item], index: int) -> list[Item]:
    return [item for item in items if kind_name(item) == kind_name(items[index])]


_EXTREMES: list[tuple[Words, Callable[[Item], float]]] = [
    (Words("leftmost", "最左边"), lambda item: item.x),
    (Words("rightmost", "最右边"), lambda item: -item.x),
    (Words("topmost", "最上面"), lambda item: item.y),
    (Words("lowest", "最下面"), lambda item: -item.y),
]


def _neighbours(items: Sequence[Item], index: int) -> list[Words]:
    """`the circle to the left of the blue star`, where just one circle is."""
    found = []
    noun = kind_name(items[index])
    for i, anchor in enumerate(items):
        if i == index or not _single(items, i, full_name):
            continue
        for side in SIDES:
            there = [item for item in _alike(items, index) if item is not anchor and stands(item, anchor, side)]
            if there == [items[index]]:
                name, where = full_name(anchor), SIDE_WORDS[side]
                found.append(Words(f"the {noun.en} {where.en} the {name.en}", f"{name.zh}{where.zh}的{noun.zh}"))
    return found


def stands(item: Item, anchor: Item, side: str) -> bool:
    """Whether `item` is on that side of `anchor`: farther along it than across it."""
    dx, dy = SIDES[side]
    along = (item.x - anchor.x) * dx + (item.y - anchor.y) * dy
    across = abs((item.x - anchor.x) * dy) + abs((item.y - anchor.y) * dx)
    return along > APART and along > 0.5 * across

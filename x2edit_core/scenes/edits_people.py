"""Edits of faces and of writing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from . import wording as w
from .draft import Draft, with_item
from .draw import Draw
from .faces import Face
from .items import Sign
from .layout import portrait_scene, sign_scene, writing
from .palette import HAIR
from .refer import refer
from .wording_looks import PORTRAIT
from .words import HAIR_STYLE_WORDS, HAIR_WORDS, Words

Retouch = Callable[[Face], "Face | None"]
"""The face after the edit; None where there is nothing to change."""


def _set(**features: object) -> Retouch:
    def retouch(face: Face) -> Face | None:
        changed = replace(face, **features)
        return None if changed == face else changed

    return retouch


def _unless(condition: Callable[[Face], bool], retouch: Retouch) -> Retouch:
    return lambda face: None if condition(face) else retouch(face)


def _eyes_hidden(face: Face) -> bool:
    return face.glasses == "sunglasses"


RETOUCHES: dict[str, Retouch] = {
    "smile": _set(mouth="smile"),
    "sad": _set(mouth="sad"),
    "open mouth": _set(mouth="open"),
    "close eyes": _unless(_eyes_hidden, _set(eyes="closed")),
    "open eyes": _unless(_eyes_hidden, _set(eyes="open")),
    "glasses": _unless(_eyes_hidden, _set(glasses="glasses")),
    "sunglasses": _set(glasses="sunglasses"),
    # What sunglasses hide cannot be known from the picture, so only clear glasses come off.
    "no glasses": _unless(_eyes_hidden, _set(glasses="none")),
    "cap": _unless(lambda face: face.hat != "none", _set(hat="cap")),
    "crown": _unless(lambda face: face.hat != "none", _set(hat="crown")),
    "no hat": _set(hat="none"),
    "beard": _set(beard=True),
    "shave": _set(beard=False),
    "clear skin": _set(spots=False),
    "blush": _set(blush=True),
    "earrings": _unless(lambda face: face.hair_style == "long", _set(earrings=True)),
}


def portrait(draw: Draw) -> Draft | None:
    scene = portrait_scene(draw)
    index = draw.integer(len(scene.items))
    face = scene.items[index]
    assert isinstance(face, Face)
    words = {"it": _face_name(len(scene.items), index)}
    name = draw.choice([name for name, retouch in RETOUCHES.items() if retouch(face)] + ["hair", "hair", "hair style"])
    if name == "hair":
        colour = draw.choice([colour for colour in HAIR if colour != face.hair])
        changed, words["hair"] = replace(face, hair=colour), HAIR_WORDS[colour]
    elif name == "hair style":
        style = draw.choice([style for style in HAIR_STYLE_WORDS if style != face.hair_style])
        changed, words["style"] = replace(face, hair_style=style), HAIR_STYLE_WORDS[style]
    else:
        changed = RETOUCHES[name](face) or face
    return Draft(scene, with_item(scene, index, changed), PORTRAIT[name], words)


def _face_name(count: int, index: int) -> Words:
    if count == 1:
        return Words("the person", "这个人")
    return (Words("the person on the left", "左边的人"), Words("the person on the right", "右边的人"))[index]


def text(draw: Draw) -> Draft | None:
    scene = sign_scene(draw)
    index = draw.integer(len(scene.items))
    sign = scene.items[index]
    assert isinstance(sign, Sign)
    it = refer(draw, scene.items, index)
    new = writing(draw)
    if it is None or new in [item.text for item in scene.items if isinstance(item, Sign)]:
        return None
    words = {"it": it, "old": Words(sign.text, sign.text), "new": Words(new, new)}
    return Draft(scene, with_item(scene, index, replace(sign, text=new)), w.TEXT, words)

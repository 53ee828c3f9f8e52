"""English frames about things: removing one, adding one, giving one to somebody."""

from __future__ import annotations

from collections.abc import Sequence

from ...tasks import Task
from ..evidence import Evidence
from ..word_lists import word_list
from ..wording import QUOTED
from .making import read_making
from .phrases import Phrase, Unit, by_tag, is_plain_object, split_at
from .words import DETERMINERS, INDEFINITE, NO_TAGS

_POSSESSIVE = frozenset(word_list("his her their my your its our"))


_FLAWS = frozenset(
    word_list("shine glare redness spot spots mark marks scar scars oil sweat bruise bruises lines line hairs tan")
)
ADDITION = {
    "text": (Task.TEXT, 5),
    "expression_noun": (Task.ACTION, 5),
    "face": (Task.PORTRAIT, 5),
    "weather": (Task.TONE, 4.5),
    "light": (Task.TONE, 4),
    "time": (Task.TONE, 3.5),
    "season": (Task.TONE, 3),
    "background": (Task.BACKGROUND, 5),
    "low_level": (Task.LOW_LEVEL, 2),
    "style_noun": (Task.STYLE, 4),
    "material_noun": (Task.MATERIAL, 4),
    "colour_noun": (Task.COLOR, 3.5),
    "camera_noun": (Task.CAMERA, 4),
    "pose_noun": (Task.ACTION, 4),
    "vague": (Task.OTHER, 2),
    "quality": (Task.OTHER, 3),
    "tone_adjective": (Task.TONE, 4),
}


def read_removal(verb: str, rest: tuple[Unit, ...]) -> list[Evidence]:
    target = Phrase(
        tuple(unit for unit in rest if unit.text not in {"out", "away", "off", "rid"} or unit is not rest[0])
    )
    if target.units and target.units[-1].text in {"out", "away", "off"}:
        target = Phrase(target.units[:-1])
    if verb in {"get", "rid"} and len(target.units) > 1 and target.units[0].text in {"rid", "of", "the"}:
        target = Phrase(tuple(unit for unit in target.units if unit.text not in {"rid", "of"}))
    head = target.head
    why = f"{verb} {target.text()}"
    if verb == "empty":
        return [Evidence(Task.REMOVE, 4, why)]
    if verb.startswith("crop") and head.text in {
        "half",
        "part",
        "side",
        "edge",
        "edges",
        "bottom",
        "top",
        "border",
        "third",
        "corner",
    }:
        return [Evidence(Task.CAMERA, 5, why)]
    if verb in {"take", "get", "pull"} and "person" in head.tags and "place" in target.all_tags:
        return [Evidence(Task.BACKGROUND, 5, why)]
    found = [Evidence(Task.REMOVE, 3, why)]
    found += by_tag(head, why, {"text": (Task.TEXT, 4), "low_level": (Task.LOW_LEVEL, 4), "face": (Task.PORTRAIT, 4)})
    if "background" in head.tags:
        found.append(Evidence(Task.BACKGROUND, 5, why))
    if head.text in {"tattoo", "tattoos", "waist"}:
        found.append(Evidence(Task.REMOVE, 2, why))
    if head.text in _FLAWS and target.all_tags & {"face", "body"}:
        return [Evidence(Task.PORTRAIT, 7, why)]
    if is_plain_object(head):
        found.append(Evidence(Task.REMOVE, 2, f"{head.text} is a thing"))
    if verb in {"lose", "drop", "hide", "empty"} and not target.core:
        return []
    return found


def read_addition(verb: str, rest: tuple[Unit, ...]) -> list[Evidence]:
    thing, place = split_at(
        rest, frozenset(word_list("in on to at onto into against over inside before behind across around with"))
    )
    why = f"{verb} {thing.text()}"
    moved = _moving_to_place(verb, thing, place, rest, why)
    if moved:
        return moved
    if verb in {"place", "put", "position", "set", "bring"} and any(u.text in {"place", "instead"} for u in rest[1:]):
        return [Evidence(Task.REPLACE, 4, why)]
    if verb == "set" and place is not None and place.head.tags & {"season", "time", "weather"}:
        return [Evidence(Task.TONE, 5, why)]
    if "image" in thing.head.tags and verb in {"generate", "create", "draw", "sketch", "build"}:
        drawn = verb in {"draw", "sketch"}
        return [Evidence(Task.STYLE, 3.5, why) if drawn else Evidence(Task.ADD, 1, why)]
    found = [Evidence(Task.ADD, 3, why)]
    found += by_tag(thing.head, why, ADDITION)
    if QUOTED in thing.words:
        found.append(Evidence(Task.TEXT, 3, why))
    if is_plain_object(thing.head):
        found.append(Evidence(Task.ADD, 2.0, why))
    if {"style"} & thing.head.tags and place is not None and not place.is_image:
        found.append(Evidence(Task.ADD, 1, why))
    return found


def _moving_to_place(verb: str, thing: Phrase, place: Phrase | None, rest: Sequence[Unit], why: str) -> list[Evidence]:
    """ "Put the bride in a cathedral" moves what is there to a new place; "put a man in the garden" adds one."""
    if (
        verb not in {"put", "place", "set", "position", "bring", "drop", "drape", "stick", "pop", "insert"}
        or place is None
    ):
        return []
    if thing.core and thing.core[0].text in _POSSESSIVE and "body" in thing.head.tags:
        return [Evidence(Task.ACTION, 5, why)]
    definite = (
        bool(thing.units)
        and not thing.indefinite
        and (thing.units[0].text in DETERMINERS or thing.head.tags & {"person", "image"})
    )
    if not definite:
        return []
    if "background" in place.all_tags or {"front"} & {u.text for u in rest}:
        return [Evidence(Task.BACKGROUND, 5, why)]
    if place.core and ("place" in place.head.tags or (place.indefinite and place.all_tags & {"place"})):
        return [Evidence(Task.BACKGROUND, 4.5, why)]
    if thing.head.text in {"me", "us"} or (
        thing.units[0].text == "my"
        and verb in {"put", "place", "set"}
        and place.units
        and place.head.tags == NO_TAGS
        and place.units[0].text == "the"
    ):
        return [Evidence(Task.BACKGROUND, 4, why)]
    if "place" in place.all_tags and thing.head.tags & {"person", "image", "animal"}:
        return [Evidence(Task.BACKGROUND, 4, why)]
    return []


def read_giving(verb: str, rest: tuple[Unit, ...]) -> list[Evidence]:
    """ "Give the cat a red hat": the second noun phrase is what is given."""
    second = next(
        (
            p
            for p, u in enumerate(rest)
            if p > 0 and (u.text in INDEFINITE or u.text in {"more", "new"}) and not rest[p - 1].determines
        ),
        None,
    )
    receiver, gift = (Phrase(rest[:second]), Phrase(rest[second:])) if second else _bare_gift(rest)
    why = f"{verb} {Phrase(rest).text()}"
    if not gift.units:
        return read_making(verb, rest)
    if "style_noun" in gift.head.tags and gift.modifiers & {"time", "weather", "season", "light", "tone_adjective"}:
        return [Evidence(Task.TONE, 5, why)]
    found = by_tag(gift.head, why, {**ADDITION, "low_level": (Task.LOW_LEVEL, 4), "style": (Task.STYLE, 2.5)})
    if gift.head.tags & {"material_noun"} or ("look" in gift.words and "material" in gift.modifiers):
        found.append(Evidence(Task.MATERIAL, 2, why))
    if (
        not found
        and "colour" in gift.modifiers
        and gift.head.tags & {"body"} | ({"x"} if gift.head.text in {"feathers", "fur", "coat"} else set())
    ):
        found.append(Evidence(Task.COLOR, 4.5, why))
    if not found or is_plain_object(gift.head):
        found.append(Evidence(Task.ADD, 3.5, why))
    if receiver.is_image:
        found += by_tag(
            gift.head, why, {"style": (Task.STYLE, 2), "tone_adjective": (Task.TONE, 2), "style_noun": (Task.STYLE, 1)}
        )
    if "face" in gift.all_tags and receiver.all_tags & {"person"}:
        found.append(Evidence(Task.PORTRAIT, 2, why))
    if gift.all_tags & {"weather", "light", "time"} and receiver.is_image:
        found.append(Evidence(Task.TONE, 3, why))
    return found


def _bare_gift(rest: Sequence[Unit]) -> tuple[Phrase, Phrase]:
    for position in range(1, len(rest)):
        receiver = rest[position - 1]
        if receiver.text in {"her", "him", "it", "them", "me", "us", "this"} or receiver.tags & {"person", "animal"}:
            return Phrase(tuple(rest[:position])), Phrase(tuple(rest[position:]))
    if len(rest) > 2:
        return Phrase(tuple(rest[:2])), Phrase(tuple(rest[2:]))
    return Phrase(tuple(rest)), Phrase(())

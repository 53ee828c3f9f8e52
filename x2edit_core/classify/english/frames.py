"""English sentence frames: which verb stands first, and what it acts on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...tasks import Task
from ..evidence import Evidence
from ..word_lists import word_list
from ..wording import QUOTED
from .changes import (
    CHANGED,
    INTO,
    RESULT,
    TO,
    is_body_move,
    names_text,
    read_attribute,
    read_becoming,
    read_conflicts,
)
from .making import read_making
from .phrases import Phrase, Unit, by_tag, split_at, units_of
from .things import ADDITION, read_addition, read_giving, read_removal
from .words import ADD_VERBS, CHANGE_VERBS, REMOVE_VERBS, REPLACE_VERBS, base_verb

_BEHIND = frozenset(word_list("sky wall view scenery area scene curtain landscape"))
_TAKING = frozenset(
    word_list("""take get pull cut edit crop clean scrub wipe strip photoshop clone mask brush move throw""")
)


def read_clause(clause: str) -> list[Evidence]:
    """What the clause's main verb and its arguments say; empty when the clause has no verb we know."""
    units = units_of(clause)
    while units and (
        units[0].text in {"all", "simply", "then", "now", "also", "just", "digitally"} or units[0].text == ","
    ):
        units = units[1:]
    if not units:
        return []
    contrast = _contrast(units)
    if contrast:
        return contrast
    verb, rest = base_verb(units[0].text), units[1:]
    frame = _frame_of(verb, units[0], rest)
    return frame(verb, rest) if frame else _read_verbless(units)


def _contrast(units: tuple[Unit, ...]) -> list[Evidence]:
    """ "A green jacket instead of a blue one": the same thing, another colour or material."""
    words = [unit.text for unit in units]
    cut = next(
        (p for p, word in enumerate(words) if word in {"instead", "rather"} and p + 2 < len(words) and p > 0), None
    )
    if cut is None or words[cut + 1] not in {"of", "than"}:
        return []
    wanted, old = Phrase(units[:cut]), Phrase(units[cut + 2 :])
    why = " ".join(words)
    if (old.core and old.core[-1].text in {"one", "ones"}) or old.head.text == wanted.head.text:
        return [Evidence(item.task, item.weight + 2, why) for item in read_attribute(wanted.modifiers, why)]
    return []


Frame = Callable[[str, tuple[Unit, ...]], list[Evidence]]


def _frame_of(verb: str, unit: Unit, rest: Sequence[Unit]) -> Frame | None:
    particles = {"out", "away", "off", "rid"} | ({"from"} if verb in {"clean", "wipe", "scrub"} else set())
    if (
        verb in _TAKING
        and any(u.text in particles for u in rest)
        and not any(u.text in {"camera", "look", "shave"} for u in rest)
    ):
        return read_removal
    for words, frame in _FRAMES:
        if verb in words:
            return frame
    for tag, frame in _TAGGED_FRAMES:
        if tag in unit.tags:
            return frame
    return None


def _is_number(phrase: Phrase) -> bool:
    return bool(phrase.core) and all(unit.text.isdigit() or unit.text in "$€£¥%.:" for unit in phrase.core)


def _showing(verb: str, rest: tuple[Unit, ...]) -> list[Evidence]:
    phrase = Phrase(rest)
    why = f"{verb} {phrase.text()}"
    if phrase.indefinite and rest[1:2]:
        return [Evidence(Task.ADD, 2, why)]
    acting = any(
        unit.text.split()[0].endswith("ing") and not unit.tags & {"time", "place", "thing"} for unit in rest[1:]
    )
    return [Evidence(Task.ACTION, 3, why)] if acting and phrase.all_tags & {"person", "animal"} else []


_IMPROVED = {
    "text": Task.TEXT,
    "face": Task.PORTRAIT,
    "light": Task.TONE,
    "weather": Task.TONE,
    "low_level": Task.LOW_LEVEL,
    "colour_noun": Task.COLOR,
    "background": Task.BACKGROUND,
    "pose_noun": Task.ACTION,
    "camera_noun": Task.CAMERA,
}


def _improving(verb: str, rest: tuple[Unit, ...]) -> list[Evidence]:
    phrase = Phrase(rest)
    why = f"{verb} {phrase.text()}"
    head = phrase.head
    for tag, task in _IMPROVED.items():
        if tag in head.tags:
            return [Evidence(task, 4, why)]
    if verb in {"rework", "redo"} and any(u.text in {"as", "in", "into"} for u in rest):
        return read_change("turn", rest)
    if verb in {"adjust", "modify", "edit", "correct"} and any(u.text in TO for u in rest[1:]):
        return read_change(verb, rest)
    if head.tags & {"person"} and not head.tags & {"image"} and verb in {"beautify", "retouch", "enhance", "edit"}:
        return [Evidence(Task.PORTRAIT, 4, why)]
    return [Evidence(Task.OTHER, 4 if phrase.is_image or head.tags & {"quality", "vague"} else 2.5, why)]


def _recolouring(verb: str, rest: tuple[Unit, ...]) -> list[Evidence]:
    phrase, place = split_at(rest, frozenset({"on", "over", "across"}))
    why = f"{verb} {Phrase(rest).text()}"
    if verb == "tilt":
        return []
    if "face" in phrase.head.tags or "hair" in phrase.words:
        return [Evidence(Task.PORTRAIT, 5, why)]
    if verb in {"paint", "repaint"} and place is not None and place.units and phrase.indefinite:
        return [Evidence(Task.ADD, 3.5, why)]
    if verb in {"paint", "repaint"} and phrase.is_image and "colour" not in Phrase(rest).all_tags:
        return [Evidence(Task.STYLE, 3, why)]
    return [Evidence(Task.COLOR, 4.5, why)]


def _retouching(verb: str, rest: tuple[Unit, ...]) -> list[Evidence]:
    phrase = Phrase(rest)
    tags = phrase.head.tags
    human = bool(tags & {"face", "body", "person"}) or bool(phrase.all_tags & {"face"})
    if phrase.is_image:
        return [Evidence(Task.OTHER, 3.5, f"{verb} {phrase.text()}")]
    return [Evidence(Task.PORTRAIT, 5 if human else 2, f"{verb} {phrase.text()}")]


def _moving(verb: str, rest: tuple[Unit, ...]) -> list[Evidence]:
    thing, place = split_at(rest, frozenset(word_list("to into onto from")))
    why = f"{verb} {Phrase(rest).text()}"
    if "camera_noun" in thing.all_tags or (
        {"closer", "back"} & thing.words and not thing.head.tags & {"person", "animal"}
    ):
        return [Evidence(Task.CAMERA, 5, why)]
    if "body" in thing.head.tags:
        return [Evidence(Task.ACTION, 4.5, why)]
    if place is not None and place.all_tags & {"place", "background"}:
        return [Evidence(Task.BACKGROUND, 4.5, why)]
    if thing.head.tags & {"face", "text"}:
        return by_tag(thing.head, why, CHANGED)
    return [Evidence(Task.OTHER, 4, why)]


def _resizing(verb: str, rest: tuple[Unit, ...]) -> list[Evidence]:
    phrase = Phrase(rest)
    why = f"{verb} {phrase.text()}"
    if phrase.head.tags & {"face"} or phrase.head.text in {"eyes", "lips"}:
        return [Evidence(Task.PORTRAIT, 5, why)]
    if "text" in phrase.head.tags:
        return [Evidence(Task.TEXT, 5, why)]
    if phrase.head.tags & {"camera_noun"}:
        return [Evidence(Task.CAMERA, 5, why)]
    if verb == "stretch" and phrase.head.tags & {"animal", "person", "body"}:
        return [Evidence(Task.ACTION, 4, why)]
    return [Evidence(Task.OTHER, 4, why)]


def _camera(verb: str, rest: tuple[Unit, ...]) -> list[Evidence]:
    phrase = Phrase(rest)
    if any("body" in unit.tags for unit in phrase.core) and verb in {"tilt", "rotate"}:
        return [Evidence(Task.ACTION, 5, f"{verb} {phrase.text()}")]
    return [Evidence(Task.CAMERA, 4, f"{verb} {phrase.text()}")]


def _restyling(verb: str, rest: tuple[Unit, ...]) -> list[Evidence]:
    return [Evidence(Task.STYLE, 4, f"{verb} {Phrase(rest).text()}")]


def _applying(verb: str, rest: tuple[Unit, ...]) -> list[Evidence]:
    thing, place = split_at(rest, frozenset(word_list("to on onto over")))
    why = f"{verb} {thing.text()}"
    table = {**ADDITION, "style": (Task.STYLE, 4), "low_level": (Task.LOW_LEVEL, 5), "material": (Task.MATERIAL, 2.5),
             "tone_adjective": (Task.TONE, 2.5), "colour": (Task.COLOR, 2.5)}  # fmt: skip
    if thing.head.tags & {"colour_noun"} and (place is None or place.is_image):
        return [Evidence(Task.TONE, 5, why)]
    return by_tag(thing.head, why, table) or [Evidence(Task.ADD, 1.5, why)]


def _writing(verb: str, rest: tuple[Unit, ...]) -> list[Evidence]:
    return [Evidence(Task.TEXT, 4, f"{verb} {Phrase(rest).text()}")]


def _wearing(verb: str, rest: tuple[Unit, ...]) -> list[Evidence]:
    return [Evidence(Task.ADD, 3.5, f"{verb} {Phrase(rest).text()}")]


def _posing(verb: str, rest: tuple[Unit, ...]) -> list[Evidence]:
    """ "Raise her left hand", "open the bear's mouth", "lower his arms"."""
    phrase = Phrase(rest)
    why = f"{verb} {phrase.text()}"
    if "body" in phrase.head.tags or phrase.all_tags & {"person", "animal"}:
        return [Evidence(Task.ACTION, 5, why)]
    tone = verb in {"lower", "raise", "lift"} and phrase.all_tags & {"light"}
    return [Evidence(Task.TONE, 4, why)] if tone else [Evidence(Task.ACTION, 2, why)]


def _toning(verb: str, rest: tuple[Unit, ...]) -> list[Evidence]:
    phrase = Phrase(rest)
    task = Task.PORTRAIT if phrase.head.tags & {"face"} else Task.TONE
    return [Evidence(task, 4.5, f"{verb} {phrase.text()}")]


def _substituting(verb: str, rest: tuple[Unit, ...]) -> list[Evidence]:
    """ "Use a fox rather than the wolf", "use a different font"."""
    phrase = Phrase(rest)
    why = f"{verb} {phrase.text()}"
    found = by_tag(phrase.head, why, {**ADDITION, "style": (Task.STYLE, 3), "low_level": (Task.LOW_LEVEL, 4)})
    return found or ([Evidence(Task.REPLACE, 3, why)] if {"instead", "rather", "replace"} & phrase.words else [])


def _read_verbless(units: tuple[Unit, ...]) -> list[Evidence]:
    """No verb of ours at the start: a bare result ("watercolor", "night scene") or a description."""
    phrase = Phrase(units)
    why = phrase.text()
    if units[0].text == "as":
        return [Evidence(Task.STYLE, 3.5, why)]
    if len(phrase.core) > 4:
        return []
    found = by_tag(phrase.head, why, {**RESULT, "face": (Task.PORTRAIT, 3), "material_noun": (Task.MATERIAL, 4),
                                       "text": (Task.TEXT, 2.5),
                                       "colour_noun": (Task.COLOR, 3), "expression_noun": (Task.ACTION, 3)})  # fmt: skip
    if not found and "colour" in phrase.all_tags and phrase.words & {"version", "edition"}:
        found = [Evidence(Task.COLOR, 7, why)]
    return [Evidence(item.task, item.weight - 0.5, item.reason) for item in found]


def read_change(verb: str, rest: tuple[Unit, ...]) -> list[Evidence]:
    if verb in {"turn", "tilt", "rotate", "change", "move", "adjust", "switch"} and is_body_move(rest):
        return [Evidence(Task.ACTION, 5, f"{verb} {Phrase(rest).text()}")]
    if verb == "set" and len(rest) > 1 and not any(u.text in TO for u in rest):
        return read_addition(verb, rest)
    source, result = split_at(rest, INTO if verb in {"make", "have", "let", "get", "ask"} else TO)
    why = f"{verb} {Phrase(rest).text()}"
    if result is None:
        return read_making(verb, rest)
    before, origin = split_at(source.units, frozenset({"from"}))
    source = before if origin is not None else source
    if "behind" in source.words and source.head.text in _BEHIND:
        return [Evidence(Task.BACKGROUND, 6, why)]
    found = by_tag(source.head, why, CHANGED) if source.core else []
    scenery = "background" in source.all_tags and not source.head.tags & {"background", "person", "animal", "text"}
    if scenery and "colour" not in result.head.tags:
        return [Evidence(Task.BACKGROUND, 6, why)]
    if QUOTED in source.words or names_text(source) or _is_number(result):
        found.append(Evidence(Task.TEXT, 4, why))
    if "light" in source.head.tags and verb in REPLACE_VERBS:
        found = [Evidence(Task.REPLACE, 2, why)]
    if found and not (source.is_image and source.head.tags & {"place"}):
        return found + read_conflicts(source, result, why)
    if origin is not None:
        result = Phrase(result.units) if result.units else origin
    return read_becoming(verb, source, result, why)


_FRAMES: tuple[tuple[frozenset[str], Frame], ...] = (
    (frozenset({"show", "depict", "display", "see"}), _showing),
    (frozenset({"use"}), _substituting),
    (frozenset({"clean"}), _improving),
    (frozenset({"apply", "cast", "cover", "coat", "bathe"}), _applying),
    (frozenset({"adjust", "fix", "correct", "modify", "edit"}), _improving),
    (frozenset({"give", "grant"}), read_giving),
    (frozenset({"wear", "dress"}), _wearing),
    (frozenset({"move", "shift", "relocate", "reposition", "transport", "teleport"}), _moving),
    (frozenset(word_list("raise lower open close bend lift cross spread extend fold clench lean")), _posing),
    (frozenset({"brighten", "darken", "dim", "lighten", "increase", "decrease", "reduce", "boost", "relight"}), _toning),
    (frozenset({"sign", "spell"}), _writing),
    (REMOVE_VERBS, read_removal),
    (frozenset({"tilt", "rotate", "flip", "mirror", "pan", "straighten"}), _camera),
    (frozenset({"get", "have", "let", "ask"}), read_making),
    (CHANGE_VERBS, read_change),
    (ADD_VERBS, read_addition),
    (frozenset({"draw", "sketch"}), read_addition),
)  # fmt: skip


_TAGGED_FRAMES: tuple[tuple[str, Frame], ...] = (
    ("recolour_verb", _recolouring),
    ("restyle_verb", _restyling),
    ("camera_verb", _camera),
    ("text_verb", _writing),
    ("retouch_verb", _retouching),
    ("size_verb", _resizing),
    ("improve_verb", _improving),
)

"""English frames of change: "turn A into B", and what A and B mean together."""

from __future__ import annotations

from collections.abc import Sequence

from ...tasks import Task
from ..evidence import Evidence
from ..word_lists import word_list
from ..wording import QUOTED
from .phrases import Phrase, Unit, by_tag
from .words import DETERMINERS, REPLACE_VERBS

DIRECTIONS = frozenset(
    word_list("""at up down left right away slightly to over straight toward towards into back around sideways""")
)


DEMONSTRATIVE = frozenset(word_list("it this that them these those everything"))


_LANDMARKS = frozenset(
    word_list(
        """volcano castle church temple cave waterfall palace throne pier planet cathedral barn tower spaceship"""
    )
)


CHANGED = {
    "background": (Task.BACKGROUND, 5),
    "text": (Task.TEXT, 5),
    "face": (Task.PORTRAIT, 5.5),
    "colour_noun": (Task.COLOR, 5),
    "material_noun": (Task.MATERIAL, 5),
    "style_noun": (Task.STYLE, 4),
    "season": (Task.TONE, 5),
    "time": (Task.TONE, 5),
    "weather": (Task.TONE, 4),
    "light": (Task.TONE, 4.5),
    "pose_noun": (Task.ACTION, 5.5),
    "expression_noun": (Task.ACTION, 5),
    "camera_noun": (Task.CAMERA, 5),
    "low_level": (Task.LOW_LEVEL, 4),
}


RESULT = {
    "low_level": (Task.LOW_LEVEL, 5),
    "style": (Task.STYLE, 4),
    "style_noun": (Task.STYLE, 4),
    "season": (Task.TONE, 4.5),
    "time": (Task.TONE, 4.5),
    "weather": (Task.TONE, 4),
    "light": (Task.TONE, 4),
    "tone_adjective": (Task.TONE, 4),
    "place": (Task.BACKGROUND, 3),
    "vague": (Task.OTHER, 4),
    "camera_noun": (Task.CAMERA, 4),
    "background": (Task.BACKGROUND, 4),
}


INTO = frozenset({"into"})


TO = frozenset(word_list("to into with for by as onto"))


def names_text(source: Phrase) -> bool:
    """ "The word Hello", "2023": text, though its last word is not."""
    bare = [unit.text for unit in source.core if unit.text not in DETERMINERS]
    named = any(word in {"word", "words", "text", "letter", "phrase", "title", "name", "number"} for word in bare)
    return named or (bool(bare) and all(word.isdigit() for word in bare))


def read_conflicts(source: Phrase, result: Phrase, why: str) -> list[Evidence]:
    """What the new value adds to, or takes from, the reading of the thing changed."""
    found = []
    if "colour" in result.head.tags and "light" in source.head.tags:
        found.append(Evidence(Task.COLOR, 2, why))
    if "colour" in result.head.tags and "sky" in source.words:
        found.append(Evidence(Task.COLOR, 5, why))
    if "colour_noun" in source.head.tags and (
        source.all_tags & {"face"} or source.words & {"eye", "eyes", "lip", "nail"}
    ):
        found.append(Evidence(Task.PORTRAIT, 12, why))
    if "place" in source.head.tags and result.head.tags & {"colour"}:
        found.append(Evidence(Task.COLOR, 4, why))
    return found


def is_body_move(rest: Sequence[Unit]) -> bool:
    phrase = Phrase(tuple(rest))
    if {"around", "sideways"} & phrase.words and phrase.all_tags & {"person", "animal"}:
        return True
    turned = (DIRECTIONS - {"to", "into", "at", "over"}) | {"viewer", "side", "forward", "upward", "downward"}
    return (
        any("body" in unit.tags for unit in phrase.core)
        and not phrase.head.tags & {"colour"}
        and bool(turned & phrase.words)
    )


def read_becoming(verb: str, source: Phrase, result: Phrase, why: str) -> list[Evidence]:
    """`source` (an object or the picture) becomes `result`."""
    if QUOTED in result.words and not source.is_image:
        return [Evidence(Task.TEXT, 4, why)]
    if "low_level" in result.head.tags:
        return [Evidence(Task.LOW_LEVEL, 5, why)]
    if source.is_image:
        found = by_tag(result.head, why, RESULT)
        found += [] if found else _by_modifiers(result, why)
        return found or [Evidence(Task.OTHER if verb == "make" and not result.indefinite else Task.STYLE, 1.5, why)]
    return _become_object(verb, source, result, why)


def _by_modifiers(result: Phrase, why: str) -> list[Evidence]:
    for tag, (task, weight) in RESULT.items():
        if tag in result.all_tags:
            return [Evidence(task, weight - 1, why)]
    return []


def _become_object(verb: str, source: Phrase, result: Phrase, why: str) -> list[Evidence]:
    if result.units and result.units[0].text == "be":
        result = Phrase(result.units[1:])
    head = result.head
    if not result.core:
        return []
    placed = {"set", "placed", "located"} & {unit.text for unit in result.units[:2]}
    if placed and result.all_tags & {"place", "background"}:
        return [Evidence(Task.BACKGROUND, 5, why)]
    if "background" in head.tags or ("background" in result.all_tags and "place" in head.tags) or head.text == "scene":
        return [Evidence(Task.BACKGROUND, 4, why), Evidence(Task.REPLACE, 2, why)]
    if "material" in head.tags and "material" in source.head.tags and not result.indefinite:
        return [Evidence(Task.MATERIAL, 7, why)]
    if _same_thing(source, result):
        if head.text in {"eyes", "eye", "lips", "nails"}:
            return [Evidence(Task.PORTRAIT, 5, why)]
        return [*read_attribute(result.modifiers, why), Evidence(Task.REPLACE, 1.5, why)]
    return _become_attribute(verb, source, result, why) or _become_thing(verb, source, result, why)


def _become_attribute(verb: str, source: Phrase, result: Phrase, why: str) -> list[Evidence]:
    """A colour or a material as the result; "an orange" and "a lime" are fruit."""
    head = result.head
    fruit = "fruit_colour" in head.tags and (result.indefinite or verb in REPLACE_VERBS)
    if "colour" in head.tags and not fruit:
        if "material" in head.tags:
            return colour_or_material(source, result, why)
        shaded = len(result.core) > 1 and result.core[-2].tags & {"shade", "colour"}
        if not result.indefinite or shaded or verb in {"paint", "dye"}:
            return [Evidence(Task.COLOR, 5, why)]
    if "colour_noun" in head.tags:
        return [Evidence(Task.COLOR, 5, why)]
    bare = "material" in head.tags and not result.indefinite and result.units[0].text != "the"
    if "material_noun" in head.tags or bare:
        return [Evidence(Task.MATERIAL, 3 if verb in REPLACE_VERBS else 5, why), Evidence(Task.REPLACE, 2, why)]
    return []


def _become_thing(verb: str, source: Phrase, result: Phrase, why: str) -> list[Evidence]:
    head = result.head
    if ("emotion" in head.tags and source.head.tags & {"person", "animal"}) or (
        not result.indefinite and head.text.endswith("ing") and "motion" in head.tags
    ):
        return [Evidence(Task.ACTION, 4.5, why)]
    if source.head.tags & {"person", "animal"} and "face_trait" in head.tags:
        return [Evidence(Task.PORTRAIT, 4, why)]
    if "expression_noun" in head.tags:
        return [Evidence(Task.ACTION, 5, why)]
    if (
        "style" in head.tags
        or "style_noun" in head.tags
        or ("style" in result.modifiers and source.head.tags & {"person"})
    ):
        return [Evidence(Task.STYLE, 4, why), Evidence(Task.REPLACE, 1.5, why)]
    if source.head.tags & {"light"} and head.tags & {"time", "weather", "light"}:
        return [Evidence(Task.TONE, 5, why)]
    if "place" in head.tags and "place" in source.head.tags and head.text not in _LANDMARKS:
        return [Evidence(Task.BACKGROUND, 5, why), Evidence(Task.REPLACE, 2, why)]
    if head.tags & {"place"} and (result.indefinite or source.head.tags & {"place"}) and verb not in {"swap"}:
        return [Evidence(Task.BACKGROUND, 2, why), Evidence(Task.REPLACE, 2.5, why)]
    if head.tags & {"size"} and not result.indefinite:
        return [Evidence(Task.OTHER, 3.5, why)]
    if head.tags & {"time", "season"}:
        return [Evidence(Task.TONE, 4, why)]
    return [Evidence(Task.REPLACE, 3.6, why)]


def _same_thing(source: Phrase, result: Phrase) -> bool:
    """ "the white horse into a brown one", "the vase with a glass vase"."""
    return (
        result.head.text in {"one", "ones", "version", "itself", "material"}
        or "itself" in result.words
        or (len(result.core) > 1 and result.head.text == source.head.text)
    )


def read_attribute(tags: frozenset[str], why: str) -> list[Evidence]:
    found = []
    if "material" in tags:
        found.append(Evidence(Task.MATERIAL, 5, why))
    elif "colour" in tags:
        found.append(Evidence(Task.COLOR, 5, why))
    if "style" in tags:
        found.append(Evidence(Task.STYLE, 3, why))
    return found


def colour_or_material(source: Phrase, result: Phrase, why: str) -> list[Evidence]:
    """Gold, silver, ivory and the like: a statue becomes gold as a material, "golden yellow" is a colour."""
    coloured = (
        (result.indefinite and "shade" in result.modifiers)
        or bool(result.words & {"colour", "color", "yellow", "pink", "bright", "dark", "light"})
        or "colour_noun" in source.all_tags
    )
    return [
        Evidence(Task.COLOR if coloured else Task.MATERIAL, 4, why),
        Evidence(Task.MATERIAL if coloured else Task.COLOR, 2, why),
    ]

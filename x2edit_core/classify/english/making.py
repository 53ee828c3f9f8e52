"""English frames of making: "make X Y", "let X do Y", "have X look like Y"."""

from __future__ import annotations

from collections.abc import Sequence

from ...tasks import Task
from ..evidence import Evidence
from ..word_lists import word_list
from ..wording import QUOTED
from .changes import CHANGED, DEMONSTRATIVE, DIRECTIONS, colour_or_material, names_text, read_attribute, read_becoming
from .phrases import Phrase, Unit, by_tag
from .words import DETERMINERS

_ATTRIBUTE_NOUNS = frozenset(
    word_list("colour_noun material_noun pose_noun style_noun text background season light camera_noun")
)


def read_making(verb: str, rest: tuple[Unit, ...]) -> list[Evidence]:
    """ "Make X Y": the phrase of X ends where a predicate, a second determiner or a preposition begins."""
    why = f"{verb} {Phrase(rest).text()}"
    if not rest:
        return []
    if verb in {"set", "turn"} and rest[0].text in {"on", "off"} and "light" in Phrase(rest).all_tags:
        return [Evidence(Task.TONE, 4, why)]
    if verb not in {"make", "have", "let", "get", "turn", "ask"}:
        named = _bare(verb, Phrase(rest), why)
        if named:
            return named
    version = next((p for p, unit in enumerate(rest) if unit.text in {"version", "edition"}), None)
    if version and rest[version + 1 : version + 2] and rest[version + 1].text == "of":
        return read_attribute(Phrase(rest[:version]).all_tags, why)
    chunk_end = _end_of_subject(rest)
    chunk, tail = rest[:chunk_end], rest[chunk_end:]
    subject, predicate = _predicate_of(chunk)
    if {"stand", "standing"} & {unit.text for unit in chunk} and {"instead", "rather", "before", "front", "middle"} & {
        unit.text for unit in tail
    }:
        return [Evidence(Task.BACKGROUND, 4, why)] if Phrase(tail).all_tags & {"place"} else []
    saying = {"say", "read", "display"} & {unit.text for unit in chunk[1:]}
    if saying and not {"person", "animal"} & subject.all_tags:
        return [Evidence(Task.TEXT, 5, why)]
    held = _holding(rest)
    if held:
        return [Evidence(held, 4.5, why)]
    if verb in {"have", "let", "make", "show", "get", "ask"} and _acts(subject, predicate, tail, verb):
        if subject.indefinite:
            return [Evidence(Task.ADD, 4, why), Evidence(Task.ACTION, 3, why)]
        return [Evidence(Task.ACTION, 4.5, why)]
    if predicate:
        return _predicated(subject, predicate, tail, why)
    return _unpredicated(verb, subject, tail, why)


def _holding(rest: Sequence[Unit]) -> Task | None:
    """ "Make the boy hold a kite" adds the kite; "make him give a thumbs up" is a pose."""
    for position, unit in enumerate(rest[:-1]):
        if position > 0 and unit.text in {"wear", "hold", "carry", "give", "do", "wearing", "holding", "carrying"}:
            gift = Phrase(tuple(rest[position + 1 :]))
            if gift.head.tags & {"expression_noun", "pose_noun"}:
                return Task.ACTION
            return Task.ADD if gift.indefinite and unit.text not in {"give", "do"} else None
    return None


def _unpredicated(verb: str, subject: Phrase, tail: tuple[Unit, ...], why: str) -> list[Evidence]:
    look = next(
        (
            p
            for p, unit in enumerate(tail)
            if unit.text in {"look", "looks", "looking", "appear", "seem", "like", "as", "be"}
        ),
        None,
    )
    if look is not None and look <= 1:
        if {unit.text for unit in tail[look + 1 : look + 2]} & DIRECTIONS:
            return [Evidence(Task.ACTION, 4, why)]
        return _look_like(
            subject, Phrase(tuple(u for u in tail[look + 1 :] if u.text not in {"like", "as", "if", "more"})), why
        )
    named = by_tag(subject.head, why, {tag: CHANGED[tag] for tag in _ATTRIBUTE_NOUNS & CHANGED.keys()})
    if named and tail:
        return named
    if (
        tail
        and tail[0].text in {"in", "at", "on"}
        and verb in {"make", "let", "have"}
        and not subject.indefinite
        and Phrase(tail[1:]).head.tags & {"place"}
    ):
        return [Evidence(Task.BACKGROUND, 4, why)]
    if (
        verb in {"have", "get"}
        and subject.core
        and not subject.core[0].determines
        and not subject.head.tags & {"person", "image"}
    ):
        return [Evidence(Task.ADD, 4, why)]
    if tail and tail[0].text in {"in", "into", "to", "with", "from", "of", "out", "as", "using"}:
        return read_becoming(verb, subject, Phrase(tuple(u for u in tail[1:] if u.text != "of")), why)
    if tail and (tail[0].determines or tail[0].text == QUOTED):
        return read_becoming("make", subject, Phrase(tail), why)
    if verb in {"have", "let", "get"} and subject.indefinite:
        return [Evidence(Task.ADD, 3, why)]
    return _bare(verb, subject, why)


def _bare(verb: str, subject: Phrase, why: str) -> list[Evidence]:
    """No value given: "change the hair colour", "alter his pose", "adjust the lighting"."""
    found = by_tag(subject.head, why, CHANGED)
    if not found and any("face" in unit.tags for unit in subject.core):
        return [Evidence(Task.PORTRAIT, 4, why)]
    if not found and names_text(subject):
        return [Evidence(Task.TEXT, 5, why)]
    if not found and verb in {"make", "turn", "convert", "render"} and len(subject.core) > 1:
        return read_becoming(verb, Phrase(subject.core[:-1]), Phrase(subject.core[-1:]), why)
    return found


def _end_of_subject(rest: Sequence[Unit]) -> int:
    for position, unit in enumerate(rest):
        if position == 0:
            continue
        stops = unit.stops and not (
            unit.text == "to" and position + 1 < len(rest) and "motion" in rest[position + 1].tags
        )
        if unit.text == "to" and position + 1 < len(rest) and "motion" in rest[position + 1].tags:
            continue
        if stops or unit.text in {"look", "looks", "appear", "seem"}:
            return _after_attached_phrase(rest, position)
        after_pronoun = position == 1 and rest[0].text in DEMONSTRATIVE
        if (
            unit.text in DETERMINERS
            and position + 1 < len(rest)
            and rest[position + 1].text in {"times", "years", "sizes", "shades", "little", "bit", "lot", "touch", "tad"}
        ):
            continue
        if (
            unit.text in DETERMINERS
            and (after_pronoun or not rest[position - 1].determines)
            and unit.text not in DEMONSTRATIVE
        ):
            return position
    return len(rest)


def _after_attached_phrase(rest: Sequence[Unit], position: int) -> int:
    """Skips "of the house" and "on the left" when a predicate still follows ("make the roof of the house red")."""
    if rest[position].text not in {"of", "on", "in", "at", "behind", "under", "above", "near"}:
        return position
    tail = rest[position + 1 :]
    for end, unit in enumerate(tail):
        if unit.stops:
            return position
        if (
            end > 0
            and unit.tags & {"colour", "material", "motion", "tone_adjective", "vague", "size", "emotion"}
            and end == len(tail) - 1
        ):
            return len(rest)
    return position


_PREDICATES = frozenset(
    word_list(
        """colour material tone_adjective vague size emotion face_trait motion pose_adjective weather style time season"""
    )
)


def _predicate_of(chunk: Sequence[Unit]) -> tuple[Phrase, tuple[Unit, ...]]:
    """Splits "the red car blue" into the phrase "the red car" and the predicate "blue"."""
    start = len(chunk)
    while start > 1 and (chunk[start - 1].tags & (_PREDICATES | {"shade"}) or chunk[start - 1].text in _DEGREES):
        start -= 1
    if start == 1 and chunk[0].text in (DETERMINERS - DEMONSTRATIVE - {"her"}):
        start = min(2, len(chunk))
    if all(unit.text in _DEGREES for unit in chunk[start:]):
        start = len(chunk)
    for position in range(1, start):
        if (
            "motion" in chunk[position].tags
            and not chunk[position - 1].determines
            and chunk[0].text != chunk[position].text
        ):
            return Phrase(tuple(chunk[:position])), tuple(chunk[position:])
    return Phrase(tuple(chunk[:start])), tuple(chunk[start:])


_DEGREES = frozenset(
    word_list(
        """more less very much slightly bit a little even so too really all completely totally fully look to is be"""
    )
)


def _acts(subject: Phrase, predicate: Sequence[Unit], tail: Sequence[Unit], verb: str) -> bool:
    if not predicate:
        return False
    if {"say", "read"} & (subject.words | {predicate[0].text}) and "text_carrier" in subject.all_tags:
        return False
    moving = any("motion" in unit.tags or "pose_adjective" in unit.tags for unit in predicate)
    if verb == "ask":
        return True
    colouring = any(unit.tags & {"colour", "material"} for unit in predicate[-1:]) and "motion" not in predicate[0].tags
    return moving and not colouring and not subject.is_image


def _predicated(subject: Phrase, predicate: tuple[Unit, ...], tail: tuple[Unit, ...], why: str) -> list[Evidence]:
    value = Phrase(predicate)
    tags = value.head.tags
    alive = bool(subject.head.tags & {"person", "animal"}) or subject.head.text in {"it", ""}
    if "colour" in tags and "animal" in subject.all_tags:
        return [Evidence(Task.COLOR, 6, why)]
    if "face" in subject.head.tags and tags & {"size", "colour", "face_trait", "vague", "tone_adjective", "material"}:
        return [Evidence(Task.PORTRAIT, 5, why)]
    if "body" in subject.head.tags and tags & {"size", "face_trait", "colour"}:
        return [Evidence(Task.PORTRAIT, 4.5, why)]
    if "text" in subject.head.tags:
        return [Evidence(Task.TEXT, 5, why)]
    if "emotion" in tags and (alive or "body" in subject.head.tags or "face" in subject.head.tags):
        return [Evidence(Task.ACTION, 4.5, why)]
    if "face_trait" in tags and subject.head.tags & {"person"} and not subject.head.tags & {"image"}:
        return [Evidence(Task.PORTRAIT, 5, why)]
    if any("background" in unit.tags for unit in subject.core):
        return [Evidence(Task.BACKGROUND, 5, why)]
    return _object_predicate(subject, value, tags, why)


def _object_predicate(subject: Phrase, value: Phrase, tags: frozenset[str], why: str) -> list[Evidence]:
    whole = (
        subject.is_image or bool(subject.head.tags & {"light", "weather"}) or subject.head.text in {"colors", "colours"}
    )
    if whole and tags & {"tone_adjective", "weather", "time", "season"}:
        return [Evidence(Task.TONE, 4, why)]
    if "colour_noun" in subject.head.tags and tags & {"vague", "tone_adjective", "shade"}:
        return [Evidence(Task.TONE if subject.head.text.endswith("s") else Task.COLOR, 4, why)]
    if whole and "vague" in tags:
        return [Evidence(Task.OTHER, 4, why)]
    if {"colour", "material"} <= tags:
        return colour_or_material(subject, value, why)
    for tag, task, weight in (("colour", Task.COLOR, 5), ("material", Task.MATERIAL, 5), ("style", Task.STYLE, 3.5),
                              ("size", Task.OTHER, 4), ("vague", Task.OTHER, 3), ("shade", Task.COLOR, 2.5),
                              ("tone_adjective", Task.TONE, 3), ("face_trait", Task.PORTRAIT, 2.5)):  # fmt: skip
        if tag in tags:
            return [Evidence(task, weight, why)]
    return []


def _look_like(subject: Phrase, look: Phrase, why: str) -> list[Evidence]:
    tags = look.all_tags
    head = look.head.tags or tags
    person = bool(subject.head.tags & {"person"}) and not subject.head.tags & {"image"}
    table: list[tuple[str, Task, float]] = [
        ("emotion", Task.ACTION, 4.5), ("motion", Task.ACTION, 3), ("face_trait", Task.PORTRAIT, 4.5)
    ] if person else []  # fmt: skip
    if "face" in subject.head.tags or subject.head.text in {"eyes", "lips", "body", "legs", "arms"}:
        table += [("size", Task.PORTRAIT, 5), ("face_trait", Task.PORTRAIT, 5), ("tone_adjective", Task.PORTRAIT, 5)]
    if not subject.is_image and not person:
        table += [("material", Task.MATERIAL, 4), ("colour", Task.COLOR, 3)]
    table += [("low_level", Task.LOW_LEVEL, 4), ("time", Task.TONE, 4), ("weather", Task.TONE, 4), ("season", Task.TONE, 4),
              ("style", Task.STYLE, 4), ("style_noun", Task.STYLE, 4), ("vague", Task.OTHER, 3.5),
              ("tone_adjective", Task.TONE, 3.5),
              ("place", Task.BACKGROUND, 3), ("motion", Task.ACTION, 2.5)]  # fmt: skip
    if len(look.core) == 1 and "vague" in head:
        return [Evidence(Task.OTHER, 4, why)]
    for pool in (head, tags):
        for tag, task, weight in table:
            if tag in pool:
                return [Evidence(task, weight, why)]
    return [Evidence(Task.STYLE if subject.is_image else Task.REPLACE, 2, why)]

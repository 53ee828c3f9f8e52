"""One record through all stages: what becomes of a picture, as plain values that need no further question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from ..data.faults import SampleError
from ..data.picture_files import opened
from ..errors import X2EditError
from ..tasks import Task
from .config import DatasetConfig
from .decide import decide, limits_for
from .edits import Edited, Editors, Given, png_of
from .endpoints import Asked
from .faults import RefusedError
from .instructions import Instructor, Words, reversed_words
from .journal import Memory, key_of
from .judges import SAFETY, looked_at
from .phash import phash, thumbnail
from .rewrites import rewritten
from .scores import Before, Scorers
from .sources import Found, Source

Outcome = dict[str, Any]
STAGES = ("sources", "licence", "safety", "instructions", "edits", "scores", "decide", "seeds", "kept")
"""Where a record, or one edit of it, can end, in this order."""


@dataclass
class Workshop:
    """All that makes a set: the configuration and who does what of it."""

    config: DatasetConfig
    instructor: Instructor
    editors: Editors
    scorers: Scorers
    judge: Asked | None = None


@dataclass(frozen=True)
class _Taken:
    """A source that may be edited, as the journal keeps it."""

    given: Given
    before: Before
    facts: Outcome


def outcomes_of(shop: Workshop, memory: Memory, source: Found) -> list[Outcome]:
    """Every edit of a source, kept or not, or why there is none. Raises only what ends the run."""
    facts: Outcome = {"record": memory.record, "name": getattr(source, "name", "")}
    if isinstance(source, SampleError):
        return [_ended(facts, "sources", str(source))]
    try:
        taken = _taken(shop, memory, source)
    except RefusedError as error:
        return [_ended({**facts, **_terms(source)}, error.stage, error.reason)]
    began = len(memory.used)
    try:
        wanted = shop.instructor.instructions(memory, source, taken.given.digest, taken.given.picture)
    except RefusedError as error:
        return [_ended(taken.facts, "instructions", error.reason)]
    written = memory.used[began:]
    found: list[Outcome] = []
    for number, words in enumerate(wanted):
        part = f"{memory.record}-{number}"
        found += _turns(shop, memory, source, replace_key(taken, part), words, written, wanted[number + 1 :])
    return found


def replace_key(taken: _Taken, key: str) -> _Taken:
    return replace(taken, facts={**taken.facts, "key": key})


def _ended(facts: Outcome, stage: str, *reasons: str) -> Outcome:
    return {"key": facts.get("key", facts["record"]), **facts, "stage": stage, "kept": False, "reasons": list(reasons)}


def _terms(source: Source) -> Outcome:
    return {"licence": source.licence, "origin": source.origin, "attribution": source.attribution,
            "synthetic": source.synthetic}  # fmt: skip


def _taken(shop: Workshop, memory: Memory, source: Source) -> _Taken:
    """The picture decoded, allowed and put beside the journal. Raises `RefusedError`."""
    if not (source.licence and source.origin) and not shop.config.sources.allow_unknown_licence:
        lacking = " and ".join(name for name in ("licence", "origin") if not getattr(source, name))
        raise RefusedError("licence", f"its {lacking} is not said")
    picture = _picture(shop, memory, source)
    if min(picture.size) < shop.config.sources.least_side:
        raise RefusedError(
            "sources", f"{picture.width} × {picture.height} is smaller than {shop.config.sources.least_side}"
        )
    digest = memory.keep(png_of(picture))
    mask = _mask(source, picture)
    mask_digest = memory.keep(png_of(mask)) if mask is not None else ""
    safety = _safe(shop, memory, digest, picture)
    facts: Outcome = {
        "record": memory.record, "name": source.name, "original": digest, **_terms(source), "safety": {"before": safety},
        "phash": f"{phash(picture):016x}", "thumbnail": thumbnail(picture).hex(), "prompt": source.prompt,
        "features": shop.scorers.features(memory, picture, digest) if shop.config.duplicates.features < 1 else "",
    }  # fmt: skip
    return _Taken(Given(digest, picture, mask_digest), Before(picture, digest, mask, mask_digest, source.scene), facts)


def _picture(shop: Workshop, memory: Memory, source: Source) -> Image.Image:
    try:
        data = shop.editors.draw(memory, source.prompt) if source.prompt else source.read()
        return opened(data).convert("RGB")
    except (X2EditError, OSError, ValueError) as error:
        if isinstance(error, X2EditError) and not isinstance(error, SampleError | RefusedError) and source.prompt:
            raise
        raise RefusedError("sources", f"it cannot be read: {error}") from error


def _mask(source: Source, picture: Image.Image) -> Image.Image | None:
    if source.mask is None:
        return None
    try:
        mask = opened(source.mask()).convert("L")
    except (X2EditError, OSError, ValueError) as error:
        raise RefusedError("sources", f"its mask cannot be read: {error}") from error
    if mask.size != picture.size:
        raise RefusedError(
            "sources", f"its mask is {mask.width} × {mask.height}, itself {picture.width} × {picture.height}"
        )
    return mask


def _safe(shop: Workshop, memory: Memory, digest: str, picture: Image.Image) -> Outcome:
    """What the judge's model sees in a picture; nothing where it is not asked. Raises `RefusedError` for what it must not."""
    if not shop.config.safety.ask or shop.judge is None:
        return {}
    judge = shop.judge
    key = key_of("safety", 1, digest, SAFETY, judge.name)
    seen = memory.remember("safety", key, lambda: looked_at(judge, picture))
    if "refused" in seen:
        raise RefusedError("safety", seen["refused"])
    if bad := [name for name in ("nsfw", "minors") if seen.get(name) is not False]:
        raise RefusedError("safety", f"it shows {' and '.join(bad)}, or was not said not to")
    return {name: seen.get(name) for name in ("nsfw", "minors", "faces")}


def _turns(
    shop: Workshop, memory: Memory, source: Source, taken: _Taken, words: Words, written: Sequence[Outcome],
    later: Sequence[Words],
) -> list[Outcome]:  # fmt: skip
    """The edit by these words, what follows from it (its reverse), and the next edits in a row where they are asked for."""
    try:
        found = _edits(shop, memory, source, taken, words, written)
    except RefusedError as error:
        return [_ended({**taken.facts, **_said(words)}, error.stage, error.reason)]
    kept = next((one for one in found if one["kept"]), None)
    if kept is None:
        return found
    recipe = shop.editors.recipe(words.task)
    if recipe.config.reverse and (back := reversed_words(words)):
        found.append(_reversed(kept, back))
    turn = int(taken.facts.get("turn", 1))
    if turn < recipe.config.compose and later:
        found += _next_turn(shop, memory, source, taken, kept, words, written, later)
    return found


def _edits(
    shop: Workshop, memory: Memory, source: Source, taken: _Taken, words: Words, written: Sequence[Outcome]
) -> list[Outcome]:
    """An outcome for each seed, the kept one first decided: of several that would be kept, the best."""
    safety = shop.config.safety
    if words.task is Task.PORTRAIT and safety.faces and not (source.consent or source.synthetic):
        raise RefusedError("safety", "retouching a person needs a source with consent, or a synthetic one")
    found = []
    for number, seed in enumerate(shop.editors.seeds(taken.facts["key"], words)):
        facts = {**taken.facts, **_said(words), "key": f"{taken.facts['key']}-{number}"}
        try:
            found.append(_one(shop, memory, taken, facts, words, seed, written))
        except RefusedError as error:
            found.append(_ended(facts, error.stage, error.reason))
    best = max((one for one in found if one["kept"]), key=_worth, default=None)
    for one in found:
        if one["kept"] and one is not best:
            one.update(kept=False, stage="seeds", reasons=["another seed was better"])
    if best is not None:
        best.update(_further_words(shop, memory, best, words))
    return found


def _one(
    shop: Workshop, memory: Memory, taken: _Taken, facts: Outcome, words: Words, seed: int, written: Sequence[Outcome]
) -> Outcome:
    began = len(memory.used)
    edited = shop.editors.edit(memory, taken.given, words, seed)
    edit = opened(memory.blob(edited.edit)).convert("RGB")
    before = _before(memory, taken.before, edited)
    facts = {**facts, "source": edited.source, "edit": edited.edit, "size": list(edit.size),
             "mask": edited.mask or before.mask_digest}  # fmt: skip
    facts["safety"] = {**facts["safety"], "after": _safe(shop, memory, edited.edit, edit)}
    measured = shop.scorers.scores(memory, before, edit, edited.edit, words)
    reasons = decide(measured["scores"], limits_for(shop.config, words.task))
    return {
        **facts,
        **measured,
        "provenance": _provenance(shop, [*written, *memory.used[began:]], edited),
        "stage": "decide" if reasons else "kept",
        "kept": not reasons,
        "reasons": reasons,
    }


def _before(memory: Memory, before: Before, edited: Edited) -> Before:
    """What the edit is compared with: its source at its own size."""
    if edited.source == before.digest:
        return before
    source = opened(memory.blob(edited.source)).convert("RGB")
    mask = None if before.mask is None else before.mask.resize(source.size)
    digest = "" if mask is None else memory.keep(png_of(mask))
    return replace(before, source=source, digest=edited.source, mask=mask, mask_digest=digest)


def _said(words: Words) -> Outcome:
    return {"task": words.task.english, "words": words.plain()}


def _worth(outcome: Outcome) -> tuple[float, float]:
    scores = outcome["scores"]
    return sum(scores.get(name, 0.0) for name in ("overall", "total", "success")), scores.get("psnr_db", 0.0)


def _further_words(shop: Workshop, memory: Memory, kept: Outcome, words: Words) -> Outcome:
    wanted, writer = shop.config.instructions.rewrites, shop.instructor.writer
    if not wanted or writer is None:
        return {}
    digests = (kept["source"], kept["edit"])
    source, edit = (opened(memory.blob(digest)).convert("RGB") for digest in digests)
    return {"rewrites": rewritten(memory, writer, (source, edit), digests, words, wanted)}


def _provenance(shop: Workshop, entries: Sequence[Outcome], edited: Edited) -> list[Outcome]:
    """Who made what, with which words and seed, and when; keys of journal lines name all that each depends on."""
    found = [
        {"stage": entry["stage"], "model": entry["by"], "prompt": entry.get("prompt", ""), "digest": entry["key"],
         "date": entry["date"][:10]}
        for entry in entries if entry["stage"] not in ("edit", "measure", "draw")
    ]  # fmt: skip
    recipe = shop.editors.recipes[edited.recipe]
    made = {"stage": "edit", "model": recipe.models, "recipe": recipe.name, "seed": edited.seed, "host": edited.by,
            "workflow_sha256": recipe.digest, "licence": recipe.config.licence, "date": edited.date[:10]}  # fmt: skip
    return [*found, made]


def _reversed(kept: Outcome, back: Words) -> Outcome:
    """The pair the other way round; its source was made by the editor."""
    safety = {"before": kept["safety"].get("after", {}), "after": kept["safety"].get("before", {})}
    swapped = {"source": kept["edit"], "edit": kept["source"], "safety": safety, "rewrites": {}}
    return {**kept, **swapped, **_said(back), "key": f"{kept['key']}r", "reverse_of": kept["key"]}


def _next_turn(
    shop: Workshop, memory: Memory, source: Source, taken: _Taken, kept: Outcome, words: Words,
    written: Sequence[Outcome], later: Sequence[Words],
) -> list[Outcome]:  # fmt: skip
    """The next edit made upon this one, and both as one edit of the first picture."""
    edit = opened(memory.blob(kept["edit"])).convert("RGB")
    turn = int(taken.facts.get("turn", 1)) + 1
    facts = {**taken.facts, "key": f"{taken.facts['key']}t{turn}", "turn": turn}
    onward = _Taken(Given(kept["edit"], edit), Before(edit, kept["edit"]), facts)
    found = _turns(shop, memory, source, onward, later[0], written, later[1:])
    last = next((one for one in found if one["kept"] and one.get("turn") == turn), None)
    if last is None or last["size"] != kept["size"]:
        return found
    both = Words(Task.OTHER, _joined(words.en, later[0].en, ", then "), _joined(words.zh, later[0].zh, "，然后"))
    composed = {"source": kept["source"], "key": f"{last['key']}c", "turn": turn, "composed": True, "rewrites": {}}
    return [*found, {**last, **_said(both), **composed}]


def _joined(first: str, second: str, between: str) -> str:
    if not (first and second):
        return ""
    return first.rstrip(".。 ") + between + second[:1].lower() + second[1:]

"""Seed → one edit: the picture before, the instruction, the picture after, and where they differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import X2EditError
from ..tasks import Task
from . import edits_people, edits_picture, edits_puzzles, edits_things
from . import wording as w
from .draft import Draft, Editor
from .draw import Draw, Language, Split
from .layout import thing_scene
from .render import Picture, Scene, render
from .wording import say

EDITORS: dict[Task, Editor] = {
    Task.REMOVE: edits_things.remove,
    Task.ADD: edits_things.add,
    Task.STYLE: edits_picture.style,
    Task.BACKGROUND: edits_picture.background,
    Task.COLOR: edits_things.recolour,
    Task.MATERIAL: edits_things.remake,
    Task.ACTION: edits_things.act,
    Task.REPLACE: edits_things.replace_thing,
    Task.PORTRAIT: edits_people.portrait,
    Task.TEXT: edits_people.text,
    Task.TONE: edits_picture.tone,
    Task.CAMERA: edits_picture.camera,
    Task.REASONING: edits_puzzles.reasoning,
    Task.LOW_LEVEL: edits_picture.low_level,
    Task.SUBJECT: edits_picture.subject,
}
"""Every task a scene can carry: all but `other`."""

TASKS = tuple(EDITORS)
VISIBLE = 6 / 255
"""Smallest difference of a channel that counts as an edit."""
LEAST_CONTRAST = 0.1
"""Root mean square difference within the edited region that an edit must make, as a share of full range."""
LEAST_AREA = 0.002
ATTEMPTS = 200


@dataclass(frozen=True)
class EditCase:
    """One edit with its exact answer; pictures are uint8 [size, size, 3], `region` is bool [size, size]."""

    source: Picture
    target: Picture
    instruction: str
    language: Language
    task: Task
    region: NDArray[np.bool_]
    seed: int
    split: Split


def make_case(
    seed: int, task: Task | None = None, split: Split = "train", size: int = 128, language: Language | None = None
) -> EditCase:
    """The edit of this seed; equal arguments give equal cases on every machine.

    Without a task, one is drawn; likewise the language. The two splits share no scene and no sentence pattern.
    Raises `X2EditError` for `Task.OTHER`, which no scene has.
    """
    if task is not None and task not in EDITORS:
        raise X2EditError(f"There are no scenes for the task {task.english!r}; choose another one or None for any.")
    draw = Draw(seed, split, f"edit {task.id if task else 'any'}")
    chosen = task or draw.choice(TASKS)
    spoken: Language = draw.choice(("en", "zh"))
    spoken = language or spoken
    for _ in range(ATTEMPTS):
        draft = EDITORS[chosen](draw)
        case = draft and _drawn(draft, draw, chosen, spoken, seed, size)
        if case:
            return case
    raise X2EditError(f"No {chosen.english} scene came of seed {seed} in {ATTEMPTS} attempts; take another seed.")


def _drawn(draft: Draft, draw: Draw, task: Task, language: Language, seed: int, size: int) -> EditCase | None:
    """The case in pixels; None where the edit can hardly be seen."""
    instruction = say(draw, language, draft.wording, draft.words)
    source, target = render(draft.source, size), render(draft.target, size)
    region = edited_region(source, target)
    if region.mean() < LEAST_AREA or contrast(source, target, region) < LEAST_CONTRAST:
        return None
    return EditCase(source, target, instruction, language, task, region, seed, draw.split)


def edited_region(source: Picture, target: Picture) -> NDArray[np.bool_]:
    """Pixels in which any channel visibly differs."""
    return np.abs(source.astype(float) - target.astype(float)).max(-1) > VISIBLE * 255


def contrast(source: Picture, target: Picture, region: NDArray[np.bool_]) -> float:
    """Root mean square difference within the region, 0…1."""
    difference = (source.astype(float) - target.astype(float))[region] / 255
    return float(np.sqrt((difference**2).mean())) if region.any() else 0.0


def make_picture(
    seed: int, split: Split = "train", size: int = 128, language: Language | None = None
) -> tuple[Picture, str]:
    """A picture and a caption that names what is in it, for learning to draw from text alone."""
    draw = Draw(seed, split, "picture")
    spoken: Language = draw.choice(("en", "zh"))
    scene = described_scene(draw)
    return render(scene, size), say(draw, language or spoken, w.CAPTION, edits_picture.description(scene))


def described_scene(draw: Draw) -> Scene:
    for _ in range(ATTEMPTS):
        scene = thing_scene(draw, 1, 4)
        if scene.items:
            return scene
    raise X2EditError("No scene with a thing in it was drawn; take another seed.")

"""An edit before it is drawn: the scene before and after, and what to say about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from .draw import Draw
from .items import Item
from .render import Scene
from .wording import Wording
from .words import Words


@dataclass(frozen=True)
class Draft:
    source: Scene
    target: Scene
    wording: Wording
    words: dict[str, Words] = field(default_factory=dict)


Editor = Callable[[Draw], "Draft | None"]
"""Draws a scene and an edit of it; None where the scene drawn does not allow the edit."""


def with_item(scene: Scene, index: int, item: Item) -> Scene:
    """The scene with one item exchanged."""
    return with_items(scene, [item if i == index else other for i, other in enumerate(scene.items)])


def with_items(scene: Scene, items: Sequence[Item]) -> Scene:
    return replace(scene, items=tuple(items))


def any_of(draw: Draw, editors: Sequence[Editor], attempts: int = 25) -> Draft | None:
    """One of several edits, tried on several scenes, so that demanding edits come up as often as easy ones."""
    editor = draw.choice(editors)
    drafts = (editor(draw) for _ in range(attempts))
    return next((draft for draft in drafts if draft is not None), None)

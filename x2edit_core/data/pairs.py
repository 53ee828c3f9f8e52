"""The one record of an edit on disk, and what is wrong with one.

Pictures are read when they are asked for. Whatever is wrong with one edit is a `SampleError` that names the file; the
others go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from ..classify import read
from ..errors import X2EditError
from ..tasks import Task
from .faults import Read, SampleError
from .pictures import Examined, Pixels, examined

if TYPE_CHECKING:
    from ..scenes import EditCase

__all__ = ["LABELS", "Found", "Kind", "Pair", "Read", "SampleError", "kind_of"]

Found = Literal["named", "words", "unknown"]
"""How a pair's task is known: the data names it, its words were read, or they were as the data's name means nothing."""


@dataclass(frozen=True)
class Pair:
    """One edit. `label` is the data's own name for its kind and what summaries group by.

    `target`, `mask` (white where the edit belongs) and `caption` (of the edited picture) are there where the data has
    them; `language` is `en` or `zh` where the data says so; `scene` holds the exact answer of a procedural scene.
    `files` says for messages where each part lies, or where it was looked for. `key` names the content of the pair's
    files where they lie, `identity` wherever they lie. `crop_bottom` is the share that training cuts off below.
    """

    name: str
    instruction: str
    label: str
    task: Task
    source: Read
    target: Read | None = None
    mask: Read | None = None
    caption: str = ""
    language: str = ""
    scene: EditCase | None = None
    key: str = ""
    identity: str = ""
    crop_bottom: float = 0.0
    found: Found = "named"
    files: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def examined(self) -> Examined:
        """The pair's pictures and what is odd about them; raises `SampleError`, also where they do not belong together."""
        if self.target is None:
            raise SampleError(f"{self.where('source')}: there is no {self.where('target')}", "no target")
        places = self.where("source"), self.where("target")
        return examined((self.source, self.target), places, self.crop_bottom)

    def pictures(self) -> tuple[Pixels, Pixels]:
        """Source and target uint8 [H, W, 3], the target at the source's size; raises `SampleError`."""
        found = self.examined()
        return found.source, found.target

    def like(self, **changes: Any) -> Pair:
        """The pair with other values of some fields."""
        return replace(self, **changes)

    def noted(self, note: str) -> Pair:
        """The pair with one more thing to look at."""
        return replace(self, notes=(*self.notes, note))

    def where(self, part: str) -> str:
        """The file of a part, for messages."""
        return self.files.get(part, f"the {part} of {self.name}")


LABELS = {
    "background_change": Task.BACKGROUND,
    "color_alter": Task.COLOR,
    "material_alter": Task.MATERIAL,
    "motion_change": Task.ACTION,
    "ps_human": Task.PORTRAIT,
    "style_change": Task.STYLE,
    "subject-add": Task.ADD,
    "subject-remove": Task.REMOVE,
    "subject-replace": Task.REPLACE,
    "text_change": Task.TEXT,
    "tone_transfer": Task.TONE,
}
"""GEdit-Bench's names. Those of other data are X2Edit's own or name no single task; words decide then."""


@dataclass(frozen=True)
class Kind:
    """What kind of edit a sample is: its task, how that is known, and the data's name for it if it has one."""

    task: Task
    found: Found
    label: str = ""


def kind_of(instruction: str, *labels: object) -> Kind:
    """The task of the first label that names one; else what the classifier reads from the instruction."""
    given = [label.strip() for label in labels if isinstance(label, str) and label.strip()]
    for label in given:
        if label in LABELS:
            return Kind(LABELS[label], "named", label)
        try:
            return Kind(Task.from_name(label), "named", label)
        except X2EditError:
            continue
    others = [str(label) for label in labels if label is not None and not isinstance(label, str)]
    unknown = next(iter(given + others), "")
    return Kind(read(instruction).task, "unknown" if unknown else "words", unknown)

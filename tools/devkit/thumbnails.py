"""Pictures of the templates, drawn from the procedural scenes. Run by the host's Python, as this needs Pillow:

thumbnails.py [NAME ...]   write workflows/NAME.jpg for every template, or for those named

The embedded models get half of their edits right at best, and only in 128 px, so each picture shows a drawn scene and its
exact edit, and says so.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

REPO = Path(__file__).resolve().parents[2]
WORKFLOWS = REPO / "workflows"
LABEL = "drawn example, not a model's output"
LARGEST = 40_000
_SIDE, _GAP, _LINE = 300, 10, 26
_INK, _MARK = (40, 40, 48), (46, 160, 90)

# Template → (layout, task, seed of the scene).
TEMPLATES: dict[str, tuple[str, str, int]] = {
    "x2edit_edit": ("pair", "remove subject", 5),
    "x2edit_auto": ("pair", "color", 14),
    "x2edit_auto_t5": ("pair", "replace subject", 5),
    "icedit_fill": ("diptych", "material", 4),
    "icedit_moe": ("diptych", "add subject", 6),
    "icedit_training_free": ("diptych", "background", 7),
    "icedit_multiturn": ("turns", "color", 11),
    "early_filter_x2edit": ("candidates", "replace subject", 15),
    "early_filter_icedit": ("candidates", "add subject", 21),
    "human_pick": ("candidates", "color", 9),
}


def draw(name: str) -> Image:
    """The picture of one template; one without an entry shows a pair."""
    layout, task, seed = TEMPLATES.get(name, ("pair", "color", sum(name.encode())))
    source, target, instruction = _case(task, seed)
    if layout == "turns":
        instruction = f"{instruction.rstrip('.')}. Then: make it evening."
    return _sheet(_LAYOUTS[layout](source, target), instruction)


def _case(task: str, seed: int) -> tuple[Image, Image, str]:
    from PIL import Image

    from x2edit_core.demo.scenes import make_case
    from x2edit_core.tasks import Task

    case = make_case(seed, Task.from_name(task), size=_SIDE, language="en")
    return Image.fromarray(case.source), Image.fromarray(case.target), case.instruction


def _pair(source: Image, target: Image) -> list[Image]:
    return [source, target]


def _diptych(source: Image, target: Image) -> list[Image]:
    """Both panels on one canvas, with hardly a seam."""
    from PIL import Image

    canvas = Image.new("RGB", (2 * _SIDE + 2, _SIDE), "white")
    canvas.paste(source, (0, 0))
    canvas.paste(target, (_SIDE + 2, 0))
    return [canvas]


def _turns(source: Image, target: Image) -> list[Image]:
    """A second edit after the first: the same scene towards evening."""
    from PIL import Image

    evening = Image.blend(target, Image.new("RGB", target.size, (60, 30, 90)), 0.4)
    return [panel.resize((210, 210), Image.Resampling.LANCZOS) for panel in (source, target, evening)]


def _candidates(source: Image, target: Image) -> list[Image]:
    """Four drafts, one of them marked, and the finished edit."""
    from PIL import Image, ImageDraw, ImageFilter

    half = (_SIDE - _GAP) // 2
    drafts = [source, target, Image.blend(source, target, 0.5), source.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    grid = Image.new("RGB", (_SIDE, _SIDE), "white")
    for index, draft in enumerate(drafts):
        small = draft.resize((half, half)).filter(ImageFilter.GaussianBlur(4))
        if index == 1:
            ImageDraw.Draw(small).rectangle((0, 0, half - 1, half - 1), outline=_MARK, width=6)
        grid.paste(small, (index % 2 * (half + _GAP), index // 2 * (half + _GAP)))
    return [grid, target]


_LAYOUTS: dict[str, Callable[[Image, Image], list[Image]]] = {
    "pair": _pair,
    "diptych": _diptych,
    "turns": _turns,
    "candidates": _candidates,
}


def _sheet(panels: Sequence[Image], instruction: str) -> Image:
    """Panels in a row on white, the instruction above and the label below."""
    from PIL import Image, ImageDraw, ImageFont

    width = sum(panel.width for panel in panels) + _GAP * (len(panels) + 1)
    height = max(panel.height for panel in panels)
    sheet = Image.new("RGB", (width, height + 2 * _LINE + 2 * _GAP), "white")
    left = _GAP
    for panel in panels:
        sheet.paste(panel, (left, _LINE + _GAP))
        left += panel.width + _GAP
    pen = ImageDraw.Draw(sheet)
    pen.text((_GAP, 9), _shortened(instruction, width // 9), fill=_INK, font=ImageFont.load_default(17))
    pen.text((_GAP, sheet.height - _LINE), LABEL, fill=(130, 130, 140), font=ImageFont.load_default(13))
    return sheet


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"


def save(image: Image, path: Path) -> None:
    """A JPEG of the best quality that stays below the limit."""
    for quality in range(92, 40, -6):
        image.save(path, "JPEG", quality=quality, optimize=True)
        if path.stat().st_size <= LARGEST:
            return


def main(names: list[str]) -> int:
    sys.path.append(str(REPO))
    for name in names or sorted(path.stem for path in WORKFLOWS.glob("*.json")):
        save(draw(name), WORKFLOWS / f"{name}.jpg")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

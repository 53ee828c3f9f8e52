"""The demo's pictures. Run as a script by the host's Python, as this needs numpy and Pillow:

pictures.py sources FOLDER   draw the scenes to edit, and write edits.json: what to ask of each
pictures.py sheet FOLDER OUT put every source beside its edit, with the instruction below
pictures.py banner FOLDER OUT the first six of them under the pack's name, 21:9, for the registry
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

EDITS = "edits.json"
SCENES = (
    ("remove subject", 0),
    ("tone", 0),
    ("background", 0),
    ("style", 0),
    ("remove subject", 1),
    ("tone", 1),
    ("background", 1),
    ("style", 1),
    ("low level", 0),
)
"""Task and seed of held-out scenes: the first of the tasks that the embedded models have learnt best."""
_COLUMNS = 3
_SIDE, _GAP, _CAPTION = 160, 8, 40
_BANNER = (1260, 540)


def draw_sources(folder: Path) -> None:
    """One source per scene, and `edits.json` with [{source, instruction, task, seed}]."""
    from PIL import Image

    from x2edit_core.scenes import make_case
    from x2edit_core.tasks import Task

    folder.mkdir(parents=True, exist_ok=True)
    edits = []
    for number, (name, seed) in enumerate(SCENES, 1):
        task = Task.from_name(name)
        case = make_case(seed, task, "heldout", language="en")
        source = f"{number}_{task.name.lower()}_source.png"
        Image.fromarray(case.source).save(folder / source)
        edits.append({"source": source, "instruction": case.instruction, "task": name, "seed": seed})
    (folder / EDITS).write_text(json.dumps(edits, indent=2), encoding="utf-8")


def draw_source(path: Path) -> None:
    """The first of the sources alone, for whoever needs some picture to edit."""
    from PIL import Image

    from x2edit_core.scenes import make_case
    from x2edit_core.tasks import Task

    name, seed = SCENES[0]
    Image.fromarray(make_case(seed, Task.from_name(name), "heldout", language="en").source).save(path)


def draw_sheet(folder: Path, path: Path) -> None:
    """Every source, an arrow's width of white, its edit; below them what was asked."""
    from PIL import Image

    edits = json.loads((folder / EDITS).read_text(encoding="utf-8"))
    cells = [_cell(folder, edit) for edit in edits]
    width, height = cells[0].size
    rows = -(-len(cells) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * width + _GAP, rows * height + _GAP), "white")
    for number, cell in enumerate(cells):
        row, column = divmod(number, _COLUMNS)
        sheet.paste(cell, (_GAP + column * width, _GAP + row * height))
    sheet.save(path)


def draw_banner(folder: Path, path: Path) -> None:
    """Six sources with their edits below the pack's name."""
    from PIL import Image, ImageDraw, ImageFont

    edits = json.loads((folder / EDITS).read_text(encoding="utf-8"))[:6]
    banner = Image.new("RGB", _BANNER, "white")
    pen = ImageDraw.Draw(banner)
    pen.text((_BANNER[0] // 2, 56), "X2Edit for ComfyUI", (40, 40, 48), ImageFont.load_default(56), anchor="mm")
    for number, edit in enumerate(edits):
        row, column = divmod(number, _COLUMNS)
        left, top = 36 + column * 408, 118 + row * 212
        for place, picture in enumerate(_pair(folder, edit, 186)):
            banner.paste(picture, (left + place * 190, top))
    banner.save(path)


def _pair(folder: Path, edit: dict[str, Any], side: int) -> list[Any]:
    """A source and its edit, as squares of `side` pixels."""
    from PIL import Image

    names = (edit["source"], edit["source"].replace("_source", "_edit"))
    return [Image.open(folder / name).convert("RGB").resize((side, side), Image.Resampling.LANCZOS) for name in names]


def _cell(folder: Path, edit: dict[str, Any]) -> Any:
    from PIL import Image, ImageDraw, ImageFont

    cell = Image.new("RGB", (2 * _SIDE + 3 * _GAP, _SIDE + _CAPTION), "white")
    for number, picture in enumerate(_pair(folder, edit, _SIDE)):
        cell.paste(picture, (number * (_SIDE + _GAP), 0))
    font = ImageFont.load_default(13)
    draw = ImageDraw.Draw(cell)
    draw.text((0, _SIDE + 4), _wrapped(edit["instruction"], draw, font), fill=(40, 40, 40), font=font)
    return cell


def _wrapped(text: str, draw: Any, font: Any) -> str:
    """The words on lines that fit below a pair."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and draw.textlength(longer, font) > 2 * _SIDE + _GAP:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    jobs = {("sources", 1): draw_sources, ("sheet", 2): draw_sheet, ("banner", 2): draw_banner}
    job = jobs.get((arguments[0], len(arguments) - 1)) if arguments else None
    if job is None:
        print(__doc__, file=sys.stderr)
        return 2
    job(*map(Path, arguments[1:]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`docs/early-filter-curve.png`, how early the ranking of seeds shows, from the figures of `bench filter --scenes`.

Run by a Python with Pillow: `python3 tools/bench/curve.py`.
"""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

_DOCS = Path(__file__).resolve().parents[2] / "docs"
FIGURES, PICTURE = _DOCS / "bench" / "filter-cpu.json", _DOCS / "early-filter-curve.png"
_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 840, 400, 64, 56, 24, 60
_INK, _PALE, _LINE = (40, 40, 48), (214, 214, 222), (38, 110, 190)
LOWEST = 0.5
"""What ranking by chance agrees with."""


def draw(agreement: dict[int, float], title: str) -> Image.Image:
    """Step → share of pairs ranked as at the end, as a curve from chance to 1."""
    picture = Image.new("RGB", (_WIDTH, _HEIGHT), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(15)
    last = max(agreement)

    def place(step: float, share: float) -> tuple[float, float]:
        across = _LEFT + (step - 1) / (last - 1) * (_WIDTH - _LEFT - _RIGHT)
        return across, _HEIGHT - _BOTTOM - (share - LOWEST) / (1 - LOWEST) * (_HEIGHT - _TOP - _BOTTOM)

    for share in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        pen.line((*place(1, share), *place(last, share)), fill=_PALE)
        pen.text((_LEFT - 10, place(1, share)[1]), f"{share:.0%}", _INK, font, anchor="rm")
    for step in range(4, last + 1, 4):
        pen.text((place(step, LOWEST)[0], _HEIGHT - _BOTTOM + 8), str(step), _INK, font, anchor="mt")
    points = [place(step, max(share, LOWEST)) for step, share in sorted(agreement.items())]
    pen.line(points, fill=_LINE, width=3, joint="curve")
    for x, y in points:
        pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=_LINE)
    pen.text((_LEFT, 18), title, _INK, ImageFont.load_default(17))
    pen.text((_WIDTH - _RIGHT, _HEIGHT - 14), "step", _INK, font, anchor="rb")
    return picture


def main() -> None:
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    found = figures["scenes"]
    agreement = {int(step): share for step, share in found["pair_agreement_by_step"].items()}
    title = f"Pairs of seeds ranked at step k as at the end, {found['cases']} scenes of {figures['M']} seeds"
    draw(agreement, title).save(PICTURE, optimize=True)
    print(PICTURE)


if __name__ == "__main__":
    main()

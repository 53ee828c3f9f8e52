"""The demo's pictures. Run as a script by the host's Python, as this needs Pillow:

pictures.py source OUT            draw the source picture
pictures.py sheet LEFT RIGHT OUT  put two pictures side by side at the same height
"""

from __future__ import annotations

import sys

_SIDE = 128
_MIN_HEIGHT = 256
_GAP = 8


def draw_source(path: str) -> None:
    """A house under a sun on a meadow: large, flat shapes that an edit can visibly change."""
    from PIL import Image, ImageDraw

    scale = 4  # drawn large and reduced, for smooth edges
    image = Image.new("RGB", (_SIDE * scale, _SIDE * scale), (126, 186, 232))
    draw = ImageDraw.Draw(image)
    draw.rectangle([0, 350, 512, 512], fill=(98, 158, 82))
    draw.ellipse([370, 50, 460, 140], fill=(248, 214, 86))
    draw.rectangle([120, 220, 330, 420], fill=(196, 76, 62))
    draw.polygon([(90, 220), (225, 110), (360, 220)], fill=(92, 62, 52))
    draw.rectangle([200, 320, 260, 420], fill=(70, 48, 40))
    draw.rectangle([145, 255, 195, 305], fill=(232, 226, 178))
    image.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS).save(path)


def contact_sheet(left: str, right: str, path: str) -> None:
    """`left | right` on white, both enlarged by whole steps to a height at which they can be judged."""
    from PIL import Image

    pictures = [Image.open(name).convert("RGB") for name in (left, right)]
    height = max(_MIN_HEIGHT, *(picture.height for picture in pictures))
    scaled = [p.resize((round(p.width * height / p.height), height), Image.Resampling.LANCZOS) for p in pictures]
    sheet = Image.new("RGB", (sum(p.width for p in scaled) + 3 * _GAP, height + 2 * _GAP), "white")
    x = _GAP
    for picture in scaled:
        sheet.paste(picture, (x, _GAP))
        x += picture.width + _GAP
    sheet.save(path)


def main(arguments: list[str]) -> int:
    if len(arguments) == 2 and arguments[0] == "source":
        draw_source(arguments[1])
    elif len(arguments) == 4 and arguments[0] == "sheet":
        contact_sheet(*arguments[1:])
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

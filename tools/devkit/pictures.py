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
    """A meadow with a house, a tree and the red circle that the shipped workflow removes; large, flat shapes."""
    from PIL import Image, ImageDraw

    scale = 4  # drawn large and reduced, for smooth edges
    image = Image.new("RGB", (_SIDE * scale, _SIDE * scale), (126, 186, 232))
    draw = ImageDraw.Draw(image)
    draw.rectangle([0, 330, 512, 512], fill=(98, 158, 82))
    draw.rectangle([60, 210, 240, 380], fill=(232, 222, 196))
    draw.polygon([(35, 210), (150, 110), (265, 210)], fill=(92, 62, 52))
    draw.rectangle([130, 290, 180, 380], fill=(70, 48, 40))
    draw.rectangle([410, 250, 440, 390], fill=(104, 74, 54))
    draw.ellipse([360, 120, 490, 280], fill=(52, 112, 62))
    draw.ellipse([250, 370, 360, 480], fill=(214, 40, 40))
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

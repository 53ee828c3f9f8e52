"""A font of strokes: capitals, digits and a few signs on a grid five columns wide and seven rows high."""

from __future__ import annotations

from .fields import Field, stroke, union

# Polylines of points "xy", separated by spaces; "|" starts another line of the same glyph.
_STROKES = {
    "0": "10 30 41 45 36 16 05 01 10|32 14",
    "1": "11 20 26|16 36",
    "2": "01 10 30 41 42 06 46",
    "3": "01 10 30 41 42 33 44 45 36 16 05|13 33",
    "4": "36 30 04 44",
    "5": "40 00 02 32 43 45 36 16 05",
    "6": "41 30 10 01 05 16 36 45 44 33 03",
    "7": "00 40 16",
    "8": "13 02 01 10 30 41 42 33 13 04 05 16 36 45 44 33",
    "9": "05 16 36 45 41 30 10 01 02 13 43",
    "A": "06 20 46|14 34",
    "B": "33 03 00 30 41 42 33 44 45 36 06 03",
    "C": "41 30 10 01 05 16 36 45",
    "D": "00 06 26 44 42 20 00",
    "E": "40 00 06 46|03 33",
    "F": "40 00 06|03 33",
    "G": "41 30 10 01 05 16 36 45 43 23",
    "H": "00 06|40 46|03 43",
    "I": "10 30|20 26|16 36",
    "J": "40 45 36 16 05",
    "K": "00 06|40 03 46",
    "L": "00 06 46",
    "M": "06 00 23 40 46",
    "N": "06 00 46 40",
    "O": "10 30 41 45 36 16 05 01 10",
    "P": "06 00 30 41 42 33 03",
    "Q": "10 30 41 45 36 16 05 01 10|34 46",
    "R": "06 00 30 41 42 33 03|23 46",
    "S": "41 30 10 01 02 13 33 44 45 36 16 05",
    "T": "00 40|20 26",
    "U": "00 05 16 36 45 40",
    "V": "00 26 40",
    "W": "00 16 23 36 40",
    "X": "00 46|40 06",
    "Y": "00 23 40|23 26",
    "Z": "00 40 06 46",
    "+": "03 43|21 25",
    "=": "02 42|04 44",
    "?": "01 10 30 41 42 23 24|26",
    "!": "20 24|26",
}

CHARACTERS = "".join(_STROKES)
ADVANCE = 6.0
"""Columns from one glyph to the next."""


def text_field(text: str, half_width: float, half_height: float, weight: float = 0.55) -> Field:
    """`text` in one line, as large as fits the box around the origin; `weight` is half the stroke width in columns."""
    columns, rows = ADVANCE * len(text) - 2 + 2 * weight, 6 + 2 * weight
    unit = min(2 * half_width / columns, 2 * half_height / rows)
    left = -(ADVANCE * len(text) - 2) / 2
    lines = (
        stroke([((left + ADVANCE * i + int(p[0])) * unit, (int(p[1]) - 3) * unit) for p in line.split()], weight * unit)
        for i, character in enumerate(text)
        if character != " "
        for line in _STROKES[character].split("|")
    )
    return union(*lines)

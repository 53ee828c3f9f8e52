"""What was found of an edit, in words for a person."""

from __future__ import annotations

from .find import Found, Kept

_LEFT: dict[Kept, str] = {
    "camera": "the view itself moved, or nothing in the edit lies where it lay in the source",
    "tone": "the colours of the whole picture changed",
    "detail": "the whole picture got sharper or softer",
    "all": "nearly all of the picture changed",
}
_PLACED, _EVEN = 0.05, 0.005
"""Pixels and gain below which nothing is worth a word."""


def report(found: Found) -> str:
    """One sentence or two on an edit: how it lay, how its colours differed, and how much of the picture it changed."""
    if found.kept == "nothing":
        return "No change was found, so the source is given back; with `unchanged` as pasted the edit is kept as it is."
    if found.kept:
        return f"Left as it is, resized: {_LEFT[found.kept]}."
    return f"The edit lay {_place(found)}; {_colours(found)}. {found.change.share:.1%} of the picture changed."


def _place(found: Found) -> str:
    moved = found.alignment.moved(found.size)
    said = [
        f"{abs(far):.1f} px {plus if far > 0 else minus}"
        for far, plus, minus in ((moved.right, "right", "left"), (moved.down, "down", "up"))
        if abs(far) >= _PLACED
    ]
    if abs(moved.zoom - 1) >= 0.0005:
        said.append(f"{abs(moved.zoom - 1):.1%} {'larger' if moved.zoom > 1 else 'smaller'}")
    if abs(moved.degrees) >= 0.05:
        said.append(f"turned by {moved.degrees:.1f}°")
    if moved.warp >= 0.25:
        said.append(f"warped by up to {moved.warp:.1f} px")
    if found.alignment.view != (1.0, 1.0):
        said.append("showing only the middle of the source")
    return ", ".join(said) or "in place"


def _colours(found: Found) -> str:
    gains, offsets = ([float(value) for value in values] for values in (found.tone.gain, found.tone.offset))
    if max(*(abs(gain - 1) for gain in gains), *(abs(offset) for offset in offsets)) < _EVEN:
        return "its colours fitted"
    red, green, blue = (f"{gain:.3f} {offset:+.3f}" for gain, offset in zip(gains, offsets, strict=True))
    return f"its colours were matched (red × {red}, green × {green}, blue × {blue})"

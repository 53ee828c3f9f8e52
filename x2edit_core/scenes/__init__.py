"""Procedural scenes whose exact edit is known, for X2Edit's tasks 1 to 15, in English and Chinese.

`make_case(seed)` gives one edit. Read on in this order: `cases`, the `edits_*`, `layout`, `refer`, `wording`, `render`.
"""

from __future__ import annotations

from .cases import TASKS, EditCase, make_case, make_picture
from .draw import Language, Split
from .render import Picture, Scene, View, render

__all__ = [
    "TASKS",
    "EditCase",
    "Language",
    "Picture",
    "Scene",
    "Split",
    "View",
    "make_case",
    "make_picture",
    "render",
]

"""Names that the shipped workflows once had: saved configurations and commands go on finding them."""

from __future__ import annotations

from pathlib import Path

RENAMED = {
    "x2edit_edit": "X2Edit (all nodes)",
    "x2edit_auto": "X2Edit with Qwen2.5-VL (all nodes)",
    "x2edit_auto_t5": "X2Edit automatic (all nodes)",
    "icedit_fill": "ICEdit plain (all nodes)",
    "icedit_moe": "ICEdit experts (all nodes)",
    "icedit_multiturn": "ICEdit several turns (all nodes)",
    "icedit_training_free": "ICEdit without adapter (all nodes)",
    "early_filter_x2edit": "Best seed X2Edit (all nodes)",
    "early_filter_icedit": "Best seed ICEdit (all nodes)",
    "human_pick": "Pick the seed yourself (all nodes)",
}
"""Earlier file name → today's, both without `.json`."""


def present(path: Path) -> Path:
    """`path`, or the file that took its place in the same folder where it is gone under its earlier name."""
    moved = path.with_name(f"{RENAMED.get(path.stem, path.stem)}{path.suffix}")
    return path if path.exists() or not moved.exists() else moved

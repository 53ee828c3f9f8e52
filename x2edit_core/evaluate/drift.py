"""What many turns do to what no turn was asked to change: each edits what the one before gave, with the same instruction.

A picture that only its edit changed stays where it is outside of it, however many turns there are.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor
from torch.nn import functional

from ..choosing.metrics import edited_area
from ..choosing.scoring import BEST_DB
from ..data.picture_files import as_png
from ..errors import X2EditError
from ..pixels import resize, resize_mask, size_of, to_rgb
from ..restore.colour import delta_e00
from ..restore.find import find
from ..restore.registration import register
from ..workflow.client import PromptError
from .cases import Case, decoded, decoded_mask
from .editor import Editor

TABLE = "drift.csv"
TURNS = "turns"
BORDER_PX = 8
"""Width around the edit that counts as part of it: an autoencoder's patch."""
LEAST_REST = 0.02
"""Share of the picture that must be left outside the edit for a drift to mean anything."""


@dataclass(frozen=True)
class Turn:
    """One turn's picture against the first: nearness in dB and mean ΔE00 outside the edit, and how far the picture moved,
    in pixels of the turn's own picture to the right and down, and zoom."""

    name: str
    turn: int
    psnr_db: float
    delta_e: float
    right_px: float
    down_px: float
    zoom: float


def run_turns(
    editor: Editor,
    cases: Iterable[Case],
    folder: Path,
    turns: int,
    seed: int = 0,
    on_turn: Callable[[Turn | str], None] = lambda turn: None,
) -> list[Turn]:
    """`turns` turns of each case, written to `folder` as they come; a case that fails ends, and `on_turn` hears why.

    The noise's seed grows by one with each turn. Raises `ServerError` when the host is gone.
    """
    (folder / TURNS).mkdir(parents=True, exist_ok=True)
    found: list[Turn] = []
    with open(folder / TABLE, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, [field.name for field in fields(Turn)])
        table.writeheader()
        for number, case in enumerate(cases):
            try:
                for turn in _of_case(editor, case, folder / TURNS / f"{number:03d}", turns, seed):
                    table.writerow(asdict(turn))
                    file.flush()
                    found.append(turn)
                    on_turn(turn)
            except (PromptError, X2EditError) as error:
                on_turn(f"{case.name}: {error}")
    return found


def _of_case(editor: Editor, case: Case, stem: Path, turns: int, seed: int) -> Iterable[Turn]:
    picture = case.source()
    first, area = to_rgb(decoded(picture, case.where("source"))), None
    for turn in range(1, turns + 1):
        picture = as_png(editor.edit(case, picture, seed + turn - 1))
        stem.with_name(f"{stem.name}-{turn:02d}.png").write_bytes(picture)
        edit = to_rgb(decoded(picture, f"turn {turn} of {case.name}"))
        area = edited(case, first, edit) if area is None else area
        yield measured(case.name, turn, first, edit, area)


def edited(case: Case, source: Tensor, edit: Tensor) -> Tensor:
    """[1, H, W], 1 where the edit belongs: where the case says, else where the first turn is found to have changed.

    Raises `X2EditError` where that leaves nothing outside: an edit of the whole picture has no rest to drift.
    """
    size = size_of(source)
    if case.scene is not None:
        area = torch.from_numpy(case.scene.region.copy())[None].float()
    elif case.mask:
        area = resize_mask(decoded_mask(case.mask(), case.where("mask")), size)
    else:
        found = find(source, edit)
        whole = found.kept not in ("", "nothing")
        area = torch.ones(1, size.height, size.width) if whole else resize_mask(found.change.region, size)
    area = functional.max_pool2d((area > 0).float()[:, None], 2 * BORDER_PX + 1, stride=1, padding=BORDER_PX)[:, 0]
    if float((1 - area).mean()) < LEAST_REST:
        raise X2EditError("The edit is of the whole picture, so there is nothing outside it that could drift.")
    return area


def measured(name: str, turn: int, first: Tensor, edit: Tensor, area: Tensor) -> Turn:
    """The turn's picture [1, h, w, 3], at the first one's size where it has another, against the first outside `area`."""
    moved = register(first, edit, area).moved(size_of(edit))
    edit = resize(edit, size_of(first))
    outside = float(edited_area(first, edit, area).psnr_outside.clamp(max=BEST_DB))
    colours = float(delta_e00(first, edit)[area < 0.5].mean())
    return Turn(name, turn, outside, colours, moved.right, moved.down, moved.zoom)


def curve(turns: Iterable[Turn]) -> list[dict[str, float]]:
    """The means over the cases by turn: `shift_px` is the distance, `zoom` the mean distance from 1."""
    by_turn: dict[int, list[Turn]] = {}
    for turn in turns:
        by_turn.setdefault(turn.turn, []).append(turn)
    return [
        {
            "turn": number,
            "cases": len(found),
            "psnr_db": fmean(one.psnr_db for one in found),
            "delta_e": fmean(one.delta_e for one in found),
            "shift_px": fmean((one.right_px**2 + one.down_px**2) ** 0.5 for one in found),
            "zoom": fmean(abs(one.zoom - 1) for one in found),
        }
        for number, found in sorted(by_turn.items())
    ]


def told(turns: Iterable[Turn]) -> str:
    """The curve as a table."""
    lines = ["turn  cases  PSNR dB   ΔE00  shift px    zoom"]
    lines += [
        f"{row['turn']:4.0f} {row['cases']:6.0f} {row['psnr_db']:8.2f} {row['delta_e']:6.2f} {row['shift_px']:9.2f} "
        f"{row['zoom']:7.2%}"
        for row in curve(turns)
    ]
    return "\n".join(lines)

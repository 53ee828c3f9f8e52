"""Pairs of edits of which it is known which is better: exact scenes, and published benchmarks from local files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from x2edit_core.choosing.agreement import Pair
from x2edit_core.choosing.judge import Choice
from x2edit_core.errors import X2EditError
from x2edit_core.pixels import from_bytes
from x2edit_core.restore.smooth import smooth
from x2edit_core.scenes import TASKS, make_case

WRONGS = ("nothing", "elsewhere", "half", "soft")
"""What the worse edit is: the source, the edit and a change of another place, the edit at half strength, the edit blurred."""
COLUMNS = {
    "instruction": ("instruction", "instruct_prompt", "edit_instruction", "prompt"),
    "source": ("source_img", "source_image", "input_image"),
    "first": ("left_output_image", "output_image_1", "image_1"),
    "second": ("right_output_image", "output_image_2", "image_2"),
    "vote": ("vote_type", "vote", "label"),
}
"""Columns of the published benchmarks: EditReward-Bench and -Data, GenAI-Bench's image edits, and plain names."""
VOTES: dict[str, Choice] = {
    "leftvote": "A", "left": "A", "a>b": "A", "rightvote": "B", "right": "B", "a<b": "B", "b>a": "B",
    "tie": "tie", "a=b": "tie", "bothbad": "tie", "bothbad_vote": "tie", "tievote": "tie", "bothgood": "tie",
}  # fmt: skip


def of_scenes(count: int, side: int) -> Iterator[Pair]:
    """Held-out scenes, tasks and kinds of wrong edits in turn, the right edit first in every other pair."""
    for number in range(count):
        case = make_case(number, TASKS[number % len(TASKS)], split="heldout", size=side)
        kind = WRONGS[number // len(TASKS) % len(WRONGS)]
        source, right = from_bytes(case.source)[0], from_bytes(case.target)[0]
        wrong = _wrong(kind, source, right, case.region)
        first, second = (right, wrong) if number % 2 else (wrong, right)
        better: Choice = "A" if number % 2 else "B"
        yield Pair(f"{case.task.name.lower()}, {kind}", source, first, second, case.instruction, better)


def _wrong(kind: str, source: torch.Tensor, right: torch.Tensor, region: np.ndarray) -> torch.Tensor:
    if kind == "nothing":
        return source
    if kind == "half":
        return torch.lerp(source, right, 0.5)
    if kind == "soft":
        return smooth(right[None].movedim(-1, 1), 2.0)[0].movedim(0, -1)
    spoilt, side = right.clone(), right.shape[0] // 4
    # The corner that the edit concerns least.
    corners = [(top, left) for top in (0, right.shape[0] - side) for left in (0, right.shape[1] - side)]
    top, left = min(corners, key=lambda at: region[at[0] : at[0] + side, at[1] : at[1] + side].mean())
    spoilt[top : top + side, left : left + side] = 1 - spoilt[top : top + side, left : left + side]
    return spoilt


def of_files(path: Path) -> Iterator[Pair]:
    """The rows of parquet files: one file, or all under a folder. Raises `X2EditError` for unknown columns and votes."""
    import pyarrow.parquet as parquet

    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise X2EditError(f"No parquet files were found under {path}.")
    for file in files:
        table = parquet.ParquetFile(file)
        names = {part: _column(part, table.schema_arrow.names, file) for part in COLUMNS}
        number = 0
        for batch in table.iter_batches(batch_size=8, columns=list(names.values())):
            for row in batch.to_pylist():
                values = {part: row[name] for part, name in names.items()}
                source, first, second = (_picture(values[part]) for part in ("source", "first", "second"))
                better = _vote(values["vote"], file, number)
                yield Pair(f"{file.name}, row {number}", source, first, second, str(values["instruction"]), better)
                number += 1


def _column(part: str, names: list[str], file: Path) -> str:
    for name in COLUMNS[part]:
        if name in names:
            return name
    raise X2EditError(f"{file.name} has no column for the {part}; expected one of {COLUMNS[part]}, found {names}.")


def _vote(value: Any, file: Path, number: int) -> Choice:
    vote = VOTES.get(str(value).strip().lower().replace(" ", ""))
    if vote is None:
        raise X2EditError(
            f"{file.name}, row {number}: the vote {value!r} is not known; expected one of {sorted(VOTES)}."
        )
    return vote


def _picture(value: Any) -> Image.Image:
    data = value["bytes"] if isinstance(value, dict) else value
    return Image.open(io.BytesIO(data)).convert("RGB")

"""Emu Edit's test set: parquet with idx, task, split, instruction, image, and the caption of the edited picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..pairs import Pair, SampleError
from ..rows import Row, pairs_of
from ..rows import finds as rows_found
from ..texts import instruction_of

KIND = "emu_edit"
LAYOUT = "the parquet of Emu Edit's test set (idx, task, split, instruction, image, output_caption)"
_TOLD = ("idx", "task", "split", "instruction", "output_caption")
_NEEDED = (*_TOLD, "image")


def finds(path: Path) -> bool:
    return rows_found(path, _NEEDED)


def read(path: Path) -> Iterator[Pair | SampleError]:
    return pairs_of(path, _NEEDED, _TOLD, KIND, _pair)


def _pair(row: Row) -> Pair:
    told = row.values
    name, caption = f"{told['split']} {told['task']} {told['idx']}", told["output_caption"]
    instruction = instruction_of(told["instruction"], row.where)
    told_caption = caption if isinstance(caption, str) else ""
    return row.pair(name, instruction, (told["task"],), {"source": "image"}, caption=told_caption)

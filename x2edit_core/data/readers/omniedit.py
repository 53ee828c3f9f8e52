"""OmniEdit's parquet: src_img, edited_img, edited_prompt_list, task; of several wordings one is taken by the row's number."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..pairs import Pair, SampleError
from ..rows import Row, pairs_of
from ..rows import finds as rows_found
from ..texts import instruction_of

KIND = "omniedit"
LAYOUT = "OmniEdit's parquet (src_img, edited_img, edited_prompt_list, task)"
_NEEDED = ("src_img", "edited_img", "edited_prompt_list")
_TOLD = ("edited_prompt_list", "task")


def finds(path: Path) -> bool:
    return rows_found(path, _NEEDED)


def read(path: Path) -> Iterator[Pair | SampleError]:
    return pairs_of(path, _NEEDED, _TOLD, KIND, _pair)


def _pair(row: Row) -> Pair:
    wordings = row.values["edited_prompt_list"]
    if isinstance(wordings, list):
        if not wordings:
            raise SampleError(f"{row.where}: edited_prompt_list is empty", "no instruction")
        wordings = wordings[row.number % len(wordings)]
    instruction = instruction_of(wordings, row.where)
    return row.pair(row.where, instruction, (row.values.get("task"),), {"source": "src_img", "target": "edited_img"})

"""GEdit-Bench's parquet: key, task_type, instruction, instruction_language, input_image_raw or input_image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..pairs import Pair, SampleError
from ..rows import Row, pairs_of
from ..rows import finds as rows_found
from ..texts import instruction_of

KIND = "gedit"
LAYOUT = "GEdit-Bench's parquet (key, task_type, instruction, instruction_language, input_image)"
_NEEDED = ("key", "task_type", "instruction", "instruction_language")
_LANGUAGES = {"en": "en", "cn": "zh"}


def finds(path: Path) -> bool:
    return rows_found(path, _NEEDED)


def read(path: Path) -> Iterator[Pair | SampleError]:
    return pairs_of(path, _NEEDED, _NEEDED, KIND, _pair)


def _pair(row: Row) -> Pair:
    picture = next((name for name in ("input_image_raw", "input_image") if name in row.file.columns), None)
    if picture is None:
        raise SampleError(f"{row.where}: there is no column input_image", "no picture in a row")
    told = row.values
    language = _LANGUAGES.get(str(told["instruction_language"]), "")
    name = f"{told['key']} {told['instruction_language']}"
    instruction = instruction_of(told["instruction"], row.where)
    return row.pair(name, instruction, (told["task_type"],), {"source": picture}, language=language)

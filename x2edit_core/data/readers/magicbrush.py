"""MagicBrush: parquet with source_img, target_img, mask_img, instruction, or its folder with edit_turns.json and images/."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ...errors import X2EditError
from ...paths import file_inside
from ..files import pair_of_files
from ..folders import files_below
from ..pairs import Pair, SampleError
from ..rows import Row, pairs_of
from ..rows import finds as rows_found
from ..texts import instruction_of, json_of

KIND = "magicbrush"
LAYOUT = "MagicBrush's parquet (source_img, target_img, instruction), or its folder with edit_turns.json and images/"
_NEEDED = ("source_img", "target_img", "instruction")
_TOLD = ("img_id", "turn_index", "instruction")
_COLUMNS = {"source": "source_img", "target": "target_img", "mask": "mask_img"}
_TURN = {"source": "input", "target": "output", "mask": "mask"}
_LIST = "edit_turns.json"
_BOTTOM = 1 / 32
"""As in ICEdit's trainer the lowest part of the pictures is cut off in training."""


def finds(path: Path) -> bool:
    return bool(_lists(path)) or rows_found(path, _NEEDED)


def read(path: Path) -> Iterator[Pair | SampleError]:
    lists = _lists(path)
    if lists:
        for listed in lists:
            yield from _turns(listed)
        return
    yield from pairs_of(path, _NEEDED, _TOLD, KIND, _pair)


def _pair(row: Row) -> Pair:
    named = "img_id" in row.values and "turn_index" in row.values
    name = f"{row.values['img_id']} turn {row.values['turn_index']}" if named else row.where
    instruction = instruction_of(row.values["instruction"], row.where)
    return row.pair(name, instruction, (), _COLUMNS, crop_bottom=_BOTTOM)


def _lists(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.name == _LIST else []
    return [file for file in files_below(path).files if file.name == _LIST]


def _turns(listed: Path) -> Iterator[Pair | SampleError]:
    """Turns {input, output, mask, instruction}; every later turn starts from the exact result of the one before."""
    captions: dict[str, str] = {}
    told = listed.with_name("global_descriptions.json")
    if told.exists():
        for entry in json_of(told, dict).values():
            captions.update(entry if isinstance(entry, dict) else {})
    for number, turn in enumerate(json_of(listed, list), 1):
        try:
            yield _turn(listed, f"{listed}, turn {number}", turn, captions)
        except SampleError as error:
            yield error
        except (OSError, X2EditError) as error:
            yield SampleError(f"{listed}, turn {number}: {error}", "a picture is missing")


def _turn(listed: Path, where: str, turn: object, captions: Mapping[str, object]) -> Pair:
    needed = ("instruction", *_TURN.values())
    if not isinstance(turn, Mapping) or any(name not in turn for name in needed):
        missing = [name for name in needed if not isinstance(turn, Mapping) or name not in turn]
        raise SampleError(f"{where}: a turn without {', '.join(missing)}.", "incomplete sample")
    names = {part: turn[name] for part, name in _TURN.items()}
    if not all(isinstance(name, str) for name in names.values()):
        raise SampleError(f"{where}: its pictures are no names, but {names}"[:200], "incomplete sample")
    instruction = instruction_of(turn["instruction"], where)
    parts = {part: file_inside(listed.parent, f"images/{name.split('-')[0]}/{name}") for part, name in names.items()}
    pair = pair_of_files(Path(names["target"]).stem, listed.parent, parts, instruction, ())
    caption = captions.get(names["target"])
    return pair.like(caption=caption if isinstance(caption, str) else "", crop_bottom=_BOTTOM)

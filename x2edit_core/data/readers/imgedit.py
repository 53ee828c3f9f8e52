"""ImgEdit-Bench: basic_edit.json or singleturn.json, {key: {id, prompt, edit_type}}, with the pictures it names."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ...errors import X2EditError
from ...paths import file_inside
from ..faults import NothingThere
from ..files import pair_of_files
from ..folders import files_below
from ..pairs import Pair, SampleError
from ..texts import instruction_of, json_of

KIND = "imgedit"
LAYOUT = "ImgEdit-Bench's basic_edit.json or singleturn.json with its folders of pictures"
_LISTS = ("basic_edit.json", "singleturn.json")


def finds(path: Path) -> bool:
    return bool(_lists(path)) if path.is_dir() else path.name in _LISTS


def read(path: Path) -> Iterator[Pair | SampleError]:
    root = path if path.is_dir() else path.parent
    found = _lists(path) if path.is_dir() else [path]
    if not found:
        raise NothingThere(f"{path} holds neither {' nor '.join(_LISTS)}; ImgEdit-Bench's list of edits was expected.")
    listed = found[0]
    places = [listed.parent, root, root / "singleturn", root / "Benchmark" / "singleturn"]
    for key, entry in json_of(listed, dict).items():
        try:
            yield _pair(f"{listed}, {key}", key, entry, places, root)
        except SampleError as error:
            yield error
        except OSError as error:
            yield SampleError(f"{listed}, {key}: {error}")


def _lists(path: Path) -> list[Path]:
    files = files_below(path).files
    return [file for name in _LISTS for file in files if file.name == name]


def _pair(where: str, key: str, entry: object, places: Sequence[Path], root: Path) -> Pair:
    wanted = ("prompt", "edit_type", "id")
    if not isinstance(entry, Mapping) or any(name not in entry for name in wanted):
        missing = [name for name in wanted if not isinstance(entry, Mapping) or name not in entry]
        raise SampleError(f"{where}: no {', '.join(missing)}.", "incomplete sample")
    instruction = instruction_of(entry["prompt"], where)
    picture = _first_file(places, str(entry["id"]))
    if picture is None:
        raise SampleError(f"{where}: the picture {entry['id']} is not below {root}.", "a picture is missing")
    return pair_of_files(key, root, {"source": picture}, instruction, (entry["edit_type"],))


def _first_file(places: Sequence[Path], name: str) -> Path | None:
    for place in places:
        with contextlib.suppress(X2EditError):
            return file_inside(place, name)
    return None

"""Lines of JSON that name pictures: {"source": …, "target": …, "instruction": …, "task": …, "mask": …}."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from ...errors import X2EditError
from ...paths import file_inside
from ..faults import NothingThere
from ..files import pair_of_files
from ..folders import files_of
from ..pairs import Pair, SampleError
from ..texts import decoded_text, instruction_of

KIND = "jsonl"
LAYOUT = (
    'a .jsonl file with lines {"source": "a.png", "target": "b.png", "instruction": "…", "task": "color"}, paths relative to '
    "the file"
)
SUFFIXES = (".jsonl", ".ndjson")


def finds(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES or bool(path.is_dir() and files_of(path, *SUFFIXES).files)


def read(path: Path) -> Iterator[Pair | SampleError]:
    found = files_of(path, *SUFFIXES)
    yield from found.faults
    if not found.files:
        raise NothingThere(f"{path} holds no .jsonl file; kind {KIND} reads {LAYOUT}.")
    for file in found.files:
        for where, line in _lines(file):
            try:
                yield line if isinstance(line, SampleError) else _pair(file, where, line)
            except SampleError as error:
                yield error
            except (OSError, X2EditError) as error:
                yield SampleError(f"{where}: {error}")


def _lines(file: Path) -> Iterator[tuple[str, Any]]:
    """Where each object stands, and the object or what is wrong with its line. A file may also be one JSON list."""
    data = file.read_bytes()
    try:
        text = decoded_text(data, str(file))
    except SampleError:  # then the lines that can be read still are
        lines = [(number, line) for number, line in enumerate(data.split(b"\n"), 1)]
    else:
        if text.lstrip()[:1] == "[":
            listed = _parsed(text, str(file))
            rows = listed if isinstance(listed, list) else [listed]
            yield from ((f"{file}, entry {number}", row) for number, row in enumerate(rows, 1))
            return
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1)]
    for number, line in lines:
        where = f"{file}, line {number}"
        if line.strip():
            try:
                yield where, _parsed(line if isinstance(line, str) else decoded_text(line, where), where)
            except SampleError as error:
                yield where, error


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        return SampleError(f"{where} is no JSON: {error}", "broken line")


def _pair(file: Path, where: str, row: Any) -> Pair:
    if not isinstance(row, Mapping):
        raise SampleError(f"{where} holds no table, but {str(row)[:40]!r}", "broken line")
    if missing := [name for name in ("source", "instruction") if name not in row]:
        has = ", ".join(map(str, row)) or "nothing"
        raise SampleError(f"{where} has no {' and no '.join(missing)}; it has: {has}", f"no {missing[0]}")
    instruction = instruction_of(row["instruction"], where)
    parts = {
        part: _file(file.parent, row[part], part, where) for part in ("source", "target", "mask") if _has(row, part)
    }
    labels = (row.get("task"), row.get("label"))
    return pair_of_files(where, file.parent, parts, instruction, labels, f"an entry target in {where}")


def _has(row: Mapping[str, Any], part: str) -> bool:
    return part == "source" or row.get(part) is not None


def _file(folder: Path, name: object, part: str, where: str) -> Path:
    """The picture that a line names, whichever way its system writes folders; raises `SampleError`."""
    if not isinstance(name, str):
        raise SampleError(f"{where}: {part} is no path, but {str(name)[:40]!r}", "broken line")
    try:
        return file_inside(folder, name)
    except X2EditError as error:
        if "\\" in name:
            other = PureWindowsPath(name)
            if not other.drive and not other.root:
                return _file(folder, other.as_posix(), part, where)
        raise SampleError(f"{where}: {part} {error}", f"no {part}") from error

"""What the records of a set say of themselves, in the forms that have records: JSON in tars, lines, columns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..data.folders import files_below, files_of
from ..data.parquet import ParquetRows
from ..data.tars import FAULTS, Tar, is_tar
from ..data.texts import decoded_text, lines_of
from ..errors import X2EditError

Told = dict[str, Any]
_COLUMNS = ("licence", "license", "sha256", "source_sha256", "source_url", "record")


def records_at(place: Path, kind: str) -> Iterator[tuple[str, Told]]:
    """Name and content of each record; nothing for forms without any, and for what cannot be read."""
    readers = {"webdataset": _tars, "jsonl": _lines, "omniedit": _rows, "magicbrush": _rows}
    if kind in readers:
        yield from readers[kind](place)


def _tars(place: Path) -> Iterator[tuple[str, Told]]:
    for file in [place] if place.is_file() else filter(is_tar, files_below(place).files):
        try:
            tar = Tar(file)
            groups = tar.groups()
        except FAULTS:
            continue
        for name, members in groups.items():
            if "json" in members:
                yield f"{file}, {name.lstrip('/')}", _table(tar.slice(members["json"]))


def _lines(place: Path) -> Iterator[tuple[str, Told]]:
    for file in files_of(place, ".jsonl", ".ndjson").files:
        try:
            lines = lines_of(decoded_text(file.read_bytes(), str(file)))
        except X2EditError:
            continue
        for number, line in enumerate(lines, 1):
            yield f"{file}, line {number}", _table(line.encode("utf-8"))


def _rows(place: Path) -> Iterator[tuple[str, Told]]:
    for path in files_of(place, ".parquet").files:
        try:
            rows = ParquetRows(path)
            told = [name for name in rows.columns if name in _COLUMNS]
            for number in range(rows.count):
                yield f"{path}, row {number}", rows.row(number, told) if told else {}
        except X2EditError:
            continue


def _table(data: bytes) -> Told:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}

"""Rows of the parquet files of a data set: what they tell, and their pictures when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import X2EditError
from .faults import NothingThere
from .folders import files_of
from .pairs import Pair, Read, SampleError, kind_of
from .parquet import ParquetRows, columns_of, require_pyarrow

SUFFIX = ".parquet"


@dataclass(frozen=True)
class Row:
    """One row: its place for messages, its values but for pictures, and its file."""

    where: str
    number: int
    values: Mapping[str, Any]
    file: ParquetRows
    path: Path

    def picture(self, column: str) -> Read | None:
        """Reads the picture of a column, which may raise `SampleError`; None where the file has no such column."""
        return partial(self._picture, column) if column in self.file.columns else None

    def _picture(self, column: str) -> bytes:
        try:
            cell = self.file.row(self.number, [column])[column]
        except Exception as error:  # pyarrow raises nearly anything on damaged data
            raise SampleError(f"{self.where}: {column} is damaged ({error})", "damaged parquet") from error
        data = cell.get("bytes") if isinstance(cell, Mapping) else cell
        if not isinstance(data, bytes) or not data:
            raise SampleError(f"{self.where}: {column} holds no picture", "no picture in a row")
        return data

    def pair(
        self,
        name: str,
        instruction: str,
        labels: tuple[object, ...],
        columns: Mapping[str, str],
        **more: Any,
    ) -> Pair:
        """The row as a pair whose parts lie in `columns`, of which `source` is there."""
        kind = kind_of(instruction, *labels)
        reads = {part: self.picture(column) for part, column in columns.items()}
        source = reads.pop("source")
        assert source is not None, "the columns that are needed were checked"
        return Pair(
            name,
            instruction,
            kind.label,
            kind.task,
            source,
            key=f"{self.file.stamp}:{self.number}",
            identity=f"{self.path.name}:{self.file.size}:{self.number}",
            found=kind.found,
            files={part: f"{self.where}, column {column}" for part, column in columns.items()},
            **reads,
            **more,
        )


def finds(path: Path, needed: tuple[str, ...]) -> bool:
    """Whether the first whole parquet file at `path` has these columns. Raises `X2EditError` without pyarrow."""
    for file in files_of(path, SUFFIX).files if path.is_dir() or path.suffix.lower() == SUFFIX else []:
        require_pyarrow()
        try:
            return set(needed) <= set(columns_of(file))
        except X2EditError:
            continue
    return False


def rows_of(path: Path, needed: tuple[str, ...], told: tuple[str, ...], kind: str) -> Iterator[Row | SampleError]:
    """Every row at `path` with its values in `told`, as far as there are such columns.

    A file that is damaged or lacks a column of `needed` costs itself, damaged rows their group.
    """
    found = files_of(path, SUFFIX)
    yield from found.faults
    if not found.files:
        raise NothingThere(f"{path} holds no parquet files, which kind {kind} reads.")
    require_pyarrow()
    for place in found.files:
        try:
            file = ParquetRows(place)
        except X2EditError as error:
            yield SampleError(str(error), "damaged parquet")
            continue
        if missing := [name for name in needed if name not in file.columns]:
            has = ", ".join(file.columns)
            yield SampleError(
                f"{place} has no column {', '.join(missing)}; it has: {has}.", "parquet of another layout"
            )
            continue
        yield from _rows(place, file, [name for name in told if name in file.columns])


def pairs_of(
    path: Path, needed: tuple[str, ...], told: tuple[str, ...], kind: str, pair: Callable[[Row], Pair]
) -> Iterator[Pair | SampleError]:
    """`pair` of every row of `rows_of`, or what is wrong with it."""
    for row in rows_of(path, needed, told, kind):
        try:
            yield row if isinstance(row, SampleError) else pair(row)
        except SampleError as error:
            yield error


def _rows(place: Path, file: ParquetRows, told: list[str]) -> Iterator[Row | SampleError]:
    number = 0
    while number < file.count:
        where = f"{place}, row {number}"
        try:
            values = file.row(number, told)
        except Exception as error:  # pyarrow raises nearly anything on damaged data
            yield SampleError(f"{where} and the rest of its group: {type(error).__name__} {error}", "damaged parquet")
            number = file.end_of_group(number)
            continue
        yield Row(where, number, values, file, place)
        number += 1

"""Rows of parquet files, read one at a time. Needs pyarrow, which nothing else of the pack does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import X2EditError


class ParquetRows:
    """Rows of a parquet file by number; of each choice of columns the group last read is kept."""

    def __init__(self, path: Path) -> None:
        self._file = _opened(path)
        self.columns: tuple[str, ...] = tuple(self._file.schema_arrow.names)
        """Names of the outermost columns."""
        found = path.stat()
        self.size = found.st_size
        self.stamp = f"{path.resolve()}:{found.st_size}:{found.st_mtime_ns}"
        groups = range(self._file.num_row_groups)
        self._counts = [max(0, self._file.metadata.row_group(index).num_rows) for index in groups]
        self._kept: dict[tuple[str, ...], tuple[int, Any]] = {}

    @property
    def count(self) -> int:
        """How many rows the file claims to have."""
        return sum(self._counts)

    def end_of_group(self, number: int) -> int:
        """The first row after the group that row `number` is in: what is damaged is damaged by the group."""
        end = 0
        for count in self._counts:
            end += count
            if number < end:
                break
        return end

    def row(self, number: int, columns: list[str]) -> dict[str, Any]:
        group = 0
        while number >= self._counts[group]:
            number -= self._counts[group]
            group += 1
        wanted = tuple(columns)
        if wanted not in self._kept or self._kept[wanted][0] != group:
            self._kept[wanted] = (group, self._file.read_row_group(group, columns=columns))
        return self._kept[wanted][1].slice(number, 1).to_pylist()[0]


def columns_of(path: Path) -> list[str]:
    """Names of the outermost columns."""
    return _opened(path).schema_arrow.names


def require_pyarrow() -> Any:
    """pyarrow's part for parquet; raises `X2EditError` where it is not installed."""
    try:
        import pyarrow.parquet as parquet  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise X2EditError("Parquet data needs the package pyarrow: pip install pyarrow.") from error
    return parquet


def _opened(path: Path) -> Any:
    parquet = require_pyarrow()
    try:
        return parquet.ParquetFile(path)
    except Exception as error:  # pyarrow raises nearly anything on damaged data
        raise X2EditError(f"{path} cannot be read as parquet: {error}") from error

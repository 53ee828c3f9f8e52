"""Parquet with OmniEdit's columns, and everything else of a record as JSON in one more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.parquet import require_pyarrow
from .tar_form import as_json

if TYPE_CHECKING:
    from .release import Pair

GROUP = 64
"""Rows that are read, and held in memory, together."""
_MARKS = {"sc_score_1": "sc", "pq_score": "pq", "o_score": "overall"}


class Rows:
    """Numbered files of at most `most` rows. Needs pyarrow; raises `X2EditError` without it."""

    def __init__(self, folder: Path, most: int) -> None:
        self._parquet = require_pyarrow()
        import pyarrow  # pyright: ignore[reportMissingImports]

        self._arrow: Any = pyarrow
        picture = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
        text, whole, number = pyarrow.string(), pyarrow.int32(), pyarrow.float32()
        self._schema: Any = pyarrow.schema(
            [("omni_edit_id", text), ("task", text), ("src_img", picture), ("edited_img", picture),
             ("edited_prompt_list", pyarrow.list_(text)), ("width", whole), ("height", whole),
             *((name, number) for name in _MARKS), ("licence", text), ("source_url", text), ("record", text)]
        )  # fmt: skip
        self._folder, self._most = folder, most
        self._held: list[dict[str, Any]] = []
        self._file: Any = None
        self._number = self._rows = 0

    def add(self, pair: Pair) -> None:
        told = pair.told
        said = [text for text in told["instructions"].values() if text]
        marks = {name: told["scores"].get(ours, {}).get("value") for name, ours in _MARKS.items()}
        self._held.append(
            {"omni_edit_id": pair.key, "task": told["task"],
             "src_img": {"bytes": pair.source, "path": f"{pair.key}.1.0{pair.suffix}"},
             "edited_img": {"bytes": pair.target, "path": f"{pair.key}.2{pair.suffix}"},
             "edited_prompt_list": said, "width": told["width"], "height": told["height"], **marks,
             "licence": told["licence"], "source_url": told["source_url"], "record": as_json(told).decode("utf-8")}
        )  # fmt: skip
        self._rows += 1
        if len(self._held) == GROUP or self._rows == self._most:
            self._write()
        if self._rows == self._most:
            self.close()

    def close(self) -> None:
        self._write()
        if self._file is not None:
            self._file.close()
            self._file, self._rows = None, 0

    def _write(self) -> None:
        if not self._held:
            return
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = self._parquet.ParquetWriter(self._folder / f"{self._number:05d}.parquet", self._schema)
            self._number += 1
        self._file.write_table(self._arrow.Table.from_pylist(self._held, self._schema))
        self._held = []

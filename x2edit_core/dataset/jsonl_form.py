"""A list of JSON lines and folders of pictures beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .tar_form import as_json

if TYPE_CHECKING:
    from .release import Pair

LIST = "pairs.jsonl"


class Lines:
    """Pictures in numbered folders of at most `most` pairs."""

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self._most = folder, most
        self._count = 0

    def add(self, pair: Pair) -> None:
        place = f"{self._count // self._most:05d}"
        (self._folder / place).mkdir(parents=True, exist_ok=True)
        files = {"source": (f"{place}/{pair.key}.1{pair.suffix}", pair.source),
                 "target": (f"{place}/{pair.key}.2{pair.suffix}", pair.target)}  # fmt: skip
        if pair.mask:
            files["mask"] = (f"{place}/{pair.key}.mask.png", pair.mask)
        for name, data in files.values():
            (self._folder / name).write_bytes(data)
        named = {part: name for part, (name, _) in files.items()}
        with (self._folder / LIST).open("ab") as file:
            file.write(as_json({"key": pair.key, **named, **pair.told}) + b"\n")
        self._count += 1

    def close(self) -> None:
        """Every line is written as it comes."""

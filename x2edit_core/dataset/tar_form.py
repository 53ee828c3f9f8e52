"""X2Edit's published form: tars of KEY.json, KEY.1.0.jpg (source), KEY.2.jpg (target), KEY.txt and KEY.mask.png."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .release import Pair


class Tars:
    """Numbered tars of at most `most` records; the same records give the same bytes."""

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self._most = folder, most
        self._file: tarfile.TarFile | None = None
        self._held = self._number = 0

    def add(self, pair: Pair) -> None:
        """One record; upstream's reader takes its names."""
        members = {
            "json": as_json(pair.told),
            f"1.0{pair.suffix}": pair.source,
            f"2{pair.suffix}": pair.target,
            "txt": str(pair.told["instruction"]).encode("utf-8"),
        }
        if pair.mask:
            members["mask.png"] = pair.mask
        self._add(pair.key, members)

    def add_preference(self, pair: Pair, rejected: bytes, about: Mapping[str, Any], number: int) -> None:
        """The edit that was kept and one that was not, of one source and one instruction."""
        told = {
            "instruction": pair.told["instruction"],
            "task": pair.told["task"],
            "licence": pair.told["licence"],
            **about,
        }
        members = {"json": as_json(told), f"source{pair.suffix}": pair.source, f"chosen{pair.suffix}": pair.target,
                   f"rejected{pair.suffix}": rejected}  # fmt: skip
        self._add(f"{pair.key}-{number}", members)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _add(self, key: str, members: Mapping[str, bytes]) -> None:
        if self._file is None or self._held == self._most:
            self.close()
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = tarfile.open(self._folder / f"{self._number:05d}.tar", "w", format=tarfile.GNU_FORMAT)  # noqa: SIM115
            self._number, self._held = self._number + 1, 0
        for extension, data in members.items():
            found = tarfile.TarInfo(f"{key}.{extension}")
            found.size, found.mode = len(data), 0o644
            self._file.addfile(found, io.BytesIO(data))
        self._held += 1


def as_json(told: Mapping[str, Any]) -> bytes:
    return json.dumps(told, ensure_ascii=False, sort_keys=True).encode("utf-8")

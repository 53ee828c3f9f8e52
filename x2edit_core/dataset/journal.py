"""What each stage found for each record of a shard, so that nothing is asked twice: a file that only grows, blobs beside it.

A line is `{record, stage, key, value, seconds, cost, by, date}`. `key` names all that the value depends on; with another
key it is made anew. A line that a kill cut off is dropped, and a blob has its name once it is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..errors import X2EditError
from ..files import replacing
from .faults import StoreError

JOURNAL, BLOBS = "journal.jsonl", "blobs"


@dataclass(frozen=True)
class Made:
    """A stage's value for one record, what it cost, and who made it."""

    value: Any
    by: str = ""
    cost: float = 0.0
    tokens: int = 0
    prompt: str = ""


def key_of(stage: str, version: int, *parts: Any) -> str:
    """The digest of all that a stage's value depends on."""
    told = json.dumps([stage, version, *parts], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(told.encode("ascii")).hexdigest()[:32]


@dataclass
class Journal:
    """One shard's memory in `folder`; several threads may use it, one process at a time."""

    folder: Path
    _known: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    made: int = 0

    def __post_init__(self) -> None:
        try:
            (self.folder / BLOBS).mkdir(parents=True, exist_ok=True)
            whole = end_torn_line(self.folder / JOURNAL)
        except OSError as error:
            raise StoreError(
                f"{self.folder} cannot be written ({error.strerror}). Is there room on the disk?"
            ) from error
        for entry in lines_of(whole):
            if {"record", "stage", "key", "value"} <= set(entry):
                self._known[entry["record"], entry["stage"], entry["key"]] = entry

    def entry(self, record: str, stage: str, key: str, make: Callable[[], Made]) -> dict[str, Any]:
        """The line of this stage for this record: from the file, or made now and written before it is returned."""
        known = self._known.get((record, stage, key))
        if known is not None:
            return known
        began = time.monotonic()
        made = make()
        found = {
            "record": record, "stage": stage, "key": key, "value": made.value,
            "seconds": round(time.monotonic() - began, 3), "cost": made.cost, "tokens": made.tokens, "by": made.by,
            "prompt": made.prompt,
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }  # fmt: skip
        self._write(found)
        return found

    def entries(self) -> list[dict[str, Any]]:
        """All lines that hold, the last of each key."""
        with self._lock:
            return list(self._known.values())

    def costs(self) -> tuple[float, int]:
        """Money and tokens of all lines, those of earlier runs too: what is paid stays paid."""
        entries = self.entries()
        return sum(entry.get("cost", 0.0) for entry in entries), sum(entry.get("tokens", 0) for entry in entries)

    def keep(self, data: bytes) -> str:
        """Put `data` beside the journal; returns the digest that `blob` takes."""
        digest = hashlib.sha256(data).hexdigest()
        place = self._place(digest)
        if not place.exists():
            try:
                with replacing(place) as part:
                    part.write_bytes(data)
            except X2EditError as error:
                raise StoreError(str(error)) from error
        return digest

    def blob(self, digest: str) -> bytes:
        return self._place(digest).read_bytes()

    def _place(self, digest: str) -> Path:
        return self.folder / BLOBS / digest

    def _write(self, entry: dict[str, Any]) -> None:
        line = json.dumps(entry, ensure_ascii=True).encode("ascii") + b"\n"
        with self._lock:
            append(self.folder / JOURNAL, line)
            self._known[entry["record"], entry["stage"], entry["key"]] = entry
            self.made += 1


def append(path: Path, line: bytes) -> None:
    """Add a whole line to a file or nothing of it; raises `StoreError`."""
    try:
        with path.open("ab") as file:
            before = file.tell()
            try:
                file.write(line)
                file.flush()
            except OSError:
                os.truncate(path, before)
                raise
    except OSError as error:
        raise StoreError(
            f"{path} could not be written ({error.strerror}). Everything before is kept; make room and run the same command."
        ) from error


def end_torn_line(path: Path) -> bytes:
    """The whole lines of a file; what a kill left of the last one is cut off."""
    data = path.read_bytes() if path.exists() else b""
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        os.truncate(path, len(whole))
    return whole


def lines_of(data: bytes) -> Iterator[dict[str, Any]]:
    """The objects of JSON lines; what a power cut made of one is left out."""
    for line in data.split(b"\n"):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            yield found


@dataclass
class Memory:
    """The journal as one record uses it; `used` holds the lines that its outcome stands on, in their order."""

    journal: Journal
    record: str
    used: list[dict[str, Any]] = field(default_factory=list)

    def remember(self, stage: str, key: str, make: Callable[[], Made]) -> Any:
        return self.entry(stage, key, make)["value"]

    def entry(self, stage: str, key: str, make: Callable[[], Made]) -> dict[str, Any]:
        found = self.journal.entry(self.record, stage, key, make)
        self.used.append(found)
        return found

    def keep(self, data: bytes) -> str:
        return self.journal.keep(data)

    def blob(self, digest: str) -> bytes:
        return self.journal.blob(digest)

"""A shard: so many records in a row that one process takes at once, finished when its decisions have their name."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..errors import X2EditError
from ..files import replacing
from .faults import StoreError
from .sources import Found

logger = logging.getLogger(__name__)
SHARDS, DECIDED, LOCK, FINISHED = "shards", "decided.jsonl", ".lock", "finished.json"


@dataclass(frozen=True)
class Part:
    """Which shards are this process's: those of number `index` (from 1) in `count` parts."""

    index: int = 1
    count: int = 1

    @classmethod
    def of(cls, text: str) -> Part:
        """From `2/8`; raises `X2EditError`."""
        index, slash, count = text.partition("/")
        if slash and index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count):
            return cls(int(index), int(count))
        raise X2EditError(f"--part {text!r}; which part of how many was expected, such as 2/8.")

    def holds(self, shard: int) -> bool:
        return shard % self.count == self.index - 1


def sharded(sources: Iterable[Found], size: int) -> Iterator[tuple[int, list[Found]]]:
    """Sources in runs of `size`, numbered; only one run is held at a time."""
    number, held = 0, []
    for source in sources:
        held.append(source)
        if len(held) == size:
            yield number, held
            number, held = number + 1, []
    if held:
        yield number, held


def folder_of(output: Path, number: int) -> Path:
    return output / SHARDS / f"{number:05d}"


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[bool]:
    """Within it the shard is this process's; False where another one has it.

    The system holds the claim and lets go of it with the process, however that ends.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        except NotImplementedError:
            logger.warning("The disk of %s knows no locks: give each process its own --part", folder)
    except OSError as error:
        raise StoreError(f"{folder} cannot be written ({error.strerror}). Is there room on the disk?") from error
    try:
        yield True
    finally:
        lock.release()


def is_finished(folder: Path, key: str) -> bool:
    """Whether the shard was decided as `key` says it is to be."""
    try:
        return json.loads((folder / FINISHED).read_bytes()).get("key") == key and (folder / DECIDED).is_file()
    except (OSError, ValueError, AttributeError):
        return False


def finish(folder: Path, key: str, outcomes: Iterable[dict[str, Any]], facts: dict[str, Any]) -> None:
    """Give the shard's decisions their name, and then say for which configuration they hold."""
    (folder / FINISHED).unlink(missing_ok=True)
    kept = count = 0
    with replacing(folder / DECIDED) as part, part.open("wb") as file:
        for outcome in outcomes:
            file.write(json.dumps(outcome, ensure_ascii=True, sort_keys=True).encode("ascii") + b"\n")
            kept += bool(outcome.get("kept"))
            count += 1
    with replacing(folder / FINISHED) as part:
        part.write_text(json.dumps({"key": key, "kept": kept, "outcomes": count, **facts}), encoding="utf-8")


def facts_of(folder: Path) -> dict[str, Any]:
    """What a finished shard says of itself; nothing while another process decides it anew."""
    try:
        return json.loads((folder / FINISHED).read_bytes())
    except FileNotFoundError:
        return {}


def finished_shards(output: Path) -> list[Path]:
    """Folders of the shards that have decisions, in order."""
    return sorted(path.parent for path in (output / SHARDS).glob(f"*/{DECIDED}") if (path.parent / FINISHED).is_file())


def outcomes_of(folder: Path) -> Iterator[dict[str, Any]]:
    with (folder / DECIDED).open("rb") as file:
        for line in file:
            yield json.loads(line)

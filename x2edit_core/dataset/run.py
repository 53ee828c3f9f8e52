"""All records through all stages: shard after shard, records side by side in threads, and on from where it was."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..data.faults import SampleError
from ..errors import X2EditError
from . import shards
from .chain import Outcome, Workshop, outcomes_of
from .config import DatasetConfig, told
from .duplicates import Selection
from .journal import JOURNAL, Journal, Memory, key_of, lines_of
from .shards import Part
from .sources import Found

logger = logging.getLogger("x2edit.dataset")
VERSION = 1
OPEN_SHARDS = 2
"""Shards under way together, so that the end of one leaves nobody idle."""
_NO_PART_OF_OUTCOMES = ("output", "workers", "patience", "probe", "hosts", "budget", "release", "duplicates")
TELL_EVERY_S = 5.0


@dataclass
class Progress:
    """What a run has got to. `began` counts records of this run only; shards that were finished before are `kept` ones."""

    shards: int = 0
    before: int = 0
    busy: int = 0
    records: int = 0
    accepted: int = 0
    began: float = field(default_factory=time.monotonic)

    def line(self) -> str:
        seconds = max(time.monotonic() - self.began, 1e-9)
        rate = self.records / seconds
        told = f"{self.records} records in {seconds:.0f} s ({60 * rate:.0f} a minute), {self.accepted} accepted, "
        return told + f"{self.shards} shards done" + (f", {self.busy} are another process's" if self.busy else "")


@dataclass
class Open:
    """A shard under way: its claim, its records on their way, and what becomes of it."""

    number: int
    folder: Path
    key: str
    journal: Journal
    claim: contextlib.ExitStack
    futures: list[Future[list[Outcome]]]
    began: float = field(default_factory=time.monotonic)


def config_key(config: DatasetConfig) -> str:
    """What of a configuration every outcome depends on."""
    values = {name: value for name, value in told(config).items() if name not in _NO_PART_OF_OUTCOMES}
    values["sources"] = {name: value for name, value in values["sources"].items() if name != "limit"}
    return key_of("config", VERSION, values)


def shard_key(config: DatasetConfig, sources: Sequence[Found]) -> str:
    """All that a shard's outcomes depend on, but for what the hosts and models themselves do."""
    listed = [
        str(source) if isinstance(source, SampleError)
        else [source.name, source.licence, source.origin, source.attribution, source.consent, source.synthetic,
              dict(source.told), source.prompt, source.stamp]
        for source in sources
    ]  # fmt: skip
    return key_of("shard", VERSION, config_key(config), listed)


def decided_shards(config: DatasetConfig) -> list[Path]:
    """The finished shards of this configuration, within its limit. Raises `X2EditError` where some are of another one."""
    limit = config.sources.limit
    most = -(-limit // config.shard) if limit else None
    found = [folder for folder in shards.finished_shards(config.folder) if most is None or int(folder.name) < most]
    stale = [folder.name for folder in found if shards.facts_of(folder).get("config") != config_key(config)]
    if stale:
        raise X2EditError(
            f"{len(stale)} of {len(found)} finished shards were decided by another configuration, such as {stale[0]}. Run this "
            "one first: what did not change is not asked again."
        )
    return found


def record_name(config: DatasetConfig, shard: int, index: int) -> str:
    """Keys never repeat across a set, and sets of different names can be put together."""
    return f"{config.name}-{shard:05d}-{index:05d}"


@dataclass
class Run:
    """Makes the set of `shop.config`; `on_progress` hears of it now and then."""

    shop: Workshop
    part: Part = field(default_factory=Part)
    on_progress: Callable[[Progress], None] = lambda progress: None
    on_shard: Callable[[Path], None] = lambda folder: None
    progress: Progress = field(default_factory=Progress)
    _told_at: float = 0.0

    def __post_init__(self) -> None:
        self._selection = Selection(self.config)
        self._next_counted = self.part.index - 1
        self._waiting: dict[int, Path | None] = {}

    @property
    def config(self) -> DatasetConfig:
        return self.shop.config

    def run(self, sources: Iterable[Found]) -> Progress:
        """Every shard of this part that is not finished, and not another process's. Raises what ended the run."""
        waiting: deque[Open] = deque()
        with ThreadPoolExecutor(self.config.workers, "x2edit-dataset") as threads:
            try:
                for shard in self._claimed(sources, threads):
                    waiting.append(shard)
                    if len(waiting) >= OPEN_SHARDS:
                        self._close(waiting.popleft())
                    if self._is_enough():
                        break
                while waiting and not self._is_enough():
                    self._close(waiting.popleft())
            except BaseException:
                self._end(waiting)
                raise
            finally:
                # Records that began before there was enough are kept in their journal, and their shard stays this one's.
                threads.shutdown(wait=True, cancel_futures=True)
                for shard in waiting:
                    shard.claim.close()
        return self.progress

    def run_shard(self, number: int, held: list[Found]) -> None:
        """One shard, as `run` makes it, unless it is finished or another process's."""
        with ThreadPoolExecutor(self.config.workers, "x2edit-dataset") as threads:
            shard = self._begun(number, held, threads)
            if shard is None:
                return
            try:
                self._close(shard)
            except BaseException:
                self._end([shard])
                raise

    def _claimed(self, sources: Iterable[Found], threads: ThreadPoolExecutor) -> Iterator[Open]:
        for number, held in shards.sharded(sources, self.config.shard):
            if self._is_enough():
                return
            if self.part.holds(number) and (shard := self._begun(number, held, threads)):
                yield shard

    def _begun(self, number: int, held: list[Found], threads: ThreadPoolExecutor) -> Open | None:
        """The shard claimed and its records on their way; None where that is not for this process to do."""
        folder = shards.folder_of(self.config.folder, number)
        claim = contextlib.ExitStack()
        if not claim.enter_context(shards.claimed(folder)):
            self.progress.busy += 1
            self._waiting[number] = None
            return None
        key = shard_key(self.config, held)
        if shards.is_finished(folder, key):
            claim.close()
            self.progress.before += 1
            self._count(number, folder)
            return None
        journal = Journal(folder)
        names = [record_name(self.config, number, index) for index in range(len(held))]
        pairs = zip(names, held, strict=True)
        futures = [threads.submit(self._record, journal, name, source) for name, source in pairs]
        return Open(number, folder, key, journal, claim, futures)

    def _record(self, journal: Journal, name: str, source: Found) -> list[Outcome]:
        found = outcomes_of(self.shop, Memory(journal, name), source)
        self.progress.records += 1
        return found

    def _close(self, shard: Open) -> None:
        """Wait for a shard's records and give its decisions their name."""
        left = set(shard.futures)
        try:
            while left:
                done, left = wait(left, timeout=1.0, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
                self._tell()
            outcomes = [outcome for future in shard.futures for outcome in future.result()]
            facts = shard_facts(shard.journal, len(shard.futures), time.monotonic() - shard.began)
            facts["config"] = config_key(self.config)
            shards.finish(shard.folder, shard.key, outcomes, facts)
        finally:
            shard.claim.close()
        self._count(shard.number, shard.folder)
        self.on_shard(shard.folder)
        self._tell(always=True)

    def _count(self, number: int, folder: Path) -> None:
        """Accepted pairs in the order of shards, whatever order they end in: so the same shards are enough each time."""
        self.progress.shards += 1
        self._waiting[number] = folder
        while self._next_counted in self._waiting:
            counted = self._waiting.pop(self._next_counted)
            for outcome in shards.outcomes_of(counted) if counted else ():
                self.progress.accepted += bool(outcome["kept"]) and not self._selection.fault(outcome)
            self._next_counted += self.part.count

    def _is_enough(self) -> bool:
        wanted = self.config.release.accepted
        return bool(wanted) and self.progress.accepted >= wanted

    def _tell(self, always: bool = False) -> None:
        now = time.monotonic()
        if always or now - self._told_at >= TELL_EVERY_S:
            self._told_at = now
            self.on_progress(self.progress)

    def _end(self, waiting: Iterable[Open]) -> None:
        """Nobody waits any longer; what runs on a host is waited for no more than a moment."""
        self.shop.editors.pool.stop()
        for chat in filter(None, (self.shop.instructor.writer, self.shop.judge)):
            chat.stopped.set()
        for shard in waiting:
            for future in shard.futures:
                future.cancel()


def shard_facts(journal: Journal, records: int, seconds: float) -> dict[str, Any]:
    """What a finished shard says of itself beside its outcomes: records, costs and seconds, by stage."""
    stages: dict[str, list[float]] = {}
    for entry in journal.entries():
        row = stages.setdefault(entry["stage"], [0, 0.0, 0.0, 0])
        for place, value in enumerate((1, entry["seconds"], entry["cost"], entry["tokens"])):
            row[place] += value
    named = {
        stage: {"calls": row[0], "seconds": round(row[1], 2), "cost": round(row[2], 6), "tokens": row[3]}
        for stage, row in sorted(stages.items())
    }
    cost, tokens = journal.costs()
    return {"records": records, "seconds": round(seconds, 1), "cost": cost, "tokens": tokens, "stages": named}


def spent(output: Path) -> tuple[float, int]:
    """Money and tokens of everything that was ever asked for this set."""
    cost, tokens = 0.0, 0
    for path in (output / shards.SHARDS).glob(f"*/{JOURNAL}"):
        for entry in lines_of(path.read_bytes()):
            cost, tokens = cost + entry.get("cost", 0.0), tokens + entry.get("tokens", 0)
    return cost, tokens

"""Shards as tasks of Ray Core, for several machines: the same code, the same journal, the same bytes.

Needs the package ray (`pip install ray`), which nothing else of the pack does. Every machine needs this pack and sees the
set's folder under the same path, with the pack's folder on `PYTHONPATH`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..data.faults import SampleError
from ..errors import X2EditError
from . import shards
from .config import DatasetConfig
from .duplicates import Selection
from .run import Run, shard_key
from .shards import Part
from .sources import Found, Source, read_sources

PER_PROCESSOR = 2
"""Tasks that wait for each processor, so that sources are read no faster than they are used."""


@dataclass(frozen=True)
class Held:
    """A picture's bytes where its file was read elsewhere."""

    data: bytes

    def __call__(self) -> bytes:
        return self.data


def run_on_ray(config: DatasetConfig, part: Part, tell: Callable[[str], None]) -> int:
    """Make every shard of this part that is not finished; returns how many were. Raises what ended one of them."""
    try:
        import ray  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise X2EditError("--executor ray needs the package ray: pip install ray. threads needs nothing.") from error
    if not ray.is_initialized():
        # Ray's processes on this machine inherit it; other machines name the pack's folder there themselves.
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        ray.init(log_to_driver=False, include_dashboard=False)
    config = replace(config, output=str(config.folder.resolve()))
    task = ray.remote(max_retries=3)(make_shard)
    most = max(1, int(ray.cluster_resources().get("CPU", 1)) * PER_PROCESSOR)
    counted, under_way, done = _Counted(config, part), [], 0
    for number, held in _unfinished(config, part, counted):
        under_way.append(task.remote(config, number, [packed(source) for source in held], str(Path.cwd())))
        counted.add(number)
        if len(under_way) >= most:
            done += _collected(ray, under_way, tell, done)
        if counted.is_enough():
            break
    while under_way:
        done += _collected(ray, under_way, tell, done)
    return done


def _collected(ray: Any, under_way: list[Any], tell: Callable[[str], None], done: int) -> int:
    """Wait for one task and tell of it; a fault of a shard ends the run as it does in one process."""
    finished, _ = ray.wait(under_way, num_returns=1)
    under_way.remove(finished[0])
    fault = ray.get(finished[0])
    if fault:
        raise X2EditError(fault)
    tell(f"{done + 1} shards done")
    return 1


def _unfinished(config: DatasetConfig, part: Part, counted: _Counted) -> Iterator[tuple[int, list[Found]]]:
    for number, held in shards.sharded(read_sources(config.sources), config.shard):
        if not part.holds(number):
            continue
        if shards.is_finished(shards.folder_of(config.folder, number), shard_key(config, held)):
            counted.add(number)
            continue
        yield number, held


class _Counted:
    """Accepted pairs of finished shards in their order, so that the run ends where one in a single process does."""

    def __init__(self, config: DatasetConfig, part: Part) -> None:
        self._config, self._step, self._next = config, part.count, part.index - 1
        self._selection, self._accepted = Selection(config), 0
        self._known: set[int] = set()

    def add(self, number: int) -> None:
        self._known.add(number)

    def is_enough(self) -> bool:
        wanted = self._config.release.accepted
        while wanted and self._next in self._known:
            folder = shards.folder_of(self._config.folder, self._next)
            if not (folder / shards.FINISHED).is_file():
                return False
            outcomes: Iterable[dict[str, Any]] = shards.outcomes_of(folder)
            self._accepted += sum(one["kept"] and not self._selection.fault(one) for one in outcomes)
            self._next += self._step
        return bool(wanted) and self._accepted >= wanted


def packed(source: Found) -> Found | tuple[str, str]:
    """A source as it travels: with its bytes; what is wrong with one as its words."""
    if isinstance(source, SampleError):
        return str(source), source.reason
    if source.prompt:
        return replace(source, read=Held(b""), told=dict(source.told))
    mask = source.mask and Held(_bytes(source.mask))
    return replace(source, read=Held(_bytes(source.read)), mask=mask, told=dict(source.told))


def unpacked(source: Found | tuple[str, str]) -> Found:
    return SampleError(*source) if isinstance(source, tuple) else source


def _bytes(read: Callable[[], bytes]) -> bytes:
    """What cannot be read is no picture to whoever decodes it, and told there."""
    try:
        return read()
    except (X2EditError, OSError):
        return b""


def make_shard(config: DatasetConfig, number: int, held: list[Source | tuple[str, str]], folder: str) -> str:
    """One shard in a process of Ray's; returns what ended it badly."""
    try:
        os.chdir(folder)
        run = Run(_workshop(config), Part())
        run.run_shard(number, [unpacked(source) for source in held])
    except X2EditError as error:
        return str(error)
    return ""


_KEPT: dict[str, Any] = {}


def _workshop(config: DatasetConfig) -> Any:
    """One for all shards that this process makes of a configuration."""
    from .shop import workshop

    name = repr(config)
    if name not in _KEPT:
        _KEPT.clear()
        _KEPT[name] = workshop(config)
    return _KEPT[name]

"""Several hosts that share work: no more of it on each than it is to have, away from those that fail, back when they do.

A piece of work that a host could not do because of itself goes to another one; nothing is lost with a host.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from .client import Client, HttpError, PromptError, PromptInterrupted, ServerError, TimedOut

logger = logging.getLogger(__name__)
T = TypeVar("T")
LONGEST_BREAK_S = 8.0
"""The longest pause after a fault that does not yet send a host away."""


class NoHostError(ServerError):
    """No host of those that may do the work has answered for as long as the pool is patient."""


@dataclass(eq=False)
class Host:
    """One host: how much it is given at once, what it carries, and how it has been doing."""

    client: Client
    depth: int = 2
    tags: frozenset[str] = frozenset()
    busy: int = 0
    faults: int = 0
    done: int = 0
    failed: int = 0
    free_at: float = 0.0
    away: bool = False

    @property
    def name(self) -> str:
        return self.client.url


@dataclass
class Pool:
    """`faults` in a row send a host away; every `probe_s` seconds it is asked whether it is back.

    `patience_s` is how long work waits while no host answers before it raises `NoHostError`.
    """

    hosts: Sequence[Host]
    faults: int = 3
    probe_s: float = 60.0
    patience_s: float = 600.0
    break_s: float = 0.5
    _changed: threading.Condition = field(default_factory=threading.Condition, repr=False)
    _stopped: bool = False

    def run(self, work: Callable[[Client], T], tag: str = "") -> T:
        """What `work` makes of a host's client, tried on host after host as long as the hosts are at fault.

        Raises `PromptError` where the work itself is refused, by two hosts where there are two; `NoHostError`.
        """
        able = [host for host in self.hosts if not tag or tag in host.tags]
        if not able:
            known = ", ".join(sorted({name for host in self.hosts for name in host.tags})) or "none"
            raise NoHostError(f"No host carries {tag!r}; hosts carry: {known}. Add the tag to a host that can do it.")
        refused: set[Host] = set()
        answered = time.monotonic()
        while True:
            with self._lent(able, refused, answered) as host:
                try:
                    return self._tried(host, work)
                except PromptError as error:
                    refused.add(host)
                    if len(refused) >= min(2, len(able)):
                        raise
                    logger.warning("%s refused: %s", host.name, error)
                except ServerError as error:
                    logger.warning("%s: %s", host.name, error)

    def stop(self) -> None:
        """Let nobody wait any longer."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _tried(self, host: Host, work: Callable[[Client], T]) -> T:
        try:
            found = work(host.client)
        except PromptError as error:
            # A prompt that somebody interrupted, or that took too long, says nothing against the work.
            if isinstance(error, PromptInterrupted) or isinstance(error.__cause__, TimedOut):
                self._fault(host)
                raise ServerError(str(error)) from error
            self._good(host)
            raise
        except HttpError as error:
            if 400 <= error.code < 500:
                self._good(host)
                raise PromptError(str(error)) from error
            self._fault(host)
            raise
        except ServerError:
            self._fault(host)
            raise
        self._good(host)
        return found

    def _good(self, host: Host) -> None:
        with self._changed:
            host.faults, host.away = 0, False
            host.done += 1

    def _fault(self, host: Host) -> None:
        with self._changed:
            host.faults += 1
            host.failed += 1
            host.away = host.faults >= self.faults
            pause = self.probe_s if host.away else min(self.break_s * 2 ** (host.faults - 1), LONGEST_BREAK_S)
            host.free_at = time.monotonic() + pause
        if host.away:
            logger.warning("%s failed %d times in a row and is left out; it is asked again each %g s",
                           host.name, host.faults, self.probe_s)  # fmt: skip

    @contextmanager
    def _lent(self, able: Sequence[Host], refused: set[Host], since: float) -> Iterator[Host]:
        host = self._take(able, refused, since)
        try:
            yield host
        finally:
            with self._changed:
                host.busy -= 1
                self._changed.notify_all()

    def _take(self, able: Sequence[Host], refused: set[Host], since: float) -> Host:
        """The freest host that may have the work; waits for one. One that was away is asked first whether it is back."""
        while True:
            with self._changed:
                host = self._free(able, refused)
                if host is None:
                    self._check_patience(able, since)
                    self._changed.wait(0.2)
                    continue
                host.busy += 1
            if not host.away or self._is_back(host):
                return host
            with self._changed:
                host.busy -= 1

    def _free(self, able: Sequence[Host], refused: set[Host]) -> Host | None:
        now = time.monotonic()
        free = [host for host in able if host not in refused and host.free_at <= now]
        free = [host for host in free if host.busy < (1 if host.away else host.depth)]
        return min(free, key=lambda host: (host.away, host.busy, host.done), default=None)

    def _check_patience(self, able: Sequence[Host], since: float) -> None:
        if self._stopped:
            raise NoHostError("The run was stopped.")
        if any(host.faults == 0 for host in able) or time.monotonic() - since < self.patience_s:
            return
        names = ", ".join(host.name for host in able)
        raise NoHostError(
            f"No host has answered for {self.patience_s:g} s: {names}. Start one and run the same command; it goes on."
        )

    def _is_back(self, host: Host) -> bool:
        try:
            host.client.get_json("/system_stats")
        except ServerError:
            with self._changed:
                host.free_at = time.monotonic() + self.probe_s
            return False
        logger.warning("%s is back", host.name)
        return True

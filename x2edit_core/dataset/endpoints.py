"""Models that write and judge, asked within limits: so many at once, so many a minute, so much money, and with patience."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ..chat import Chat, ChatError, Message
from ..chat.endpoint import EndpointChat
from ..chat.folder import FolderChat
from ..chat.keys import written_by_hand
from ..chat.protocol import Sampling, Usage
from ..chat.transport import Limits
from .config import BudgetConfig, EndpointConfig
from .faults import RefusedError, RunStoppedError

T = TypeVar("T")
MILLION = 1_000_000
PASSING = {"unreachable", "timeout", "rate_limit", "loading", "server", "memory"}
ENDING = {"missing", "unsupported", "authentication", "rights", "quota"}
MOST_TIMEOUTS = 3
LONGEST_BREAK_S = 30.0


@dataclass
class Budget:
    """What was spent and what may be, over all endpoints; `spent` begins with what earlier runs paid."""

    limits: BudgetConfig = field(default_factory=BudgetConfig)
    cost: float = 0.0
    tokens: int = 0
    uncounted: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, cost: float, tokens: int, uncounted: int = 0) -> None:
        with self._lock:
            self.cost, self.tokens = self.cost + cost, self.tokens + tokens
            self.uncounted += uncounted

    def check(self) -> None:
        """Raise before a request that would go beyond; those under way are paid all the same."""
        limits = self.limits
        if limits.max_cost and self.cost >= limits.max_cost:
            raise RunStoppedError(
                f"{self.cost:.4f} was spent of budget.max_cost = {limits.max_cost}. Raise it to go on."
            )
        if limits.max_tokens and self.tokens >= limits.max_tokens:
            raise RunStoppedError(
                f"{self.tokens} tokens of budget.max_tokens = {limits.max_tokens} were used; raise it."
            )
        if self.uncounted and (limits.max_cost or limits.max_tokens):
            raise RunStoppedError(
                "A server does not say what its answers cost (usage), so a budget cannot be kept with it."
            )


class Meter(threading.local):
    """What the present thread's requests cost since it was last read."""

    cost: float = 0.0
    tokens: int = 0

    def read(self) -> tuple[float, int]:
        found = self.cost, self.tokens
        self.cost, self.tokens = 0.0, 0
        return found


@dataclass
class Asked:
    """A chat within the limits of its configuration. Raises `RefusedError` for what is the request's own fault, and
    `RunStoppedError` for what would be the same with any."""

    chat: Chat
    config: EndpointConfig
    budget: Budget
    meter: Meter
    patience_s: float = 600.0
    break_s: float = 1.0
    stopped: threading.Event = field(default_factory=threading.Event)
    _turns: threading.Semaphore = field(default_factory=threading.Semaphore, repr=False)
    _pace: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _next: float = 0.0
    _answered: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._turns = threading.Semaphore(self.config.at_once)

    @property
    def name(self) -> str:
        return self.chat.name

    @property
    def vision(self) -> bool:
        return self.chat.vision

    def generate(self, messages: Sequence[Message], max_tokens: int = 256) -> str:
        return self._within(lambda: self.chat.generate(messages, max_tokens))

    def score(self, messages: Sequence[Message], answers: Sequence[str]) -> list[float] | None:
        return self._within(lambda: self.chat.score(messages, answers))

    def drawn(self, messages: Sequence[Message], max_tokens: int, sampling: Sampling) -> str:
        """The reply drawn as `sampling` says, where the model can be told."""
        chat = self.chat.sampled(sampling) if isinstance(self.chat, EndpointChat) else self.chat
        return self._within(lambda: chat.generate(messages, max_tokens))

    def spend(self, usage: Usage) -> None:
        cost = (usage.prompt_tokens * self.config.price_in + usage.completion_tokens * self.config.price_out) / MILLION
        tokens = usage.prompt_tokens + usage.completion_tokens
        self.budget.add(cost, tokens, usage.uncounted)
        self.meter.cost += cost
        self.meter.tokens += tokens

    def _within(self, ask: Callable[[], T]) -> T:
        began, timeouts, pause = time.monotonic(), 0, self.break_s
        while True:
            try:
                with self._turns:
                    self.budget.check()
                    self._wait_for_turn()
                    found = ask()
                self._answered = time.monotonic()
                return found
            except ChatError as error:
                timeouts += error.fault == "timeout"
                self._raise_final(error, began, timeouts)
            if self.stopped.wait(pause):
                raise RunStoppedError("The run was stopped.")
            pause = min(2 * pause, LONGEST_BREAK_S)

    def _raise_final(self, error: ChatError, began: float, timeouts: int) -> None:
        if error.fault in ENDING:
            raise RunStoppedError(str(error)) from error
        if error.fault not in PASSING or timeouts >= MOST_TIMEOUTS:
            raise RefusedError("model", str(error)) from error
        if time.monotonic() - began < self.patience_s:
            return
        if self._answered > began:
            raise RefusedError("model", f"no answer to this request while others were answered: {error}") from error
        raise RunStoppedError(f"No answer for {self.patience_s:g} s: {error}") from error

    def _wait_for_turn(self) -> None:
        """Requests begin evenly over the minute."""
        if not self.config.per_minute:
            return
        with self._pace:
            at = max(self._next, time.monotonic())
            self._next = at + 60 / self.config.per_minute
        if self.stopped.wait(max(0.0, at - time.monotonic())):
            raise RunStoppedError("The run was stopped.")


def asked(config: EndpointConfig, budget: Budget, meter: Meter, patience_s: float, **more: Any) -> Asked:
    """The model of a configuration; a folder's is one at a time. Raises `X2EditError` where it cannot be used."""
    if config.folder:
        return Asked(FolderChat(config.folder), config, budget, meter, patience_s, **more)
    limits = Limits(timeout_s=config.timeout, attempts=config.attempts)
    pair = written_by_hand(config.base_url, config.key_variable)
    found: list[Asked] = []

    def on_usage(usage: Usage) -> None:
        found[0].spend(usage)

    chat = EndpointChat(config.base_url, config.model, vision=True, limits=limits, pair=pair, on_usage=on_usage)
    found.append(Asked(chat, config, budget, meter, patience_s, **more))
    return found[0]

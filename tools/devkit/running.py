"""Graphs that run on a host while something else happens."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Running(threading.Thread):
    """A graph on its way; `begun` is set after `events` steps of `node_id`, `error` holds what ended it badly."""

    def __init__(self, server: Any, graph: dict[str, Any], node_id: str = "", events: int = 1) -> None:
        super().__init__(daemon=True)
        self.server, self.graph = server, json.loads(json.dumps(graph))
        self.result: Any = None
        self.error: Exception | None = None
        self._node_id, self._left, self.begun = node_id, events, threading.Event()
        self.start()

    def run(self) -> None:
        try:
            self.result = self.server.run(self.graph, self._on_progress)
        except Exception as error:
            self.error = error

    def _on_progress(self, progress: Any) -> None:
        if progress.node_id == self._node_id and progress.total:
            self._left -= 1
            if self._left == 0:
                self.begun.set()


def wait_for(condition: Callable[[], T], seconds: float = 300.0) -> T:
    """The first true value of `condition`; fails after `seconds`."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "nothing happened in time"
        time.sleep(0.02)
    return found


def shown(result: Any, node: str) -> str:
    """The text that a preview node of a finished graph shows."""
    return result.outputs[node]["text"][0]

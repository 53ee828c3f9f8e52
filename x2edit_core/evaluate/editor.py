"""One case through the workflow: the source goes up, the graph runs, the edit comes down."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from ..workflow.client import Client, Graph, PromptError, TimedOut
from ..workflow.files import load_graph
from .cases import Case
from .places import Places, complete, filled

__all__ = ["Editor", "finished_pictures", "load_graph"]


@dataclass(frozen=True)
class Queued:
    """A case that the host has: its prompt, and when it was handed over."""

    prompt_id: str
    at: float


@dataclass
class Editor:
    """Edits by `graph` in the host behind `client`. Places that are not named are found; raises `PlaceError`."""

    client: Client
    graph: Graph
    places: Places = field(default_factory=Places)
    timeout: float = 900.0
    ahead: ClassVar[int] = 1
    """Cases that are begun while another one is scored."""

    def __post_init__(self) -> None:
        self.places = complete(self.graph, self.places)

    def key(self, case: Case, source: bytes, seed: int) -> str:
        """What the edit depends on, but for the host and its model files, as 16 hexadecimal digits."""
        graph = self._filled(case, hashlib.sha256(source).hexdigest(), seed)
        return hashlib.sha256(json.dumps(graph, sort_keys=True).encode()).hexdigest()[:16]

    def edit(self, case: Case, source: bytes, seed: int) -> bytes:
        """The edited picture's file; raises `PromptError` where the graph fails and `ServerError` where the host does."""
        return self.finish(self.begin(case, source, seed))

    def begin(self, case: Case, source: bytes, seed: int) -> Queued:
        """Hand the case over to the host, which works on it from now on; raises as `edit` does."""
        name = self.client.upload(f"x2edit_{hashlib.sha256(source).hexdigest()[:24]}.png", source, "temp")
        return Queued(self.client.queue(self._filled(case, name, seed)), time.monotonic())

    def finish(self, queued: Queued) -> bytes:
        """The edit that was begun, waited for until `timeout` seconds after it was queued; raises as `edit` does."""
        return _pictures(self.client, queued, [self.places.output], self.timeout)[0]

    def cancel(self, queued: Queued) -> None:
        """End its prompt, waiting or running, and nobody else's."""
        self.client.cancel(queued.prompt_id)

    def _filled(self, case: Case, image: str, seed: int) -> Graph:
        return filled(self.graph, self.places, image, case.instruction, case.task, seed)


def finished_pictures(client: Client, graph: Graph, outputs: Sequence[str], timeout: float) -> list[bytes]:
    """Run `graph` and return the first picture of each node of `outputs` (empty names are left out); raises as
    `Editor.edit` does. What takes longer than `timeout` seconds is taken back."""
    return _pictures(client, Queued(client.queue(graph), time.monotonic()), outputs, timeout)


def _pictures(client: Client, queued: Queued, outputs: Sequence[str], timeout: float) -> list[bytes]:
    try:
        client.wait_for(queued.prompt_id, max(0.0, queued.at + timeout - time.monotonic()))
        result = client.result(queued.prompt_id)
    except TimedOut as error:
        client.cancel(queued.prompt_id)
        told = f"The host did not finish the graph within {timeout:.0f} s.{client.log_end()}"
        raise PromptError(told) from error
    found = []
    for output in filter(None, outputs):
        pictures = [data for node, data in result.images if node == output]
        if not pictures:
            raise PromptError("The graph ended without a picture.", output, "SaveImage")
        found.append(pictures[0])
    return found

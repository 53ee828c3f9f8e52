"""One case through the workflow: the source goes up, the graph runs, the edit comes down."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field

from ..workflow.client import Client, Graph, PromptError, TimedOut
from ..workflow.files import load_graph
from .cases import Case
from .places import Places, complete, filled

__all__ = ["Editor", "load_graph"]


@dataclass
class Editor:
    """Edits by `graph` in the host behind `client`. Places that are not named are found; raises `PlaceError`."""

    client: Client
    graph: Graph
    places: Places = field(default_factory=Places)
    timeout: float = 900.0

    def __post_init__(self) -> None:
        self.places = complete(self.graph, self.places)

    def key(self, case: Case, source: bytes, seed: int) -> str:
        """What the edit depends on, but for the host and its model files, as 16 hexadecimal digits."""
        graph = self._filled(case, hashlib.sha256(source).hexdigest(), seed)
        return hashlib.sha256(json.dumps(graph, sort_keys=True).encode()).hexdigest()[:16]

    def edit(self, case: Case, source: bytes, seed: int) -> bytes:
        """The edited picture's file; raises `PromptError` where the graph fails and `ServerError` where the host does."""
        name = self.client.upload(f"x2edit_{hashlib.sha256(source).hexdigest()[:24]}.png", source, "temp")
        try:
            result = self.client.run(self._filled(case, name, seed), timeout=self.timeout)
        except TimedOut as error:
            self.client.cancel(error.prompt_id)
            raise PromptError(str(error)) from error
        pictures = [data for node, data in result.images if node == self.places.output]
        if not pictures:
            raise PromptError("The graph ended without a picture.", self.places.output, "SaveImage")
        return pictures[0]

    def _filled(self, case: Case, image: str, seed: int) -> Graph:
        return filled(self.graph, self.places, image, case.instruction, case.task, seed)

"""One case through the workflow: the source goes up, the graph runs, the edit comes down."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import X2EditError
from ..workflow.client import Client, Graph, PromptError, TimedOut
from ..workflow.graph import to_api
from .cases import Case
from .places import Places, complete, filled


def load_graph(path: Path, client: Client) -> Graph:
    """The workflow at `path`, saved by the page in either of its forms, as the API takes it; raises `X2EditError`."""
    try:
        saved: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise X2EditError(f"{path} cannot be read as a workflow: {error}") from error
    if "nodes" in saved:
        return to_api(saved, client.object_info())
    if not saved or not all(isinstance(node, dict) and "class_type" in node for node in saved.values()):
        raise X2EditError(f"{path} is no workflow: neither the page's form nor the API's was found in it.")
    return saved


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

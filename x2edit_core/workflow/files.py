"""Workflow files as the page saves them, in either of its forms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import X2EditError
from .client import Client, Graph
from .graph import to_api
from .shipped import present


def load_graph(path: Path, client: Client) -> Graph:
    """The workflow at `path`, in the page's form or the API's, as the API takes it; raises `X2EditError`."""
    try:
        saved: Any = json.loads(present(path).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise X2EditError(f"{path} cannot be read as a workflow: {error}") from error
    if isinstance(saved, dict) and "nodes" in saved:
        return to_api(saved, client.object_info())
    nodes = saved.values() if isinstance(saved, dict) else ()
    if not nodes or not all(isinstance(node, dict) and "class_type" in node for node in nodes):
        raise X2EditError(f"{path} is no workflow: neither the page's form nor the API's was found in it.")
    return saved

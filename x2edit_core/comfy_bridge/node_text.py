"""Text shown on a node in the graph while and after it runs."""

from __future__ import annotations

from .host import server


def show_on_node(text: str, node_id: str | None) -> None:
    """Shows `text` on the node; does nothing where no server runs or the node has no id, as in tests."""
    running = server()
    if running is not None and node_id is not None:
        running.send_progress_text(text, node_id)

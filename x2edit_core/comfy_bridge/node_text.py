"""Text shown on a node in the graph while and after it runs."""

from __future__ import annotations


def show_on_node(text: str, node_id: str | None) -> None:
    """Shows `text` on the node; does nothing where no server runs or the node has no id, as in tests."""
    from server import PromptServer

    instance = getattr(PromptServer, "instance", None)
    if instance is not None and node_id is not None:
        instance.send_progress_text(text, node_id)

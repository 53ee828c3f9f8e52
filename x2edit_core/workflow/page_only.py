"""Nodes that live in the page alone: the host never hears of them, so a conversion must know what they stand for.

Notes and labels stand for nothing, reroutes for what is connected to them, and a pair of Set and Get for a link by name.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

PASSING = {"Reroute", "Reroute (rgthree)"}
"""Their output is what their input is."""
SETTERS = {"SetNode", "easy setNode"}
"""What goes in has the name that is their first value, and comes out too."""
GETTERS = {"GetNode", "easy getNode"}
"""They give what the setter of their first value's name was given."""
_SILENT = {
    "PrimitiveNode", "Note", "MarkdownNote", "Label (rgthree)", "Bookmark (rgthree)", "Fast Groups Muter (rgthree)",
    "Fast Groups Bypasser (rgthree)", "Fast Muter (rgthree)", "Fast Bypasser (rgthree)", "Fast Actions Button (rgthree)",
    "Node Collector (rgthree)", "Mute / Bypass Repeater (rgthree)", "Mute / Bypass Relay (rgthree)",
    "Random Unmuter (rgthree)",
}  # fmt: skip
VIRTUAL = PASSING | SETTERS | GETTERS | _SILENT
_OWN_NAME = "Node name for S&R"
"""The page writes this property into each node that a host described to it."""

API_HINT = (
    "If it lives in the page alone, export the workflow in the API form there (Workflow > Export (API)) and use that."
)


def stands_alone(saved: Json) -> bool:
    """Whether a node of unknown type is one of the page's that nothing is connected to, such as a label."""
    slots = [slot.get("link") for slot in saved.get("inputs") or []]
    slots += [link for slot in saved.get("outputs") or [] for link in slot.get("links") or []]
    properties = saved.get("properties")
    return all(link is None for link in slots) and properties is not None and _OWN_NAME not in properties


def shared_name(saved: Json) -> str:
    """The name that a setter and its getters have in common; empty for other nodes."""
    values = saved.get("widgets_values") or [""]
    first = next(iter(values.values())) if isinstance(values, dict) else values[0]
    return str(first) if saved["type"] in SETTERS | GETTERS else ""

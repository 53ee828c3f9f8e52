"""Where a graph in the API form takes a case: the nodes and inputs for picture, instruction, task and seed.

A person names them as `node.input`; what is not named is found where the graph leaves no doubt, as in the shipped
workflows.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import X2EditError
from ..tasks import Task
from ..workflow.client import Graph

Place = tuple[str, str]
"""Node id and input name."""

_TEXTS = {
    "CLIPTextEncode": ("text",),
    "CLIPTextEncodeFlux": ("clip_l", "t5xxl"),
    "ICEditConditioning": ("instruction",),
    "X2EditTextEncode": ("instruction",),
    "X2EditQwenTextEncode": ("instruction",),
    "X2EditClassify": ("instruction",),
    "X2EditEarlyFilter": ("instruction",),
    "X2EditEarlyFilterAdvanced": ("instruction",),
}
"""Inputs that take the words of an edit, by node class."""
_SEEDS = ("seed", "noise_seed")
_WIDGETS = ("value", "text", "string")
"""The input that holds the text of a node which only holds a text."""
_SAVING = {"SaveImage", "PreviewImage"}


class PlaceError(X2EditError):
    """A graph in which something has no place, or more than one."""


@dataclass(frozen=True)
class Places:
    """Where things go; `output` is the node whose picture is the edit. Raises `PlaceError` on a bad reference."""

    image: tuple[Place, ...] = ()
    instruction: tuple[Place, ...] = ()
    task: tuple[Place, ...] = ()
    seed: tuple[Place, ...] = ()
    output: str = ""


def place_of(reference: str) -> Place:
    """`"6.text"` → ("6", "text"); ids of nodes inside subgraphs hold colons, not dots."""
    node, dot, name = reference.partition(".")
    if not (node and dot and name):
        raise PlaceError(f"{reference!r} names no place in the graph; node.input was expected, such as 6.text.")
    return node, name


def complete(graph: Graph, named: Places) -> Places:
    """`named` with the rest found in the graph; raises `PlaceError` where that is not possible."""
    for node, name in (*named.image, *named.instruction, *named.task, *named.seed):
        if name not in _node(graph, node)["inputs"]:
            known = ", ".join(graph[node]["inputs"])
            raise PlaceError(f"Node {node} ({graph[node]['class_type']}) has no input {name!r}; it has: {known}.")
    if named.output and _node(graph, named.output)["class_type"] not in _SAVING:
        raise PlaceError(f"places.output = {named.output!r} must be a SaveImage or PreviewImage node.")
    return replace(
        named,
        image=named.image or _image(graph),
        instruction=named.instruction or _instruction(graph),
        task=named.task or tuple((key, "task") for key in _of_class(graph, ("X2EditTask",))),
        seed=named.seed or _seeds(graph),
        output=named.output or _output(graph),
    )


def filled(graph: Graph, places: Places, image: str, instruction: str, task: Task, seed: int) -> Graph:
    """A copy of the graph with a case in it, that writes no files but previews in the host's temporary folder."""
    graph = {key: copy.deepcopy(node) for key, node in graph.items()}
    values: tuple[tuple[tuple[Place, ...], Any], ...] = (
        (places.image, image), (places.instruction, instruction), (places.task, task.english), (places.seed, seed),
    )  # fmt: skip
    for where, value in values:
        for node, name in where:
            graph[node]["inputs"][name] = value
    for node, _ in places.task:
        if "second_task" in graph[node]["inputs"]:
            graph[node]["inputs"]["second_task"] = "none"
    for node in graph.values():
        if node["class_type"] == "SaveImage":
            node.update(class_type="PreviewImage", inputs={"images": node["inputs"]["images"]})
    return graph


def _node(graph: Graph, key: str) -> dict[str, Any]:
    if key not in graph:
        raise PlaceError(f"The graph has no node {key!r}; it has: {', '.join(graph)}.")
    return graph[key]


def _of_class(graph: Graph, classes: Iterable[str]) -> list[str]:
    wanted = set(classes)
    return [key for key, node in graph.items() if node["class_type"] in wanted]


def _image(graph: Graph) -> tuple[Place, ...]:
    found = _of_class(graph, ("LoadImage",))
    return ((_only(graph, found, "image", "LoadImage node", ".image"), "image"),)


def _output(graph: Graph) -> str:
    found = _of_class(graph, ("SaveImage",)) or _of_class(graph, ("PreviewImage",))
    return _only(graph, found, "output", "SaveImage node", "")


def _seeds(graph: Graph) -> tuple[Place, ...]:
    return tuple((key, name) for key, node in graph.items() for name in _SEEDS if _is_number(node["inputs"].get(name)))


def _instruction(graph: Graph) -> tuple[Place, ...]:
    """Every text that conditions other than negatively; they must all say the same."""
    wanted = [(key, name) for key, node in graph.items() for name in _TEXTS.get(node["class_type"], ())]
    held = [_holder(graph, place) for place in wanted if not _only_negative(graph, place[0])]
    found = list(dict.fromkeys(place for place in held if place))
    if not found:
        raise PlaceError('The graph has no text for the instruction; name it as places.instruction = ["node.input"].')
    if len({graph[node]["inputs"][name] for node, name in found}) > 1:
        listed = "; ".join(f"{node}.{name} says {graph[node]['inputs'][name]!r}" for node, name in found)
        raise PlaceError(f"Which text is the instruction? {listed}. Name it in places.instruction.")
    return tuple(found)


def _holder(graph: Graph, place: Place) -> Place | None:
    """The input that holds the text which arrives at `place`; None where it is computed, or comes from nowhere."""
    node, name = place
    value = graph[node]["inputs"].get(name)
    passed = {node}
    while isinstance(value, list):
        node = value[0]
        if node in passed:
            raise PlaceError(
                f"The links into {place[0]}.{place[1]} go in a circle through node {node}; no host runs that."
            )
        passed.add(node)
        inputs = _node(graph, node)["inputs"]
        name = next((key for key in _WIDGETS if key in inputs), "")
        value = inputs.get(name)
    return (node, name) if isinstance(value, str) else None


def _only_negative(graph: Graph, key: str) -> bool:
    uses = [
        name for node in graph.values() for name, value in node["inputs"].items()
        if isinstance(value, list) and value and value[0] == key
    ]  # fmt: skip
    return bool(uses) and set(uses) == {"negative"}


def _only(graph: Graph, found: Sequence[str], what: str, kind: str, suffix: str) -> str:
    if len(found) == 1:
        return found[0]
    shown = ", ".join(f"{key} ({graph[key].get('_meta', {}).get('title', '')})" for key in found) or "none"
    example = f"{found[0] if found else 'node'}{suffix}"
    raise PlaceError(f"One {kind} was expected, found: {shown}. Name it: places.{what} = {example!r}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)

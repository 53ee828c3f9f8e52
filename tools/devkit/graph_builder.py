"""A saved workflow, written node by node: the page's own form, without the page.

Slots, widgets and their order come from a host's `/object_info`, so that a graph says only what differs from defaults.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .host import DevError

Json = dict[str, Any]
Box = tuple[int, int, int, int]
"""Left, top, width and height in the graph's units."""
_WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
_COLOUR = "#3f789e"


@dataclass(frozen=True)
class Output:
    """An output of a node in a graph under construction."""

    node: int
    name: str


class GraphBuilder:
    """Collects nodes, links, notes and groups; `done` gives the workflow."""

    def __init__(self, info: Mapping[str, Json], version: str, host_version: str, first_id: int = 1) -> None:
        self._info = info
        self._versions = {True: ("x2edit", version), False: ("comfy-core", host_version)}
        self._next_id = first_id  # beyond those inside a box: the page renumbers nodes that share one
        self._nodes: dict[int, Json] = {}
        self._links: list[list[Any]] = []
        self._groups: list[Json] = []
        self._definitions: list[Json] = []

    def node(self, kind: str, box: Box, title: str = "", /, models: Sequence[Json] = (), **inputs: Any) -> Node:
        """Add a node; an `Output` among the inputs becomes a link, anything else a widget's value."""
        if kind not in self._info:
            raise DevError(f"The host has no node {kind}.")
        entry = self._info[kind]
        node = self._plain(kind, box, title)
        pack, ver = self._versions[entry["python_module"].startswith("custom_nodes.")]
        given = {"models": list(models)} if models else {}
        node["properties"] = {"Node name for S&R": kind, "cnr_id": pack, "ver": ver, **given}
        specs = {**entry["input"].get("required", {}), **entry["input"].get("optional", {})}
        if unknown := set(inputs) - set(specs):
            raise DevError(f"{kind} has no input {', '.join(sorted(unknown))}; it has {', '.join(specs)}.")
        node["inputs"] = [_slot(name, spec) for name, spec in specs.items()]
        node["widgets_values"] = _values(specs, inputs)
        names = zip(entry["output_name"], entry["output"], strict=True)
        node["outputs"] = [{"name": name, "type": _type(kind_), "links": []} for name, kind_ in names]
        self._connect(node, inputs)
        return Node(node)

    def box(self, blueprint: Json, box: Box, title: str = "", **inputs: Any) -> Node:
        """Add the one subgraph instance of a blueprint's file; inputs as for `node`."""
        (saved,) = copy.deepcopy(blueprint["nodes"])
        node = self._plain(saved["type"], box, title or saved["title"])
        node |= {name: saved[name] for name in ("inputs", "outputs", "properties", "widgets_values")}
        widgets = [slot["name"] for slot in node["inputs"] if "widget" in slot]
        for name, value in inputs.items():
            if not isinstance(value, Output):
                node["widgets_values"][widgets.index(name)] = value
        self._definitions += copy.deepcopy(blueprint["definitions"]["subgraphs"])
        self._connect(node, inputs)
        return Node(node)

    def note(self, text: str, box: Box, title: str) -> None:
        node = self._plain("MarkdownNote", box, title)
        node |= {"inputs": [], "outputs": [], "properties": {}, "widgets_values": [text]}

    def group(self, title: str, box: Box) -> None:
        number = len(self._groups) + 1
        self._groups.append(
            {"id": number, "title": title, "bounding": list(box), "color": _COLOUR, "font_size": 24, "flags": {}}
        )

    def done(self, identity: str) -> Json:
        workflow: Json = {
            "id": identity, "revision": 0, "last_node_id": self._next_id - 1, "last_link_id": len(self._links),
            "nodes": list(self._nodes.values()), "links": self._links, "groups": self._groups, "config": {},
            "extra": {"ds": {"scale": 0.7, "offset": [60, 60]}}, "version": 0.4,
        }  # fmt: skip
        return workflow | ({"definitions": {"subgraphs": self._definitions}} if self._definitions else {})

    def _plain(self, kind: str, box: Box, title: str) -> Json:
        number = self._next_id
        self._next_id += 1
        left, top, width, height = box
        node: Json = {
            "id": number, "type": kind, "pos": [left, top], "size": [width, height], "flags": {}, "order": len(self._nodes),
            "mode": 0,
        }  # fmt: skip
        if title:
            node["title"] = title
        self._nodes[number] = node
        return node

    def _connect(self, node: Json, inputs: Mapping[str, Any]) -> None:
        for place, slot in enumerate(node["inputs"]):
            given = inputs.get(slot["name"])
            if not isinstance(given, Output):
                continue
            origin = self._nodes[given.node]
            index = next(i for i, output in enumerate(origin["outputs"]) if output["name"] == given.name)
            number = len(self._links) + 1
            slot["link"] = number
            origin["outputs"][index]["links"].append(number)
            self._links.append([number, given.node, index, node["id"], place, slot["type"]])


_SEEDS = ("seed", "noise_seed")
"""Whole numbers to which the page adds a choice of what becomes of them after a run, unless they say otherwise."""


class Node:
    """A node in a graph under construction; `node["name"]` is one of its outputs."""

    def __init__(self, saved: Json) -> None:
        self._saved = saved

    def __contains__(self, name: str) -> bool:
        return name in [output["name"] for output in self._saved["outputs"]]

    def __getitem__(self, name: str) -> Output:
        if name not in self:
            raise DevError(f"{self._saved['type']} has no output {name!r}.")
        return Output(self._saved["id"], name)


def _type(spec: Any) -> str:
    return "COMBO" if isinstance(spec, list) else spec


def _is_widget(spec: Sequence[Any]) -> bool:
    options = spec[1] if len(spec) > 1 else {}
    return _type(spec[0]) in _WIDGET_TYPES and not options.get("forceInput")


def _slot(name: str, spec: Sequence[Any]) -> Json:
    slot: Json = {"name": name, "type": _type(spec[0]), "link": None}
    return {**slot, "widget": {"name": name}} if _is_widget(spec) else slot


def _values(specs: Mapping[str, Sequence[Any]], inputs: Mapping[str, Any]) -> list[Any]:
    """The widgets' values in their order, what the page adds after a seed or an upload included."""
    values = []
    for name, spec in specs.items():
        if not _is_widget(spec):
            continue
        options = spec[1] if len(spec) > 1 else {}
        given = inputs.get(name)
        values.append(_default(spec, options) if given is None or isinstance(given, Output) else given)
        if options.get("control_after_generate", _type(spec[0]) == "INT" and name in _SEEDS):
            values.append("fixed" if given is not None else "randomize")
        if options.get("image_upload"):
            values.append("image")
    return values


def _default(spec: Sequence[Any], options: Mapping[str, Any]) -> Any:
    if "default" in options:
        return options["default"]
    choices = spec[0] if isinstance(spec[0], list) else options.get("options")
    return choices[0] if choices else {"INT": 0, "FLOAT": 0.0, "BOOLEAN": False}.get(str(spec[0]), "")

"""Subgraph blueprints, made from the templates: one box with few inputs for each of the usual jobs.

blueprints.py    write subgraphs/*.json

Everything of a template goes into the box but what loads, saves and shows pictures; those ends become its sockets.
"""

from __future__ import annotations

import json
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[2]
FOLDER = REPO / "subgraphs"
WORKFLOWS = REPO / "workflows"
_OUTSIDE = {"LoadImage", "SaveImage", "PreviewImage", "PreviewAny", "MarkdownNote", "Note"}
_TEXTS = {"PrimitiveString", "PrimitiveStringMultiline"}
_INPUT_ID, _OUTPUT_ID = -10, -20

Json = dict[str, Any]


@dataclass(frozen=True)
class Blueprint:
    """`widgets`: (node type, its input) of every widget shown on the box, in order."""

    name: str
    template: str
    description: str
    widgets: tuple[tuple[str, str], ...]


_FILES = (("UNETLoader", "unet_name"), ("X2EditAdapterLoader", "adapter_name"))
BLUEPRINTS = (
    Blueprint(
        "Edit with X2Edit",
        "x2edit_auto_t5",
        "Edits a picture by an instruction with FLUX.1 and the X2Edit adapter; the kind of edit is found from the wording.",
        (("KSampler", "seed"), ("KSampler", "steps"), *_FILES),
    ),
    Blueprint(
        "Edit with ICEdit",
        "icedit_moe",
        "Edits a picture by an instruction with FLUX.1 Fill and ICEdit's adapter, its experts routed.",
        (("ICEditConditioning", "instruction"), ("ICEditNoise", "seed"), ("BasicScheduler", "steps"), *_FILES),
    ),
    Blueprint(
        "Edit with Early Filter",
        "early_filter_x2edit",
        "Begins an X2Edit edit with several seeds, lets a vision model behind a server pick one early, and finishes only that.",
        (
            *(("X2EditTask", "task"), ("X2EditEarlyFilter", "seed"), ("X2EditEarlyFilter", "seeds")),
            *(("X2EditChatFromEndpoint", "base_url"), ("X2EditChatFromEndpoint", "model"), *_FILES),
        ),
    ),
)


def make(blueprint: Blueprint) -> Json:
    """The blueprint's file: a workflow that holds one instance of the subgraph."""
    workflow = json.loads((WORKFLOWS / f"{blueprint.template}.json").read_text(encoding="utf-8"))
    return _Builder(blueprint, workflow).file()


class _Builder:
    def __init__(self, blueprint: Blueprint, workflow: Json) -> None:
        self.blueprint = blueprint
        self.all = {node["id"]: node for node in workflow["nodes"]}
        self.kept = {key: node for key, node in self.all.items() if node["type"] not in _OUTSIDE | _TEXTS}
        self.links = {entry[0]: entry for entry in workflow["links"]}
        self.last_link = max(self.links)
        self.inputs: list[Json] = []
        self.outputs: list[Json] = []
        self.values: list[Any] = []
        self.inner: list[Json] = []

    def file(self) -> Json:
        self._sort_links()
        for kind, name in self.blueprint.widgets:
            self._expose(kind, name)
        definition = self._definition()
        outer = max(self.kept) + 1  # the page renumbers nodes inside that share an id with one outside
        instance = {
            "id": outer, "type": definition["id"], "pos": [0, 0], "size": [400, 300], "flags": {}, "order": 0, "mode": 0,
            "inputs": [self._outer(slot) for slot in self.inputs],
            "outputs": [{"name": slot["name"], "type": slot["type"], "links": []} for slot in self.outputs],
            "properties": {"cnr_id": "x2edit", "ver": _version()}, "widgets_values": self.values,
            "title": self.blueprint.name,
        }  # fmt: skip
        return {
            "revision": 0, "last_node_id": outer, "last_link_id": 0, "nodes": [instance], "links": [], "groups": [],
            "definitions": {"subgraphs": [definition]}, "config": {}, "extra": {}, "version": 0.4,
        }  # fmt: skip

    def _sort_links(self) -> None:
        """Links within the box stay; those that cross its edge become sockets."""
        for key, origin, slot, target, place, kind in self.links.values():
            if origin in self.kept and target in self.kept:
                self._link(key, origin, slot, target, place, kind)
            elif target in self.kept:
                self._enter(key, self.all[origin], target, place, kind)
            elif origin in self.kept:
                self._leave(key, origin, slot, kind)

    def _link(self, key: int, origin: int, slot: int, target: int, place: int, kind: str) -> None:
        names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
        self.inner.append(dict(zip(names, (key, origin, slot, target, place, kind), strict=True)))

    def _enter(self, key: int, origin: Json, target: int, place: int, kind: str) -> None:
        name = "image" if origin["type"] == "LoadImage" else "instruction"
        slot = self._socket(name, kind, origin["widgets_values"][0] if origin["type"] in _TEXTS else None)
        self.inputs[slot]["linkIds"].append(key)
        self._link(key, _INPUT_ID, slot, target, place, kind)

    def _socket(self, name: str, kind: str, value: Any = None) -> int:
        """The box's input of this name, made at first use; one with a value is shown as a widget."""
        known = [slot["name"] for slot in self.inputs]
        if name in known:
            return known.index(name)
        self.inputs.append({"id": self._id(f"in {name}"), "name": name, "type": kind, "linkIds": [], "pos": [0, 0]})
        if value is not None:
            self.inputs[-1]["widget"] = True
            self.values.append(value)
        return len(self.inputs) - 1

    def _leave(self, key: int, origin: int, slot: int, kind: str) -> None:
        """Results come out once each; a picture on the way that was only shown stays inside."""
        node = self.all[origin]
        if node["type"] == "VAEDecode":
            links = node["outputs"][slot]["links"]
            links.remove(key)
            return
        name = node["outputs"][slot]["name"]
        self.outputs.append(
            {"id": self._id(f"out {name}"), "name": name, "type": kind, "linkIds": [key], "pos": [0, 0]}
        )
        self._link(key, origin, slot, _OUTPUT_ID, len(self.outputs) - 1, kind)

    def _expose(self, kind: str, name: str) -> None:
        (node,) = (node for node in self.kept.values() if node["type"] == kind)
        place = next(index for index, slot in enumerate(node["inputs"]) if slot["name"] == name)
        self.last_link += 1
        node["inputs"][place]["link"] = self.last_link
        slot = self._socket(name, node["inputs"][place]["type"], _widget_value(node, name))
        self.inputs[slot]["linkIds"].append(self.last_link)
        self._link(self.last_link, _INPUT_ID, slot, node["id"], place, node["inputs"][place]["type"])

    def _definition(self) -> Json:
        ends = {"links": len(self.inner), "nodes": len(self.kept)}
        assert all(ends.values()) and self.inputs and self.outputs
        return {
            "id": self._id("definition"), "version": 1,
            "state": {"lastGroupId": 0, "lastNodeId": max(self.kept), "lastLinkId": self.last_link, "lastRerouteId": 0},
            "revision": 0, "config": {}, "name": self.blueprint.name,
            "inputNode": {"id": _INPUT_ID, "bounding": [-260, 100, 120, 40 + 20 * len(self.inputs)]},
            "outputNode": {"id": _OUTPUT_ID, "bounding": [2400, 100, 120, 40 + 20 * len(self.outputs)]},
            "inputs": [{k: v for k, v in slot.items() if k != "widget"} for slot in self.inputs],
            "outputs": self.outputs, "widgets": [], "nodes": list(self.kept.values()), "groups": [], "links": self.inner,
            "extra": {}, "category": "X2Edit", "description": self.blueprint.description,
        }  # fmt: skip

    def _outer(self, slot: Json) -> Json:
        outer = {"name": slot["name"], "type": slot["type"], "link": None}
        return {**outer, "widget": {"name": slot["name"]}} if slot.get("widget") else outer

    def _id(self, part: str) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"x2edit/{self.blueprint.name}/{part}"))


def _widget_value(node: Json, name: str) -> Any:
    """The saved value of a widget; values lie in the order of the widgets, a seed's control after its seed."""
    values = iter(node["widgets_values"])
    for slot in node["inputs"]:
        if "widget" not in slot:
            continue
        value = next(values)
        if slot["name"] == name:
            return value
        if slot["name"] == "seed":
            next(values)
    raise KeyError(name)


def _version() -> str:
    lines = (REPO / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    return next(line.split('"')[1] for line in lines if line.startswith("version"))


def path_of(blueprint: Blueprint) -> Path:
    return FOLDER / f"{blueprint.name}.json"


def text_of(blueprint: Blueprint) -> str:
    return json.dumps(make(blueprint), indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    FOLDER.mkdir(exist_ok=True)
    for blueprint in BLUEPRINTS:
        path_of(blueprint).write_text(text_of(blueprint), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

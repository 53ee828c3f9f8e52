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
_OUTSIDE = {
    "LoadImage", "SaveImage", "PreviewImage", "PreviewAny", "MarkdownNote", "Note", "X2EditCompare", "X2EditDemoScene",
}  # fmt: skip
_TEXTS = {"PrimitiveString", "PrimitiveStringMultiline"}
_SOCKETS = {("LoadImage", 0): "image", ("LoadImage", 1): "mask"}
_INPUT_ID, _OUTPUT_ID = -10, -20
CATEGORY = "Image generation and editing/Edit image"
"""Where core keeps its own blueprints for edits, so that one search finds both."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Widget:
    """A widget of a node in the box, shown on the box under a name of its own."""

    kind: str
    input: str
    name: str


@dataclass(frozen=True)
class Blueprint:
    """`widgets`, in order behind what the graph itself brings; `sockets` and `results`: (node type, its slot) beside those."""

    name: str
    template: str
    description: str
    widgets: tuple[Widget, ...]
    sockets: tuple[tuple[str, str], ...] = ()
    results: tuple[tuple[str, str], ...] = ()


_FILES = (
    Widget("UNETLoader", "unet_name", "model"),
    Widget("X2EditAdapterLoader", "adapter_name", "adapter"),
    Widget("DualCLIPLoader", "clip_name1", "clip_l"),
    Widget("DualCLIPLoader", "clip_name2", "t5xxl"),
    Widget("VAELoader", "vae_name", "vae"),
)
_RUN = (Widget("KSampler", "seed", "seed"), Widget("KSampler", "steps", "steps"))
X2EDIT = Blueprint(
    "Image Edit (X2Edit)",
    "X2Edit automatic (all nodes)",
    "Edits a picture by an instruction with FLUX.1 and the X2Edit adapter. The kind of edit is found from the wording, or "
    "chosen in `task`. With a mask, everything outside it stays as it was.",
    (Widget("X2EditClassify", "task", "task"), *_RUN, Widget("X2EditReference", "size", "size"), *_FILES),
    (("X2EditRestore", "mask"),),
    (("X2EditClassify", "name"),),
)
ICEDIT = Blueprint(
    "Image Edit (ICEdit)",
    "ICEdit experts (all nodes)",
    "Edits a picture by an instruction with FLUX.1 Fill and ICEdit's adapter, its experts routed. With a mask and `stitch` "
    "at feathered, everything outside it stays as it was.",
    (
        Widget("ICEditConditioning", "instruction", "instruction"),
        Widget("ICEditNoise", "seed", "seed"),
        Widget("BasicScheduler", "steps", "steps"),
        Widget("ICEditCrop", "stitch", "stitch"),
        *_FILES,
    ),
    (("ICEditCrop", "edit_mask"),),
)
EARLY_FILTER = Blueprint(
    "Image Edit (X2Edit best of several seeds)",
    "Best seed X2Edit (all nodes)",
    "Begins an X2Edit edit with several seeds, lets a vision model behind a server pick one early, and finishes only that.",
    (
        Widget("X2EditTask", "task", "task"),
        Widget("X2EditEarlyFilter", "seed", "seed"),
        Widget("X2EditEarlyFilter", "seeds", "seeds"),
        Widget("X2EditChatFromEndpoint", "base_url", "judge address"),
        Widget("X2EditChatFromEndpoint", "model", "judge model"),
        *_FILES,
    ),
)
BLUEPRINTS = (X2EDIT, ICEDIT, EARLY_FILTER)


def make(blueprint: Blueprint) -> Json:
    """The blueprint's file: a workflow that holds one instance of the subgraph."""
    return make_of(blueprint, json.loads((WORKFLOWS / f"{blueprint.template}.json").read_text(encoding="utf-8")))


def make_of(blueprint: Blueprint, workflow: Json) -> Json:
    """The same from a workflow at hand, which is changed."""
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
        for widget in self.blueprint.widgets:
            self._expose(widget.kind, widget.input, widget.name, shown=True)
        for kind, name in self.blueprint.sockets:
            self._expose(kind, name, "mask" if "mask" in name else name, shown=False)
        for kind, name in self.blueprint.results:
            self._result(kind, name)
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
                self._enter(key, self.all[origin], slot, target, place, kind)
            elif origin in self.kept:
                self._leave(key, origin, slot, kind)

    def _link(self, key: int, origin: int, slot: int, target: int, place: int, kind: str) -> None:
        names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
        self.inner.append(dict(zip(names, (key, origin, slot, target, place, kind), strict=True)))

    def _enter(self, key: int, origin: Json, output: int, target: int, place: int, kind: str) -> None:
        given = "instruction" if origin["type"] in _TEXTS else origin["outputs"][output]["name"]
        name = _SOCKETS.get((origin["type"], output), given)
        # A widget inside is one on the box too, even where a link feeds it.
        linked = "" if "widget" in self.all[target]["inputs"][place] else None
        slot = self._socket(name, kind, origin["widgets_values"][0] if origin["type"] in _TEXTS else linked)
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

    def _only(self, kind: str) -> Json:
        (node,) = (node for node in self.kept.values() if node["type"] == kind)
        return node

    def _expose(self, kind: str, name: str, shown_as: str, shown: bool) -> None:
        node = self._only(kind)
        place = next(index for index, slot in enumerate(node["inputs"]) if slot["name"] == name)
        self.last_link += 1
        node["inputs"][place]["link"] = self.last_link
        value = _widget_value(node, name) if shown else None
        slot = self._socket(shown_as, node["inputs"][place]["type"], value)
        self.inputs[slot]["linkIds"].append(self.last_link)
        self._link(self.last_link, _INPUT_ID, slot, node["id"], place, node["inputs"][place]["type"])

    def _result(self, kind: str, name: str) -> None:
        node = self._only(kind)
        place = next(index for index, slot in enumerate(node["outputs"]) if slot["name"] == name)
        self.last_link += 1
        node["outputs"][place].setdefault("links", [])
        node["outputs"][place]["links"] = [*(node["outputs"][place]["links"] or []), self.last_link]
        self._leave(self.last_link, node["id"], place, node["outputs"][place]["type"])

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
            "extra": {}, "category": CATEGORY, "description": self.blueprint.description,
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

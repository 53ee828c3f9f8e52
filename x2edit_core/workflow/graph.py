"""A workflow as the page saves it → the API form that the host executes.

Mirrors what the page's own `graphToPrompt` does (frontend 1.47; the browser tests compare the two): mute, bypass,
reroutes, primitives, notes, subgraphs, widgets turned into inputs, dynamic inputs. Two things differ on purpose, as
the page's answer is not repeatable: `{a|b}` in a text takes its first choice instead of a random one, and `%…%` in a
file name stays for the host.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..errors import X2EditError
from .nodedefs import SavedValues, Slot, Widget, declare
from .page_only import API_HINT, GETTERS, SETTERS, VIRTUAL, shared_name, stands_alone

Json = dict[str, Any]

_MUTED, _BYPASSED = 2, 4
_SUBGRAPH_INPUT = "-10"


class GraphError(X2EditError):
    """A workflow that cannot be converted; names the node."""


@dataclass
class Link:
    origin_id: str
    origin_slot: int
    target_id: str


@dataclass
class Node:
    """A node as the page holds it after loading: slots in the page's order, widget values by name."""

    id: str
    type: str
    title: str
    mode: int
    inputs: list[Slot]
    outputs: list[str]
    widgets: dict[str, Widget]
    subgraph: Graph | None = None
    shared: str = ""

    @property
    def active(self) -> bool:
        return self.mode not in (_MUTED, _BYPASSED)


@dataclass
class Graph:
    """The root graph or the inside of a subgraph; a subgraph's inside is shared by all its instances."""

    nodes: dict[str, Node] = field(default_factory=dict)
    links: dict[int, Link] = field(default_factory=dict)
    input_links: list[list[int]] = field(default_factory=list)
    output_links: list[list[int]] = field(default_factory=list)


@dataclass(frozen=True)
class _Value:
    """An input that resolved to a widget's value instead of a link."""

    value: Any


_Origin = tuple[str, int]


def to_api(workflow: Json, object_info: Json) -> dict[str, Json]:
    """Convert a page-format `workflow`; `object_info` is the host's answer to `/object_info`.

    Raises GraphError for a node type that the host does not know, for links that lead nowhere, and for a damaged file.
    """
    if not isinstance(workflow, dict) or not isinstance(workflow.get("nodes"), list):
        raise GraphError(
            "This is no workflow as the page saves it: it has no list of `nodes`. A file in the API form is used as it is, "
            "without a conversion."
        )
    try:
        return _converted(workflow, object_info)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, GraphError):
            raise
        raise GraphError(
            f"The workflow file is damaged ({type(error).__name__}: {error}). Open it in the page and save it again."
        ) from error


def _converted(workflow: Json, object_info: Json) -> dict[str, Json]:
    root = _Loader(workflow, object_info).root()
    placed: dict[str, _Placed] = {}
    for node in root.nodes.values():
        placed[node.id] = _Placed(node, root, (), None, placed)
        if node.subgraph is not None and node.active:
            placed[node.id].unfold()
    prompt = {
        key: item.to_api() for key, item in placed.items() if item.node.active and item.node.type not in VIRTUAL
        and item.node.subgraph is None
    }  # fmt: skip
    for entry in prompt.values():
        dangling = [
            name for name, value in entry["inputs"].items() if isinstance(value, list) and value[0] not in prompt
        ]
        for name in dangling:
            del entry["inputs"][name]
    return prompt


class _Loader:
    """Reads the saved form into `Graph`s, each subgraph definition once."""

    def __init__(self, workflow: Json, object_info: Json) -> None:
        self._workflow = workflow
        self._info = object_info
        self._definitions = {entry["id"]: entry for entry in _definitions(workflow)}
        self._loaded: dict[str, Graph] = {}
        self._loading: set[str] = set()

    def root(self) -> Graph:
        return self._graph(self._workflow)

    def _graph(self, data: Json) -> Graph:
        graph = Graph(
            links=_links(data.get("links") or []),
            input_links=[slot.get("linkIds") or [] for slot in data.get("inputs") or []],
            output_links=[slot.get("linkIds") or [] for slot in data.get("outputs") or []],
        )
        for saved in data["nodes"]:
            node = self._node(saved)
            graph.nodes[node.id] = node
        _apply_primitives(graph)
        return graph

    def _node(self, saved: Json) -> Node:
        kind = saved["type"]
        if kind in self._definitions:
            return self._instance(saved, self._definitions[kind])
        if kind in VIRTUAL:
            return _virtual_node(saved)
        if kind not in self._info:
            if saved.get("mode", 0) in (_MUTED, _BYPASSED):
                return _virtual_node(saved)
            if stands_alone(saved):
                return _virtual_node({**saved, "type": "Note"})
            raise GraphError(f"Node {saved['id']}: the host has no node type {kind!r}. {API_HINT}")
        definition = self._info[kind]
        slots, widgets = declare(definition, saved)
        title = saved.get("title") or definition.get("display_name") or kind
        outputs = ["*" if t == "COMFY_MATCHTYPE_V3" else t for t in definition["output"]]
        return Node(str(saved["id"]), kind, title, saved.get("mode", 0), slots, outputs, widgets)

    def _instance(self, saved: Json, definition: Json) -> Node:
        """A subgraph node. Inputs that lead to a widget inside are promoted: their value lives on the instance."""
        if (saved.get("properties") or {}).get("proxyWidgets"):
            raise GraphError(
                f"Node {saved['id']}: its promoted widgets have an older form; open and save the file in the page."
            )
        inside = self._inside(definition)
        links = {slot["name"]: slot.get("link") for slot in saved.get("inputs") or []}
        slots, widgets = [], {}
        values = SavedValues(saved.get("widgets_values") or [])
        for index, declared in enumerate(definition.get("inputs") or []):
            name = declared["name"]
            promoted = _promoted(inside, index)
            slots.append(Slot(name, str(declared["type"]), links.get(name), name if promoted else None))
            if promoted is not None:
                widgets[name] = Widget(values.take(name, promoted.value))
        outputs = [str(slot["type"]) for slot in definition.get("outputs") or []]
        title = saved.get("title") or definition.get("name") or ""
        return Node(str(saved["id"]), saved["type"], title, saved.get("mode", 0), slots, outputs, widgets, inside)

    def _inside(self, definition: Json) -> Graph:
        key = definition["id"]
        if key in self._loading:
            raise GraphError(f"The subgraph {definition.get('name') or key!r} holds itself, so it never ends.")
        if key not in self._loaded:
            self._loading.add(key)
            self._loaded[key] = self._graph(definition)
            self._loading.discard(key)
        return self._loaded[key]


@dataclass
class _Placed:
    """A node at one place of the unfolded network; `path` holds the instances around it, outermost first."""

    node: Node
    graph: Graph
    path: tuple[str, ...]
    owner: _Placed | None
    everything: dict[str, _Placed]

    @property
    def id(self) -> str:
        return ":".join((*self.path, self.node.id))

    def unfold(self) -> None:
        """Place everything inside this instance."""
        assert self.node.subgraph is not None
        inside_path = (*self.path, self.node.id)
        for node in self.node.subgraph.nodes.values():
            item = _Placed(node, self.node.subgraph, inside_path, self, self.everything)
            self.everything[item.id] = item
            if node.subgraph is not None:
                item.unfold()

    def to_api(self) -> Json:
        inputs = {name: _boxed(widget) for name, widget in self.node.widgets.items() if widget.in_prompt}
        for index, slot in enumerate(self.node.inputs):
            found = self._resolve_input(index, set())
            if isinstance(found, _Value):
                inputs[slot.name] = {"__value__": found.value} if isinstance(found.value, list) else found.value
            elif found is not None:
                inputs[slot.name] = [found[0], found[1]]
        return {"inputs": inputs, "class_type": self.node.type, "_meta": {"title": self.node.title}}

    def _resolve_input(self, index: int, visited: set[str], wanted: str | None = None) -> _Origin | _Value | None:
        """Where input `index` gets its value from; `wanted` is the type at the far end when that is not here."""
        self._visit(f"I{index}", visited)
        slot = self.node.inputs[index]
        if slot.link is None:
            return None
        link = self.graph.links.get(slot.link)
        if link is None:
            raise GraphError(f"Node {self.id}: input {slot.name!r} names the missing link {slot.link}.")
        if self.owner is not None and link.origin_id == _SUBGRAPH_INPUT:
            return self._resolve_outside(link.origin_slot, visited)
        origin = self.everything.get(":".join((*self.path, link.origin_id)))
        if origin is None:
            raise GraphError(f"Node {self.id}: input {slot.name!r} comes from the missing node {link.origin_id}.")
        return origin._resolve_output(link.origin_slot, wanted or slot.type, visited)

    def _resolve_outside(self, index: int, visited: set[str]) -> _Origin | _Value | None:
        """The value of input `index` of the instance around this node."""
        assert self.owner is not None
        slot = self.owner.node.inputs[index]
        if slot.link is not None:
            return self.owner._resolve_input(index, visited)
        promoted = self.owner.node.widgets.get(slot.name)
        return None if promoted is None else _Value(promoted.value)

    def _resolve_output(self, index: int, wanted: str, visited: set[str]) -> _Origin | _Value | None:
        self._visit(f"O{index}", visited)
        if self.node.mode == _MUTED:
            return None
        if self.node.mode == _BYPASSED:
            through = _bypass(self.node, index, wanted)
            return None if through is None else self._resolve_input(through, visited)
        if self.node.subgraph is not None:
            return self._resolve_inside(index, wanted, visited)
        if self.node.type in GETTERS:
            return self._setter()._resolve_input(0, visited, wanted)
        if self.node.type in VIRTUAL:
            linked = index < len(self.node.inputs) and self.node.inputs[index].link is not None
            return self._resolve_input(index, visited, wanted) if linked else None
        return (self.id, index)

    def _setter(self) -> _Placed:
        """The node that sets what this one gets: here, or in a graph around this one."""
        path, name = self.path, self.node.shared
        while True:
            here = [item for item in self.everything.values() if item.path == path and item.node.type in SETTERS]
            found = [item for item in here if item.node.shared == name]
            if len(found) == 1:
                return found[0]
            if found or not path:
                raise GraphError(f"Node {self.id}: {len(found)} nodes set {name!r}, which it gets; one was expected.")
            path = path[:-1]

    def _resolve_inside(self, index: int, wanted: str, visited: set[str]) -> _Origin | _Value | None:
        """The node inside this instance that feeds its output `index`."""
        assert self.node.subgraph is not None
        links = self.node.subgraph.output_links[index]
        if not links:
            return None
        link = self.node.subgraph.links[links[0]]
        inner = self.everything.get(":".join((self.id, link.origin_id)))
        if inner is None:
            raise GraphError(f"Node {self.id}: output {index} has no node inside that feeds it.")
        return inner._resolve_output(link.origin_slot, wanted, visited)

    def _visit(self, place: str, visited: set[str]) -> None:
        key = f"{self.id}[{place}]"
        if key in visited:
            raise GraphError(f"Node {self.id}: its links run in a circle.")
        visited.add(key)


def _definitions(data: Json) -> Iterator[Json]:
    for entry in (data.get("definitions") or {}).get("subgraphs") or []:
        yield entry
        yield from _definitions(entry)


def _links(saved: list[Any]) -> dict[int, Link]:
    """Links in either saved form: `[id, origin, slot, target, slot, type]` or an object with names."""
    found = {}
    for entry in saved:
        if entry is None:  # what the page leaves of a deleted link
            continue
        if isinstance(entry, list):
            key, origin, slot, target = entry[:4]
        else:
            key, origin, slot, target = (entry[k] for k in ("id", "origin_id", "origin_slot", "target_id"))
        found[key] = Link(str(origin), int(slot), str(target))
    return found


def _virtual_node(saved: Json) -> Node:
    """A node that exists only in the page (or is switched off): its saved slots are all there is to know."""
    slots = [Slot(slot["name"], str(slot["type"]), slot.get("link"), None) for slot in saved.get("inputs") or []]
    outputs = [str(slot["type"]) for slot in saved.get("outputs") or []]
    values = SavedValues(saved.get("widgets_values") or [])
    widgets = {"value": Widget(values.take("value"))} if saved["type"] == "PrimitiveNode" and values else {}
    title, mode, name = saved.get("title", ""), saved.get("mode", 0), shared_name(saved)
    return Node(str(saved["id"]), saved["type"], title, mode, slots, outputs, widgets, shared=name)


def _apply_primitives(graph: Graph) -> None:
    """A primitive writes its value into every widget it is linked to; it never becomes a link itself."""
    for key, link in graph.links.items():
        origin, target = graph.nodes.get(link.origin_id), graph.nodes.get(link.target_id)
        if origin is None or target is None or "value" not in origin.widgets or origin.type != "PrimitiveNode":
            continue
        slot = next((slot for slot in target.inputs if slot.link == key), None)
        if slot is not None and slot.widget in target.widgets:
            target.widgets[slot.widget].value = origin.widgets["value"].value


def _promoted(inside: Graph, index: int) -> Widget | None:
    """The widget that input `index` of a subgraph leads to: the first one among its links."""
    for key in inside.input_links[index]:
        target = inside.nodes.get(inside.links[key].target_id) if key in inside.links else None
        slot = next((slot for slot in target.inputs if slot.link == key), None) if target else None
        if target is not None and slot is not None and slot.widget in target.widgets:
            return target.widgets[slot.widget]
    return None


def _bypass(node: Node, index: int, wanted: str) -> int | None:
    """Which input stands in for output `index` of a bypassed node: same place, then same type, then compatible."""
    inputs, given = node.inputs, node.outputs[index]
    if wanted in ("*", ""):
        return index if len(inputs) > index else (0 if inputs else None)
    if index < len(inputs) and _fits(inputs[index].type, given) and _fits(inputs[index].type, wanted):
        return index
    exact = [place for place, slot in enumerate(inputs) if slot.type == wanted]
    compatible = [place for place, slot in enumerate(inputs) if _fits(slot.type, given) and _fits(slot.type, wanted)]
    return next(iter(exact + compatible), None)


def _fits(one: str, other: str) -> bool:
    """Whether the page would connect the two types; a comma separates alternatives."""
    if one in ("", "*", "0") or other in ("", "*", "0"):
        return True
    return bool(set(one.lower().split(",")) & set(other.lower().split(",")))


def _boxed(widget: Widget) -> Any:
    """A widget's value as the prompt carries it: lists are wrapped, or the host would take them for links."""
    value = _dynamic_text(widget.value) if widget.dynamic_text and isinstance(widget.value, str) else widget.value
    if not isinstance(value, list):
        return value
    return {"__type__": "CURVE", "__value__": value} if widget.kind == "CURVE" else {"__value__": value}


def _dynamic_text(text: str) -> str:
    """Comments removed, and the first choice of each `{a|b}` taken; `\\{`, `\\|` and `\\}` are literal."""
    text = re.sub(r"/\*[\s\S]*?\*/|//.*", "", text)
    innermost = re.compile(r"(?<!\\)\{((?:\\.|[^{}\\])*)\}")
    while found := innermost.search(text):
        choice = re.split(r"(?<!\\)\|", found.group(1))[0]
        text = text[: found.start()] + choice + text[found.end() :]
    return re.sub(r"\\([{}|])", r"\1", text)

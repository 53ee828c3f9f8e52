"""Graphs with every node in sight, laid out so that nothing covers anything in either of the page's renderings.

    cd tools && python -m devkit.arrange   measure the nodes' heights in the page (needs Chromium) and keep them

Nodes 2.0 draws most nodes taller than the canvas does. A node's place is the taller of both, below the node above it.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .browser import find_chromium
from .graph_builder import Json
from .host import find_host
from .layout import WORKFLOWS
from .server import Server

HEIGHTS = Path(__file__).with_name("node_heights.json")
"""Node type → the least height that Nodes 2.0 gives it, title included, in the graph's units."""
TITLE = 30
_GAP, _BETWEEN_GROUPS, _SAME_COLUMN = 24, 60, 60
_PADDING, _HEADING = 20, 60
_NOTE_WIDTH, _NOTE_HEIGHT = 620, 900
_GROWTH = {"X2EditClassify": 120, "X2EditEarlyFilter": 260, "X2EditEarlyFilterAdvanced": 260}
"""What a run adds to a node: the verdict, the picture in the making."""
_READY = "() => window.app?.graph && window.LiteGraph && Object.keys(LiteGraph.registered_node_types).length > 100"
_SHOWN = """() => [...document.querySelectorAll('[data-node-id]')].map(e => [
    app.graph.getNodeById(e.dataset.nodeId)?.type ?? "", e.getBoundingClientRect().height / app.canvas.ds.scale])"""


def heights() -> dict[str, int]:
    return json.loads(HEIGHTS.read_text(encoding="utf-8"))


def arranged(workflow: Json, tall: Mapping[str, int] | None = None) -> Json:
    """The graph with its columns pushed apart downwards, its groups around their nodes and its note on the left."""
    tall = heights() if tall is None else tall
    nodes = [node for node in workflow["nodes"] if node["type"] != "MarkdownNote"]
    owners = {node["id"]: _owner(node, workflow["groups"]) for node in nodes}
    columns = _columns(nodes)
    for _ in workflow["groups"]:  # aligning one group may push another
        for column in columns:
            _stack(column, owners, tall)
        _align(columns, owners)
    for number, group in enumerate(workflow["groups"]):
        members = [node for node in nodes if owners[node["id"]] == number]
        if members:
            group["bounding"] = _around(members, tall)
    corners = [group["bounding"][:2] for group in workflow["groups"]] or [node["pos"] for node in nodes]
    left, top = (min(corner[axis] for corner in corners) for axis in (0, 1))
    for note in workflow["nodes"]:
        if note["type"] == "MarkdownNote":
            note["pos"], note["size"] = (
                [left - _NOTE_WIDTH - 60, top + (TITLE if workflow["groups"] else 0)],
                [_NOTE_WIDTH, _NOTE_HEIGHT],
            )
    return workflow


def _columns(nodes: Iterable[Json]) -> list[list[Json]]:
    """Nodes by their left edges, each column from above to below."""
    columns: list[list[Json]] = []
    for node in sorted(nodes, key=lambda node: node["pos"][0]):
        if columns and node["pos"][0] - columns[-1][0]["pos"][0] <= _SAME_COLUMN:
            columns[-1].append(node)
        else:
            columns.append([node])
    return [sorted(column, key=lambda node: node["pos"][1]) for column in columns]


def _stack(column: list[Json], owners: Mapping[int, int | None], tall: Mapping[str, int]) -> None:
    for above, node in itertools.pairwise(column):
        apart = owners[above["id"]] != owners[node["id"]]
        free = _bottom(above, tall) + (_PADDING + _BETWEEN_GROUPS + _HEADING - TITLE if apart else _GAP) + TITLE
        node["pos"][1] = max(node["pos"][1], free)


def _align(columns: list[list[Json]], owners: Mapping[int, int | None]) -> None:
    """Begin a group at one height in all its columns, so that it stays clear of the group above."""
    first: dict[int, list[tuple[list[Json], int]]] = {}
    for column in columns:
        begun: set[int] = set()
        for place, node in enumerate(column):
            owner = owners[node["id"]]
            if owner is not None and owner not in begun:
                begun.add(owner)
                first.setdefault(owner, []).append((column, place))
    for places in first.values():
        top = max(column[place]["pos"][1] for column, place in places)
        for column, place in places:
            down = top - column[place]["pos"][1]
            for node in column[place:]:
                node["pos"][1] += down


def _bottom(node: Json, tall: Mapping[str, int]) -> int:
    least = tall.get(node["type"], 0) - TITLE
    return round(node["pos"][1] + max(node["size"][1], least) + _GROWTH.get(node["type"], 0))


def _owner(node: Json, groups: list[Json]) -> int | None:
    """The group that the node lies in, or the nearest one above it that spans its left edge."""
    x, y = node["pos"]
    spanning = [
        (number, group["bounding"])
        for number, group in enumerate(groups)
        if group["bounding"][0] <= x < group["bounding"][0] + group["bounding"][2]
    ]
    inside = [number for number, (_, top, _, height) in spanning if top <= y <= top + height]
    above = [(top, number) for number, (_, top, _, _) in spanning if top <= y]
    return inside[0] if inside else max(above)[1] if above else None


def _around(nodes: list[Json], tall: Mapping[str, int]) -> list[int]:
    left, top = (min(node["pos"][axis] for node in nodes) for axis in (0, 1))
    right, bottom = max(node["pos"][0] + node["size"][0] for node in nodes), max(_bottom(node, tall) for node in nodes)
    return [left - _PADDING, top - _HEADING, right - left + 2 * _PADDING, bottom - top + _HEADING + _PADDING]


def measure() -> dict[str, int]:
    """The least heights of all node types in the shipped graphs, as Nodes 2.0 draws them."""
    from playwright.sync_api import sync_playwright

    settings = {"Comfy.TutorialCompleted": True, "Comfy.VueNodes.Enabled": True}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        stored = Path(folder) / "user" / "default" / "comfy.settings.json"
        stored.parent.mkdir(parents=True)
        stored.write_text(json.dumps(settings), encoding="utf-8")
        with Server(find_host(), base=Path(folder)) as server:
            browser = playwright.chromium.launch(
                executable_path=find_chromium(), args=["--no-sandbox", "--disable-gpu"]
            )
            page = browser.new_page(viewport={"width": 1920, "height": 1080})
            page.goto(server.url)
            page.wait_for_function(_READY, timeout=120_000)
            found: dict[str, int] = {}
            for path in sorted(WORKFLOWS.glob("*.json")):
                for kind, height in _drawn(page, json.loads(path.read_text(encoding="utf-8"))):
                    found[kind] = max(found.get(kind, 0), round(height))
            browser.close()
    return dict(sorted(found.items()))


def _drawn(page: Any, workflow: Json) -> list[tuple[str, float]]:
    """Node types and their heights, where no node asks for more than it needs."""
    workflow["nodes"] = [node | {"size": [node["size"][0], 10]} for node in workflow["nodes"]]
    page.evaluate("async w => { await app.loadGraphData(w, true, false) }", workflow)
    page.evaluate("() => app.extensionManager.command.execute('Comfy.Canvas.FitView')")
    page.wait_for_timeout(1000)
    return [(kind, height) for kind, height in page.evaluate(_SHOWN) if kind != "MarkdownNote" and "-" not in kind]


def main() -> int:
    HEIGHTS.write_text(json.dumps(measure(), indent=1) + "\n", encoding="utf-8")
    print(HEIGHTS)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The templates as a newcomer meets them: their order, their layout, what is missing, and all of it in Chinese."""

from __future__ import annotations

import itertools
import json
from contextlib import contextmanager

import pytest
from devkit.layout import WORKFLOWS

from .conftest import READY

ONE_BOX = ("Try it now - X2Edit", "Try it now - ICEdit", "Image Edit (X2Edit)", "Image Edit (ICEdit)",
           "Only here (X2Edit)", "Only here (ICEdit)")  # fmt: skip
FIRST = (*ONE_BOX[:2], "Try it now - Training", *ONE_BOX[2:])
TITLE_HEIGHT = 30
# Where nodes are: on the canvas in the graph's own units, in Nodes 2.0 as the page lays them out.
ON_CANVAS = f"""() => app.graph.nodes.map(n => {{
    const title = {TITLE_HEIGHT}
    return [n.title, n.pos[0], n.pos[1] - title, n.size[0], n.size[1] + title]
}})"""
IN_PAGE = """() => [...document.querySelectorAll('[data-node-id]')].map(e => {
    const r = e.getBoundingClientRect()
    return [e.innerText.split('\\n')[0], r.left, r.top, r.width, r.height]
})"""


def load(name):
    return json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))


def overlapping(boxes, slack=2):
    """Pairs of rectangles (name, left, top, width, height) that cover each other."""
    found = []
    for one, other in itertools.combinations(boxes, 2):
        across = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
        down = min(one[2] + one[4], other[2] + other[4]) - max(one[2], other[2])
        if across > slack and down > slack:
            found.append((one[0], other[0]))
    return found


def test_overlaps_are_found():
    assert overlapping([("a", 0, 0, 10, 10), ("b", 5, 5, 10, 10), ("c", 20, 0, 5, 5)]) == [("a", "b")]


@pytest.mark.parametrize("nodes2", [False, True], ids=["classic", "nodes2"])
def test_nodes_of_a_template_do_not_cover_each_other(page, nodes2):
    page.evaluate("on => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)", nodes2)
    try:
        page.raw.wait_for_timeout(1000)
        for path in sorted(WORKFLOWS.glob("*.json")):
            page.load(load(path.stem))
            page.evaluate("() => app.extensionManager.command.execute('Comfy.Canvas.FitView')")
            page.raw.wait_for_timeout(700)
            boxes = page.evaluate(IN_PAGE if nodes2 else ON_CANVAS)
            assert len(boxes) >= 6 and overlapping(boxes) == [], path.stem
            page.screenshot(f"{path.stem} ({'Nodes 2.0' if nodes2 else 'classic'})")
    finally:
        page.evaluate("() => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', false)")


def test_what_can_be_tried_at_once_comes_first(page):
    offered = page.evaluate("async () => (await window.comfyAPI.api.api.getWorkflowTemplates()).x2edit")
    assert offered[:7] == list(FIRST)
    assert sorted(offered) == sorted(path.stem for path in WORKFLOWS.glob("*.json"))


def test_an_older_graph_gets_the_files_name_of_its_adapter(page):
    """The loader listed the folder once; a graph saved then shows the file now."""
    graph = load("X2Edit (all nodes)")
    (loader,) = (node for node in graph["nodes"] if node["type"] == "X2EditAdapterLoader")
    loader["widgets_values"] = ["X2Edit"]
    page.load(graph)
    value = page.evaluate("() => app.graph.nodes.find(n => n.type === 'X2EditAdapterLoader').widgets[0].value")
    assert value == "X2Edit/lora.safetensors"


def test_the_blueprints_are_found_beside_cores(page):
    names = page.evaluate("async () => Object.values(await (await fetch('/global_subgraphs')).json()).map(e => e.name)")
    assert {"Image Edit (X2Edit)", "Image Edit (ICEdit)"} <= {name for name in names if name.startswith("Image Edit (")}


@pytest.mark.parametrize(
    ("word", "wanted"),
    [("编辑", {"Apply X2Edit Adapter", "X2Edit Reference", "ICEdit Diptych"}), ("训练", {"Train X2Edit Adapter"}),
     ("edit image", {"Image Edit (X2Edit)", "Image Edit (ICEdit)"})],
)  # fmt: skip
def test_a_search_in_either_language_finds_our_nodes(page, word, wanted):
    page.load({"nodes": [], "links": [], "groups": [], "version": 0.4, "last_node_id": 0, "last_link_id": 0})
    page.raw.mouse.dblclick(900, 600)
    page.raw.wait_for_timeout(800)
    page.raw.keyboard.type(word)
    page.raw.wait_for_timeout(1000)
    found = page.evaluate(
        "() => [...document.querySelectorAll('li, [role=option]')].map(e => e.innerText.split('\\n')[0])"
    )
    for _ in range(2):
        page.raw.keyboard.press("Escape")
    assert wanted <= set(found)


@contextmanager
def chinese(page, browser):
    """Another window of the same host, in Chinese."""
    page.evaluate("async () => { await app.extensionManager.setting.set('Comfy.Locale', 'zh') }")
    page.raw.wait_for_timeout(500)
    context = browser.new_context(viewport={"width": 1600, "height": 1000})
    try:
        window = context.new_page()
        window.goto(page.server.url, wait_until="load")
        window.wait_for_function(READY, timeout=120_000)
        window.wait_for_timeout(1500)
        yield window
    finally:
        context.close()
        page.evaluate("async () => { await app.extensionManager.setting.set('Comfy.Locale', 'en') }")
        page.raw.wait_for_timeout(500)


def test_titles_notes_and_choices_are_chinese_and_stored_values_stay(page, browser):
    with chinese(page, browser) as window:
        offered = window.evaluate("async () => (await window.comfyAPI.api.api.getWorkflowTemplates()).x2edit")
        assert offered[0] == "立即试用 - X2Edit"
        address = window.evaluate(
            "() => window.comfyAPI.api.api.apiURL('/workflow_templates/x2edit/立即试用 - X2Edit.json')"
        )
        assert window.evaluate("async a => (await fetch(a)).status", address) == 200
        window.evaluate("async w => { await app.loadGraphData(w, true, false) }", load("X2Edit (all nodes)"))
        window.wait_for_timeout(500)
        groups = window.evaluate("() => app.graph.groups.map(g => g.title)")
        assert groups and all(any("\u4e00" <= letter <= "\u9fff" for letter in title) for title in groups)
        window.evaluate("async w => { await app.loadGraphData(w, true, false) }", load("Try it now - X2Edit"))
        window.wait_for_timeout(500)
        note = window.evaluate("() => app.graph.nodes.find(n => n.type === 'MarkdownNote').widgets[0].value")
        assert note.startswith("## 点击“运行”")
        label, value = window.evaluate(
            """() => {
                const widget = app.graph.nodes.find(n => n.type === 'X2EditDemoScene').widgets.find(w => w.name === 'task')
                return [widget.options.getOptionLabel(widget.value), widget.value]
            }"""
        )
        assert (label, value) == ("色调", "tone")

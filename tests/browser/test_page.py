"""The pack in the host's page, with classic and with new node rendering: no new error, no red node."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from devkit.layout import WORKFLOWS

SHIPPED = sorted(WORKFLOWS.glob("*.json"))


@pytest.fixture(scope="module")
def our_types(page):
    info = page.server.object_info()
    return sorted(key for key, entry in info.items() if entry["python_module"].startswith("custom_nodes."))


@pytest.fixture(params=[False, True], ids=["classic", "nodes2"])
def rendering(page, request):
    page.evaluate("on => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)", request.param)
    page.raw.wait_for_timeout(200)
    yield request.param
    page.evaluate("() => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', false)")


def _name(rendering):
    return "nodes2" if rendering else "classic"


def red_nodes(page):
    """Nodes that the page could not build or that it marks as faulty."""
    return page.evaluate(
        """() => (app.rootGraph ?? app.graph).nodes
            .filter(n => n.has_errors || !(n.type in LiteGraph.registered_node_types))
            .map(n => `${n.id}: ${n.type}`)"""
    )


def test_page_with_the_pack_logs_no_new_error(page, baseline_errors):
    assert set(page.errors) <= baseline_errors


def test_every_node_can_be_added(page, our_types, baseline_errors, rendering):
    assert our_types
    page.evaluate(
        """types => {
            app.graph.clear();
            types.forEach((type, i) => {
                const node = LiteGraph.createNode(type);
                node.pos = [300 * (i % 5), 400 * Math.floor(i / 5)];
                app.graph.add(node);
            });
        }""",
        our_types,
    )
    page.raw.wait_for_timeout(500)
    page.screenshot(f"nodes_{_name(rendering)}")
    assert page.evaluate("() => app.graph.nodes.length") == len(our_types)
    assert red_nodes(page) == []
    assert set(page.errors) <= baseline_errors


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_workflow_opens_without_a_red_node(page, path, baseline_errors, rendering):
    workflow = json.loads(path.read_text(encoding="utf-8"))
    page.load(workflow)
    page.screenshot(f"template_{path.stem}_{_name(rendering)}")
    assert page.evaluate("() => (app.rootGraph ?? app.graph).nodes.length") == len(workflow["nodes"])
    assert red_nodes(page) == []
    assert set(page.errors) <= baseline_errors


def test_workflows_are_offered_as_templates(page):
    offered = page.server.get_json("/api/workflow_templates")
    assert sorted(offered.get("x2edit", [])) == [path.stem for path in SHIPPED]
    for path in SHIPPED:
        served = page.server.get_json(f"/api/workflow_templates/x2edit/{quote(path.name)}")
        assert served == json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_template_is_opened_from_the_template_browser(page, path, baseline_errors):
    """As a person does: the dialog, this pack's entry in it, a card."""
    workflow = json.loads(path.read_text(encoding="utf-8"))
    page.load({"nodes": [], "links": [], "version": 0.4})
    page.evaluate("() => { app.extensionManager.command.execute('Comfy.BrowseTemplates') }")
    page.raw.locator("nav").get_by_text("x2edit", exact=True).last.click()
    card = page.raw.locator(f"[data-testid='template-workflow-{path.stem}']")
    card.scroll_into_view_if_needed()
    page.screenshot("template_browser")
    card.click()
    page.raw.wait_for_function(
        "count => (app.rootGraph ?? app.graph).nodes.length === count", arg=len(workflow["nodes"]), timeout=30_000
    )
    assert red_nodes(page) == []
    assert set(page.errors) <= baseline_errors

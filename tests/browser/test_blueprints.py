"""The subgraph blueprints in the real page: one box, its widgets with the values of the template, sent as we send it."""

from __future__ import annotations

import json

import pytest
from devkit.blueprints import BLUEPRINTS, path_of

from x2edit_core.workflow.graph import to_api


@pytest.mark.parametrize("blueprint", BLUEPRINTS, ids=lambda blueprint: blueprint.name)
def test_box_opens_with_its_widgets_and_sends_what_we_send(page, baseline_errors, blueprint):
    workflow = json.loads(path_of(blueprint).read_text(encoding="utf-8"))
    (box,) = workflow["nodes"]
    page.load(workflow)
    shown = page.evaluate(
        "() => app.graph.nodes.map(n => [n.title, n.inputs.map(i => i.name), n.outputs.map(o => o.name)])"
    )
    assert shown == [[box["title"], *([slot["name"] for slot in box[side]] for side in ("inputs", "outputs"))]]
    widgets = [slot["name"] for slot in box["inputs"] if "widget" in slot]
    values = page.evaluate("() => Object.fromEntries(app.graph.nodes[0].widgets.map(w => [w.name, w.value]))")
    assert {name: values.get(name) for name in widgets} == dict(zip(widgets, box["widgets_values"], strict=True))
    sent, ours = page.prompt(), to_api(workflow, page.server.object_info())
    for prompt in (sent, ours):
        for node in prompt.values():
            node.pop("_meta", None)
    assert sent == ours
    assert set(page.errors) <= baseline_errors

"""A template on the embedded models, queued from the page as a person does: the edited picture appears in it."""

from __future__ import annotations

import json

import pytest
from devkit.layout import WORKFLOWS
from devkit.replace import with_demo_models, with_picture

from x2edit_core.workflow.graph import to_api

# Classic rendering loads a node's pictures when it draws the node.
ON_CANVAS = """() => {
    const node = app.graph.nodes.find(n => n.type === 'SaveImage');
    return node?.imgs?.some(picture => picture.complete && picture.naturalWidth > 0);
}"""
IN_NODE = """() => [...document.querySelectorAll('img')].some(
    picture => picture.src.includes('type=output') && picture.complete && picture.naturalWidth > 0)"""


@pytest.mark.parametrize(("nodes2", "shown"), [(False, ON_CANVAS), (True, IN_NODE)], ids=["classic", "nodes2"])
def test_a_queued_template_shows_its_picture(page, tmp_path, baseline_errors, nodes2, shown):
    from devkit.pictures import draw_source

    page.evaluate("on => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)", nodes2)
    try:
        draw_source(tmp_path / f"source_{nodes2}.png")
        picture = page.server.upload_image(tmp_path / f"source_{nodes2}.png")
        saved = json.loads((WORKFLOWS / "X2Edit (all nodes).json").read_text(encoding="utf-8"))
        prompt = with_picture(with_demo_models(to_api(saved, page.server.object_info())), picture)
        for node in prompt.values():
            node["inputs"].update({name: value for name, value in (("steps", 4),) if name in node["inputs"]})
        page.evaluate("async prompt => { app.graph.clear(); await app.loadApiJson(prompt, 'edit') }", prompt)
        page.evaluate("() => app.canvas.centerOnNode(app.graph.nodes.find(n => n.type === 'SaveImage'))")
        page.evaluate("async () => { await app.queuePrompt(0) }")
        page.raw.wait_for_function(shown, timeout=120_000)
        page.screenshot(f"queued_{'nodes2' if nodes2 else 'classic'}")
    finally:
        page.evaluate("() => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', false)")
    assert set(page.errors) <= baseline_errors

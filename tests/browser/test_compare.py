"""The slider in the page: both renderings, keys, a batch, inside a box, and after a finished run is opened again."""

from __future__ import annotations

import json

import pytest
from devkit.layout import WORKFLOWS

# Of the graph that is open: an earlier one's may still be in the page.
SHOWN = """() => {
    const node = app.graph.nodes.find(n => n.type === 'X2EditCompare')
    const element = node?.widgets?.find(w => w.name === 'comparison')?.element
    document.querySelectorAll('#compared').forEach(e => { if (e !== element) e.removeAttribute('id') })
    if (element) element.id = 'compared'
    return element?.isConnected && [...element.querySelectorAll('img')].filter(i => i.naturalWidth > 0).length >= 2
}"""


@pytest.fixture(params=[False, True], ids=["classic", "nodes2"])
def rendering(page, request):
    page.evaluate("on => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)", request.param)
    page.raw.wait_for_timeout(1500)  # the page builds its nodes anew
    yield "nodes2" if request.param else "classic"
    page.evaluate("() => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', false)")


def scenes(seed, after=0):
    """Scenes compared with their answers, without a model."""
    return {
        "1": {"class_type": "X2EditDemoScene", "inputs": {"task": "tone", "seed": seed}},
        "2": {"class_type": "RepeatImageBatch", "inputs": {"image": ["1", 2], "amount": 2}},
        "3": {"class_type": "X2EditCompare", "inputs": {"before": ["1", 0], "after": ["2", after], "target": ["1", 2]}},
    }


def run(page, prompt, seed):
    page.evaluate("async p => { app.graph.clear(); await app.loadApiJson(p, 'compare') }", prompt)
    page.load(page.evaluate("() => app.graph.serialize()"))  # as a saved graph is opened
    page.evaluate(
        """() => app.graph.nodes.flatMap(n => n.widgets ?? []).forEach(w => {
            if (w.name === 'control_after_generate') w.value = 'fixed'
        })"""
    )
    page.evaluate("() => app.canvas.centerOnNode(app.graph.nodes.find(n => n.type === 'X2EditCompare'))")
    page.evaluate("async () => { await app.queuePrompt(0) }")
    page.raw.wait_for_function(SHOWN, timeout=120_000)


def share(page):
    return page.raw.locator("#compared .x2edit-stage").get_attribute("aria-valuenow")


def test_the_line_follows_pointer_and_keys(page, baseline_errors, rendering):
    run(page, scenes(11), 11)
    stage = page.raw.locator("#compared .x2edit-stage")
    box = stage.bounding_box()
    before = page.evaluate("() => [...app.graph.nodes.find(n => n.type === 'X2EditCompare').pos]")
    page.raw.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.raw.mouse.down()
    page.raw.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + box["height"] / 2, steps=4)
    page.raw.mouse.up()
    assert abs(int(share(page)) - 25) <= 1
    assert page.evaluate("() => [...app.graph.nodes.find(n => n.type === 'X2EditCompare').pos]") == before
    page.raw.keyboard.press("Home")
    assert share(page) == "0"
    page.raw.keyboard.press("ArrowRight")
    assert share(page) == "2"
    page.raw.keyboard.press("t")
    assert page.raw.locator("#compared .x2edit-tag").nth(1).inner_text() == "Target"
    page.raw.keyboard.press("PageDown")
    assert page.raw.locator("#compared .x2edit-bar span").first.inner_text() == "2 / 2"
    page.screenshot(f"compare_{rendering}")
    assert set(page.errors) <= baseline_errors


def test_the_line_follows_a_finger(page, rendering):
    run(page, scenes(12), 12)
    page.evaluate(
        """() => {
            const stage = document.querySelector('#compared .x2edit-stage'), box = stage.getBoundingClientRect()
            const at = (type, share) => stage.dispatchEvent(new PointerEvent(type, {
                pointerId: 7, pointerType: 'touch', button: 0, bubbles: true,
                clientX: box.left + share * box.width, clientY: box.top + 5 }))
            stage.setPointerCapture = () => {}
            stage.hasPointerCapture = () => true
            at('pointerdown', 0.5); at('pointermove', 0.75)
        }"""
    )
    assert abs(int(share(page)) - 75) <= 1


def test_a_finished_run_opened_again_shows_its_pictures(page, rendering):
    run(page, scenes(13), 13)
    page.evaluate(
        """async () => {
            const outputs = structuredClone(app.nodeOutputs), graph = app.graph.serialize()
            await app.loadGraphData({nodes: [], links: [], version: 0.4}, true, false)
            await app.loadGraphData(graph, true, false)
            app.nodeOutputs = outputs
        }"""
    )
    page.raw.wait_for_function(SHOWN, timeout=20_000)


@pytest.mark.parametrize("name", ["Try it now - X2Edit"])
def test_a_template_to_try_runs_on_the_first_click(page, baseline_errors, rendering, name):
    workflow = json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))
    page.load(workflow)
    page.raw.get_by_test_id("queue-button").first.click()
    page.raw.wait_for_function(SHOWN, timeout=120_000)
    page.screenshot(f"try_it_now_{rendering}")
    assert set(page.errors) <= baseline_errors

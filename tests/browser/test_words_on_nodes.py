"""Every warning reaches its node in the real page, in both renderings, as text and never as markup."""

from __future__ import annotations

import pytest

from ..core.chat_server import Reply, serving

MARKUP = '<img src=x onerror=window.hacked=1> <b>bold</b> http://a.example/"onmouseover="window.hacked=1'


@pytest.fixture
def judge():
    """A language model that refuses, in words that are markup."""
    with serving() as server:
        server.script = [Reply({"error": {"message": MARKUP}}, 400)]
        yield server


@pytest.fixture(params=[False, True], ids=["classic", "nodes2"])
def nodes2(page, request):
    page.raw.keyboard.press("Escape")
    page.evaluate("on => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)", request.param)
    yield request.param
    page.evaluate("() => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', false)")


def graph(address, seed):
    """A run with a warning of each kind: on a node of ours, from within the host's sampler, of a server, and two reports.

    Each node differs by `seed`, as one that the host has kept says nothing again.
    """
    node = lambda kind, **inputs: {"class_type": kind, "inputs": inputs}  # noqa: E731
    sampling = {"seed": seed, "steps": 1, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    return {
        "1": node("X2EditDemoModels", base="x2edit"),
        "2": node("CLIPTextEncode", clip=["1", 1], text="make it red"),
        "3": node("EmptyImage", width=64, height=64, batch_size=1, color=99),
        "4": node("VAEEncode", pixels=["3", 0], vae=["1", 2]),
        "5": node("ReferenceLatent", conditioning=["2", 0], latent=["4", 0]),
        "6": node("X2EditAdapterLoader", adapter_name="embedded: x2edit"),
        "7": node("X2EditApply", model=["1", 0], adapter=["6", 0], strength=1.0 - seed / 1000),
        "8": node("KSampler", model=["7", 0], positive=["5", 0], negative=["5", 0], latent_image=["4", 0], **sampling),
        "9": node("VAEDecode", samples=["8", 0], vae=["1", 2]),
        "10": node("PreviewImage", images=["9", 0]),
        "11": node("X2EditChatFromEndpoint", base_url=address, model="m", attempts=1),
        "12": node("X2EditClassify", instruction="make the car red", chat=["11", 0], minimum_confidence=seed / 100),
        "13": node("PreviewAny", source=["12", 1]),
        "14": node("X2EditScore", source=["3", 0], image=["9", 0], metric="auto"),
        "15": node("PreviewAny", source=["14", 1]),
    }


WORDS = """id => {
    const node = app.graph.nodes.find(node => node.id == id);
    return node.widgets?.find(widget => widget.name === '$$node-text-preview')?.value ?? '';
}"""
EXPECTED = {
    "X2EditApply": ["no task is connected"],
    "KSampler": ["reference latents that were set by another node"],
    "X2EditClassify": ["did not answer", "‹img src=x onerror=window.hacked=1› ‹b›bold‹/b›", "color"],
    "X2EditScore": ["l1"],
}


def test_every_warning_reaches_its_node_as_text(page, judge, baseline_errors, nodes2):
    page.evaluate(
        "async prompt => { app.graph.clear(); await app.loadApiJson(prompt, 'words') }",
        graph(judge.address, 5 + nodes2),
    )
    page.evaluate("async () => { await app.queuePrompt(0) }")
    ids = {name: page.evaluate("type => app.graph.nodes.find(n => n.type === type).id", name) for name in EXPECTED}
    page.raw.wait_for_function(f"() => ({WORDS})('{ids['X2EditScore']}')", timeout=120_000)
    for name, parts in EXPECTED.items():
        shown = page.evaluate(WORDS, ids[name])
        for part in parts:
            assert part.lower() in shown.lower(), (name, shown)
        assert "<" not in shown and ">" not in shown
        page.evaluate("id => app.canvas.centerOnNode(app.graph.nodes.find(n => n.id == id))", ids[name])
        page.raw.wait_for_timeout(300)
        assert visible(page, ids[name], parts[0], nodes2), name
    page.screenshot(f"words_{'nodes2' if nodes2 else 'classic'}")
    assert page.evaluate("() => window.hacked") is None
    assert page.evaluate("() => document.querySelector('img[src=\"x\"]')") is None
    assert set(page.errors) <= baseline_errors


def visible(page, node_id, words, nodes2):
    """Whether the words stand on the screen: in an element of the page, inside the node's own where it has one."""
    return page.evaluate(
        """([id, words, nodes2]) => {
            const inside = nodes2 ? document.querySelector(`[data-node-id="${id}"]`) : document.body;
            const fields = [...(inside?.querySelectorAll('textarea') ?? [])].filter(field => field.offsetHeight > 0);
            const texts = [inside?.innerText ?? '', ...fields.map(field => field.value)];
            return texts.some(text => text.toLowerCase().includes(words.toLowerCase()));
        }""",
        [node_id, words, nodes2],
    )

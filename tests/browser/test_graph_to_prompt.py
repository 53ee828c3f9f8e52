"""Our conversion of saved workflows equals the page's own, on graphs that the page itself builds and saves."""

from __future__ import annotations

import json

import pytest
from devkit.layout import WORKFLOWS

from x2edit_core.workflow.graph import to_api

SHIPPED = sorted(WORKFLOWS.glob("*.json"))

# Each script builds a graph with the page's own functions. `add(type, values, mode)` creates a node.
PRELUDE = """
app.graph.clear();
const add = (type, values = {}, mode = 0) => {
  const node = LiteGraph.createNode(type);
  app.graph.add(node);
  node.mode = mode;
  for (const [name, value] of Object.entries(values)) node.widgets.find(w => w.name === name).value = value;
  return node;
};
const into = (from, output, to, name) => from.connect(output, to, to.inputs.findIndex(i => i.name === name));
"""

GRAPHS = {
    "sampler with a seed control": """
        const model = add('UNETLoader'), text = add('CLIPTextEncode', {text: 'make it red // not this\\n{cat}'});
        const clip = add('DualCLIPLoader');
        const latent = add('EmptyLatentImage', {width: 128, height: 64});
        const sampler = add('KSampler', {seed: 12345, steps: 3, cfg: 1.5, denoise: 0.25});
        into(model, 0, sampler, 'model'); into(clip, 0, text, 'clip'); into(text, 0, sampler, 'positive');
        into(text, 0, sampler, 'negative'); into(latent, 0, sampler, 'latent_image');
        const control = sampler.widgets.find(w => w.name === 'control_after_generate'); control.value = 'fixed';
    """,
    "widget turned into an input": """
        const value = add('PrimitiveInt', {value: 7}), latent = add('EmptyLatentImage', {height: 256});
        into(value, 0, latent, 'width');
    """,
    "mute and bypass": """
        const image = add('EmptyImage', {width: 32}), off = add('ImageInvert', {}, 4), muted = add('ImageInvert', {}, 2);
        const saved = add('SaveImage'), second = add('SaveImage', {filename_prefix: 'b'}), third = add('SaveImage');
        into(image, 0, off, 'image'); into(off, 0, saved, 'images');
        into(image, 0, muted, 'image'); into(muted, 0, second, 'images');
        const blend = add('ImageBlend', {}, 4);
        into(image, 0, blend, 'image2'); into(blend, 0, third, 'images');
    """,
    "bypassed model chain": """
        const model = add('UNETLoader'), lora = add('LoraLoader', {strength_clip: 0.5}, 4), clip = add('CLIPLoader');
        const text = add('CLIPTextEncode'), shift = add('ModelSamplingFlux');
        into(model, 0, lora, 'model'); into(clip, 0, lora, 'clip');
        into(lora, 1, text, 'clip'); into(lora, 0, shift, 'model');
    """,
    "reroutes": """
        const image = add('EmptyImage'), first = add('Reroute'), second = add('Reroute'), saved = add('SaveImage');
        image.connect(0, first, 0); first.connect(0, second, 0); into(second, 0, saved, 'images');
        const loose = add('Reroute'), other = add('SaveImage', {filename_prefix: 'none'}); into(loose, 0, other, 'images');
    """,
    "primitives": """
        const latent = add('EmptyLatentImage'), second = add('EmptyLatentImage'), number = add('PrimitiveNode');
        into(number, 0, latent, 'width'); into(number, 0, second, 'height');
        number.widgets[0].value = 192;
        const text = add('CLIPTextEncode'), words = add('PrimitiveNode'); into(words, 0, text, 'text');
        words.widgets[0].value = 'from the primitive';
        const sampler = add('KSampler'), seed = add('PrimitiveNode'); into(seed, 0, sampler, 'seed');
        seed.widgets[0].value = 99;
    """,
    "notes and previews": """
        add('Note'); add('MarkdownNote'); const value = add('PrimitiveString', {value: 'x'});
        into(value, 0, add('PreviewAny'), 'source');
    """,
    "upload button and dynamic inputs": """
        const image = add('LoadImage'), saved = add('SaveImage'); into(image, 0, saved, 'images');
        const batch = add('BatchImagesNode');
        image.connect(0, batch, 0); image.connect(0, batch, 1);
        const resize = add('ResizeImageMaskNode'); image.connect(0, resize, 0);
        const choice = resize.widgets.find(w => w.type === 'combo'); choice.value = choice.options.values[1];
        resize.widgets.filter(w => w.type === 'number').forEach((w, i) => { w.value = 48 + 16 * i; });
    """,
    "subgraph": """
        const image = add('EmptyImage', {width: 48}), invert = add('ImageInvert'), scale = add('ImageScaleBy', {scale_by: 2});
        const saved = add('SaveImage');
        into(image, 0, invert, 'image'); into(invert, 0, scale, 'image'); into(scale, 0, saved, 'images');
        const made = app.graph.convertToSubgraph(new Set([invert, scale])).node;
        const copy = LiteGraph.createNode(made.type); if (copy) { app.graph.add(copy); image.connect(0, copy, 0); }
    """,
    "subgraph with a promoted widget": """
        const image = add('EmptyImage'), scale = add('ImageScaleBy', {scale_by: 3}), saved = add('SaveImage');
        const factor = add('PrimitiveFloat', {value: 2.5});
        into(image, 0, scale, 'image'); into(scale, 0, saved, 'images'); into(factor, 0, scale, 'scale_by');
        const made = app.graph.convertToSubgraph(new Set([scale])).node;
        const slot = made.inputs.findIndex(i => i.name === 'scale_by');
        made.disconnectInput(slot); app.graph.remove(factor);
        const widget = made.widgets.find(w => w.name === 'scale_by'); if (widget) widget.value = 1.75;
    """,
    "nested subgraph": """
        const image = add('EmptyImage'), one = add('ImageInvert'), two = add('ImageInvert'), saved = add('SaveImage');
        into(image, 0, one, 'image'); into(one, 0, two, 'image'); into(two, 0, saved, 'images');
        const inner = app.graph.convertToSubgraph(new Set([two])).node;
        app.graph.convertToSubgraph(new Set([one, inner]));
    """,
    "bypassed and muted subgraphs": """
        const image = add('EmptyImage'), one = add('ImageInvert'), two = add('ImageInvert'), saved = add('SaveImage');
        const third = add('ImageInvert'), other = add('SaveImage', {filename_prefix: 'other'});
        into(image, 0, one, 'image'); into(one, 0, two, 'image'); into(two, 0, saved, 'images');
        into(image, 0, third, 'image'); into(third, 0, other, 'images');
        app.graph.convertToSubgraph(new Set([one, two])).node.mode = 4;
        app.graph.convertToSubgraph(new Set([third])).node.mode = 2;
    """,
}


def _executed(prompt):
    """What the host executes of a prompt; titles are translated by the page and ignored by the host."""
    return {key: (node["class_type"], node["inputs"]) for key, node in prompt.items()}


@pytest.fixture(scope="module")
def object_info(page):
    return page.server.object_info()


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("form", ["arrays", "objects", "sent"])
def test_page_built_graph_converts_as_the_page_does(page, object_info, name, form):
    page.evaluate("async () => {" + PRELUDE + GRAPHS[name] + "}")
    saved = page.evaluate(
        """async form => {
            const graph = app.rootGraph ?? app.graph;
            if (form === 'sent') return JSON.stringify((await app.graphToPrompt()).workflow);
            return JSON.stringify(form === 'arrays' ? graph.serialize() : graph.asSerialisable());
        }""",
        form,
    )
    workflow = json.loads(saved)
    page.load(workflow)
    expected = page.prompt()
    assert expected, "the page's own conversion came out empty"
    assert _executed(to_api(workflow, object_info)) == _executed(expected)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_workflow_converts_as_the_page_does(page, object_info, path):
    workflow = json.loads(path.read_text(encoding="utf-8"))
    page.load(workflow)
    assert _executed(to_api(workflow, object_info)) == _executed(page.prompt())

"""Every shipped workflow, as it lies in the repository, runs to a picture in the real host with the embedded models."""

from __future__ import annotations

import json

import pytest
from devkit.layout import WORKFLOWS
from devkit.replace import REPLACEMENTS, with_demo_models, with_picture

from x2edit_core.miniature import EMBEDDED
from x2edit_core.workflow.graph import to_api

SHIPPED = sorted(WORKFLOWS.glob("*.json"))
_OUR_LOADERS = {"X2EditAdapterLoader", "X2EditAlignNetLoader", "X2EditImageAdapterLoader", "CLIPVisionLoader"}
NEEDS = {"ICEdit without adapter (all nodes)": "attention patches"}


def _with_needs(path):
    marks = [pytest.mark.needs(NEEDS[path.stem])] if path.stem in NEEDS else []
    return pytest.param(path, id=path.stem, marks=marks)


@pytest.fixture(scope="module")
def object_info(server):
    return server.object_info()


@pytest.fixture(scope="module")
def source(server, tmp_path_factory):
    from devkit.pictures import draw_source

    path = tmp_path_factory.mktemp("pictures") / "source.png"
    draw_source(path)
    return server.upload_image(path)


@pytest.mark.parametrize("path", [_with_needs(path) for path in SHIPPED])
def test_shipped_workflow_runs_to_a_picture(server, object_info, source, path, tmp_path):
    from PIL import Image

    prompt = to_api(json.loads(path.read_text(encoding="utf-8")), object_info)
    result = server.run(with_picture(with_demo_models(prompt), source))
    assert result.images
    for _, content in result.images:
        (tmp_path / "image.png").write_bytes(content)
        assert len(Image.open(tmp_path / "image.png").convert("RGB").getcolors(1 << 24)) > 1, "a flat picture"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_workflow_uses_only_core_nodes_and_ours(object_info, path):
    prompt = to_api(json.loads(path.read_text(encoding="utf-8")), object_info)
    modules = {object_info[node["class_type"]]["python_module"] for node in prompt.values()}
    assert all(m == "nodes" or m.startswith("comfy_extras.") or m == "custom_nodes.x2edit" for m in modules), modules


def _every_node(workflow):
    """Nodes of a workflow, those in its boxes included."""
    inside = workflow.get("definitions", {}).get("subgraphs", [])
    return [*workflow["nodes"], *(node for box in inside for node in box["nodes"])]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_workflow_says_where_its_models_come_from(path):
    """The page's missing-model dialog reads `properties.models`: an entry for each file, and none beside."""
    workflow = json.loads(path.read_text(encoding="utf-8"))
    loaders = [node for node in _every_node(workflow) if node["type"] in {*REPLACEMENTS, *_OUR_LOADERS}]
    if path.stem.startswith("Try it now"):
        assert {value for node in loaders for value in node["widgets_values"]} <= EMBEDDED.keys()
        return
    assert any(node["type"] in REPLACEMENTS for node in loaders), "a workflow starts from the person's own models"
    for node in loaders:
        entries = node["properties"].get("models", [])
        files = {value for value in node["widgets_values"] if str(value).endswith((".safetensors", ".bin"))}
        assert {entry["name"] for entry in entries} == files
        assert files or node["widgets_values"] == ["X2Edit"], "a loader names a file, or X2Edit's folder"
        assert all(entry["url"].startswith("https://") and entry["directory"] for entry in entries)
        if not files:
            notes = [note["widgets_values"][0] for note in workflow["nodes"] if note["type"] == "MarkdownNote"]
            assert any("OPPOer/X2Edit" in note for note in notes)


def test_replaced_loaders_leave_no_trace(object_info):
    for path in SHIPPED:
        prompt = with_demo_models(to_api(json.loads(path.read_text(encoding="utf-8")), object_info))
        assert not {node["class_type"] for node in prompt.values()} & set(REPLACEMENTS)


def test_demo_node_has_the_outputs_that_the_table_counts_on(object_info):
    assert object_info["X2EditDemoModels"]["output"] == ["MODEL", "CLIP", "VAE"]
    for kind, places in REPLACEMENTS.items():
        assert len(places) == len(object_info[kind]["output"]), kind
        for place, output in zip(places, object_info[kind]["output"], strict=True):
            if isinstance(place, str):
                assert object_info[kind]["input"]["required"][place][0] == output
            else:
                assert object_info["X2EditDemoModels"]["output"][place] == output

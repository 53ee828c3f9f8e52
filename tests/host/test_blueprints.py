"""The subgraph blueprints: up to date with their templates, offered by the host, and each runs to a picture as one box."""

from __future__ import annotations

import json

import pytest
from devkit.blueprints import BLUEPRINTS, FOLDER, path_of, text_of
from devkit.replace import with_demo_models, with_picture

from x2edit_core.workflow.graph import to_api

IDS = [blueprint.name for blueprint in BLUEPRINTS]


def test_folder_holds_the_blueprints_and_nothing_else():
    assert sorted(path.stem for path in FOLDER.iterdir()) == sorted(IDS)


@pytest.mark.parametrize("blueprint", BLUEPRINTS, ids=IDS)
def test_file_is_what_its_template_makes(blueprint):
    assert path_of(blueprint).read_text(encoding="utf-8") == text_of(blueprint), (
        "run: python tools/devkit/blueprints.py"
    )


def test_host_offers_them_as_ours(server):
    offered = server.get_json("/global_subgraphs")
    ours = {key: entry for key, entry in offered.items() if entry["info"]["node_pack"] == "custom_nodes.x2edit"}
    assert sorted(entry["name"] for entry in ours.values()) == sorted(IDS)
    for key, entry in ours.items():
        data = server.get_json(f"/global_subgraphs/{key}")["data"]
        assert data == (FOLDER / f"{entry['name']}.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("blueprint", BLUEPRINTS, ids=IDS)
def test_one_box_runs_to_a_picture(server, tmp_path, blueprint):
    """The box between a picture and a save, its widgets at values of their own, executed with the embedded models."""
    from devkit.pictures import draw_source

    workflow = json.loads(path_of(blueprint).read_text(encoding="utf-8"))
    (box,) = workflow["nodes"]
    names = [slot["name"] for slot in box["inputs"]]
    widgets = [slot["name"] for slot in box["inputs"] if "widget" in slot]
    assert len(names) <= 12 and {"image", "instruction", "seed"} <= set(names)
    box["widgets_values"][widgets.index("seed")] = 12345
    box["widgets_values"][widgets.index("instruction")] = "add a blue star"
    box["inputs"][names.index("image")]["link"] = 1
    result = next(index for index, slot in enumerate(box["outputs"]) if slot["name"] == "image")
    box["outputs"][result]["links"] = [2]
    workflow["nodes"] += [
        {"id": 102, "type": "LoadImage", "inputs": [], "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [1]}],
         "widgets_values": ["example.png", "image"], "properties": {}},
        {"id": 103, "type": "SaveImage", "inputs": [{"name": "images", "type": "IMAGE", "link": 2}], "outputs": [],
         "widgets_values": ["box"], "properties": {}},
    ]  # fmt: skip
    workflow["links"] = [
        [1, 102, 0, box["id"], names.index("image"), "IMAGE"],
        [2, box["id"], result, 103, 0, "IMAGE"],
    ]
    prompt = to_api(workflow, server.object_info())
    values = [value for node in prompt.values() for value in node["inputs"].values()]
    assert 12345 in values and "add a blue star" in values
    draw_source(tmp_path / "box.png")
    picture = server.upload_image(tmp_path / "box.png")
    assert len(server.run(with_picture(with_demo_models(prompt), picture)).images) == 1

"""When a changed schema breaks saved graphs, and when it only grows."""

from __future__ import annotations

import copy

import pytest
from devkit.records import breaks, contract, english

INFO = {
    "Edit": {
        "input": {
            "required": {
                "model": ["MODEL", {"tooltip": "A model."}],
                "size": ["COMBO", {"tooltip": "A size.", "options": ["small", "large"], "multiselect": False}],
                "parts": [
                    "COMFY_AUTOGROW_V3",
                    {
                        "tooltip": "Parts.",
                        "template": {
                            "prefix": "part", "min": 1, "max": 9, "input": {"required": {"part": ["X", {"tooltip": "A part."}]}}
                        },
                    },
                ],
            },
            "optional": {
                "strength": ["FLOAT", {"tooltip": "How much.", "default": 1.0, "min": 0.0, "max": 2.0, "step": 0.1}],
                "file": ["COMBO", {"tooltip": "A file.", "options": ["mine.bin"]}],
            },
        },
        "output": ["IMAGE", "STRING"],
        "output_name": ["image", "report"],
        "output_tooltips": ["The picture.", "The report."],
        "display_name": "Edit It",
        "description": "Edits.",
    }
}  # fmt: skip


def changed(change):
    info = copy.deepcopy(INFO)
    change(info)
    return contract(info)


def test_contract_keeps_promises_and_nothing_from_a_disk():
    (node,) = contract(INFO).values()
    assert node["inputs"]["size"] == {"required": True, "type": "COMBO", "options": ["small", "large"]}
    assert node["inputs"]["file"] == {"required": False, "type": "COMBO"}
    assert node["inputs"]["parts"]["template"]["inputs"] == {"part": {"required": True, "type": "X"}}
    assert node["outputs"] == ["image: IMAGE", "report: STRING"]
    assert "tooltip" not in str(node) and "step" not in str(node)


@pytest.mark.parametrize(
    "grow",
    [
        lambda info: info.update(Other=INFO["Edit"]),
        lambda info: info["Edit"]["input"]["optional"].update(more=["INT", {"tooltip": "", "default": 0}]),
        lambda info: info["Edit"]["input"]["required"]["size"][1]["options"].append("huge"),
        lambda info: info["Edit"]["input"]["optional"]["strength"][1].update(max=4.0, min=-4.0),
        lambda info: (info["Edit"]["output"].append("MASK"), info["Edit"]["output_name"].append("mask")),
        lambda info: info["Edit"]["input"]["required"]["model"][1].update(tooltip="Another text."),
        lambda info: info["Edit"]["input"].update(
            optional={"parts": info["Edit"]["input"]["required"].pop("parts"), **info["Edit"]["input"]["optional"]}
        ),
    ],
)
def test_growth_breaks_nothing(grow):
    assert breaks(contract(INFO), changed(grow)) == []


@pytest.mark.parametrize(
    ("shrink", "said"),
    [
        (lambda info: info["Edit"]["input"]["required"].pop("model"), "input model is gone"),
        (lambda info: info["Edit"]["input"]["required"].update(x=["INT", {"tooltip": ""}]), "new input x is required"),
        (lambda info: info["Edit"]["input"]["required"]["model"].__setitem__(0, "CLIP"), "type was MODEL, is CLIP"),
        (lambda info: info["Edit"]["input"]["required"]["size"][1]["options"].remove("small"), "choices ['small']"),
        (lambda info: info["Edit"]["input"]["optional"]["strength"][1].update(max=1.0), "fewer values"),
        (lambda info: info["Edit"]["input"]["optional"]["strength"][1].update(min=0.5), "fewer values"),
        (lambda info: info["Edit"]["input"]["required"]["parts"][1]["template"].update(prefix="p"), "template was"),
        (
            lambda info: info["Edit"]["input"]["optional"].update(size=info["Edit"]["input"]["required"].pop("size")),
            "by position",
        ),
        (
            lambda info: info["Edit"]["input"].update(
                optional={"new": ["INT", {"tooltip": ""}], **info["Edit"]["input"]["optional"]}
            ),
            "by position",
        ),
        (
            lambda info: info["Edit"]["input"].update(
                optional=dict(reversed(list(info["Edit"]["input"]["optional"].items())))
            ),
            "by position",
        ),
        (lambda info: info["Edit"]["output"].reverse(), "outputs were"),
        (lambda info: info["Edit"].update(output=["IMAGE"], output_name=["image"]), "outputs were"),
        (
            lambda info: info["Edit"]["input"]["required"].update(
                strength=info["Edit"]["input"]["optional"].pop("strength")
            ),
            "was optional, is required",
        ),
    ],
)
def test_what_old_graphs_used_must_stay(shrink, said):
    (fault,) = breaks(contract(INFO), changed(shrink))
    assert fault.startswith("Edit: ") and said in fault


def test_a_vanished_node_needs_a_successor():
    without = changed(lambda info: info.pop("Edit"))
    assert "NodeReplace" in breaks(contract(INFO), without)[0]
    assert breaks(contract(INFO), without, replaced={"Edit": []}) == []


def test_a_new_limit_is_a_break_where_there_was_none():
    old = changed(lambda info: info["Edit"]["input"]["optional"]["strength"][1].pop("max"))
    assert breaks(old, contract(INFO)) == ["Edit: input strength: allows fewer values than before"]


def test_english_words_cover_names_and_tooltips():
    words = english(INFO)["Edit"]
    assert words["display_name"] == "Edit It"
    assert words["inputs"]["strength"] == {"name": "strength", "tooltip": "How much."}
    assert words["outputs"]["1"] == {"name": "report", "tooltip": "The report."}

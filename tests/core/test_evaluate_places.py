"""Where a graph takes a case: found where it is plain, asked for where it is not."""

from __future__ import annotations

import copy

import pytest

from x2edit_core.evaluate.places import PlaceError, Places, complete, filled, place_of
from x2edit_core.tasks import Task

GRAPH = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
    "2": {"class_type": "PrimitiveString", "inputs": {"value": "old"}},
    "3": {"class_type": "CLIPTextEncode", "inputs": {"text": ["2", 0], "clip": ["9", 0]}},
    "4": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["9", 0]}},
    "5": {"class_type": "X2EditTask", "inputs": {"task": "style", "second_task": "tone", "blend": 0.5}},
    "6": {"class_type": "KSampler", "inputs": {"seed": 1, "positive": ["3", 0], "negative": ["4", 0]}},
    "7": {"class_type": "X2EditEarlyFilter", "inputs": {"instruction": ["2", 0], "seed": ["6", 0]}},
    "8": {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "x"}},
    "10": {"class_type": "PreviewImage", "inputs": {"images": ["6", 0]}},
}
FOUND = Places((("1", "image"),), (("2", "value"),), (("5", "task"),), (("6", "seed"),), "8")


def graph_with(**nodes):
    return {**copy.deepcopy(GRAPH), **nodes}


def test_everything_is_found_where_there_is_one_place_for_it():
    assert complete(GRAPH, Places()) == FOUND


def test_what_is_named_is_taken():
    named = Places(instruction=(("4", "text"),), output="10")
    found = complete(GRAPH, named)
    assert (found.instruction, found.output, found.seed) == ((("4", "text"),), "10", FOUND.seed)


def test_a_case_fills_its_places_and_leaves_the_graph_alone():
    before = copy.deepcopy(GRAPH)
    made = filled(GRAPH, FOUND, "mine.png [temp]", "new", Task.REMOVE, 7)
    assert before == GRAPH
    assert made["1"]["inputs"]["image"] == "mine.png [temp]"
    assert made["2"]["inputs"]["value"] == "new"
    assert made["5"]["inputs"] == {"task": "remove subject", "second_task": "none", "blend": 0.5}
    assert made["6"]["inputs"]["seed"] == 7
    assert made["7"]["inputs"]["seed"] == ["6", 0], "a link stays a link"
    assert made["4"] == GRAPH["4"]
    assert "SaveImage" not in {node["class_type"] for node in made.values()}


@pytest.mark.parametrize(
    ("graph", "told"),
    [
        (graph_with(**{"11": GRAPH["1"]}), "One LoadImage node was expected, found: 1"),
        (graph_with(**{"11": GRAPH["8"]}), "One SaveImage node was expected, found: 8"),
        (graph_with(**{"11": {"class_type": "ICEditConditioning", "inputs": {"instruction": "other"}}}), "Which text"),
        ({"1": GRAPH["1"], "8": GRAPH["8"]}, "no text for the instruction"),
    ],
)
def test_a_graph_with_doubt_says_what_to_name(graph, told):
    with pytest.raises(PlaceError, match=told) as caught:
        complete(graph, Places())
    assert "places." in str(caught.value)


@pytest.mark.parametrize(
    ("named", "told"),
    [
        (Places(image=(("99", "image"),)), "no node '99'"),
        (Places(seed=(("6", "noise"),)), r"Node 6 \(KSampler\) has no input 'noise'"),
        (Places(output="6"), "must be a SaveImage"),
    ],
)
def test_a_place_that_is_not_there_is_told(named, told):
    with pytest.raises(PlaceError, match=told):
        complete(GRAPH, named)


def test_texts_that_say_the_same_are_one_instruction():
    same = {"class_type": "ICEditConditioning", "inputs": {"instruction": "old"}}
    assert complete(graph_with(**{"11": same}), Places()).instruction == (("2", "value"), ("11", "instruction"))


@pytest.mark.parametrize("reference", ["5", ".text", "5."])
def test_a_reference_is_a_node_and_an_input(reference):
    with pytest.raises(PlaceError, match=r"node\.input"):
        place_of(reference)
    assert place_of("3:5.text") == ("3:5", "text")


@pytest.mark.parametrize("length", [1, 2, 5])
def test_links_in_a_circle_are_told(length):
    circle = {
        f"c{index}": {"class_type": "PrimitiveString", "inputs": {"value": [f"c{(index + 1) % length}", 0]}}
        for index in range(length)
    }
    text = {"class_type": "CLIPTextEncode", "inputs": {"text": ["c0", 0]}}
    with pytest.raises(PlaceError, match=r"links into 3\.text go in a circle through node c0"):
        complete(graph_with(**circle, **{"3": text}), Places())


def test_a_link_to_a_node_that_is_not_there_is_told():
    text = {"class_type": "CLIPTextEncode", "inputs": {"text": ["99", 0]}}
    with pytest.raises(PlaceError, match="no node '99'"):
        complete(graph_with(**{"3": text}), Places())

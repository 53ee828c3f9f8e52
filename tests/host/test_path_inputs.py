"""Inputs of nodes that name files: what is listed can be chosen, whatever else a graph says opens nothing."""

from __future__ import annotations

import json

import pytest
from devkit.layout import REPO

LISTED = {
    ("X2EditAdapterLoader", "adapter_name"),
    ("X2EditAlignNetLoader", "file"),
    ("X2EditChatFromFolder", "folder"),
    ("X2EditScore", "encoder"),
    ("X2EditChatFromEndpoint", "endpoint"),
    ("X2EditImageAdapterLoader", "file"),
    ("X2EditImageAdapterLoader", "encoder_file"),
}
"""Choices of files or folders."""
LISTED_BY_THE_HOST = {"sampler", "scheduler"}
TYPED = {("X2EditTrain", "dataset"), ("X2EditTrain", "name"), ("X2EditTrain", "further")}
"""Free text; `test_train_node.py` says what is refused."""
ADDRESSES = {("X2EditChatFromEndpoint", "base_url")}
ESCAPES = ("../secret.safetensors", "sub/../../secret.safetensors", "/etc/passwd", "..", "C:\\secret", "a\0b", "")


def recorded_inputs():
    nodes = json.loads((REPO / "tests" / "data" / "object_info.json").read_text(encoding="utf-8"))
    return {(node, name): spec for node, found in nodes.items() for name, spec in found["inputs"].items()}


def test_every_input_that_names_a_file_is_known_here():
    """A choice whose options the record leaves out depends on the machine: on the host's lists, or on files."""
    found = {
        key
        for key, spec in recorded_inputs().items()
        if spec["type"] == "COMBO" and "options" not in spec and key[1] not in LISTED_BY_THE_HOST
    }
    assert found == LISTED
    words = ("path", "file", "folder", "dir", "dataset", "name", "url")
    named = {key for key, spec in recorded_inputs().items() if spec["type"] == "STRING" and key[1].endswith(words)}
    assert named <= TYPED | ADDRESSES


@pytest.fixture
def secret(pack):
    """A file right beside the folder that is listed."""
    import folder_paths

    place = pack.base / "models" / "secret.safetensors"
    place.write_bytes(b"secret")
    folder_paths.filename_list_cache.clear()
    yield place
    place.unlink()


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize(
    ("node", "field"),
    sorted(
        LISTED
        - {
            ("X2EditScore", "encoder"),
            ("X2EditChatFromEndpoint", "endpoint"),
            ("X2EditImageAdapterLoader", "encoder_file"),  # read after the adapter: see test_image_prompt.py
        }
    ),
)
def test_what_is_not_listed_is_not_opened(pack, secret, node, field, name):
    with pytest.raises(pack.core("errors").X2EditError, match="was not found"):
        pack.run(node, **{field: name})


@pytest.mark.parametrize("name", ["../secret", "clip_vision/../../secret", "/etc"])
def test_an_encoder_that_is_not_listed_is_not_opened(pack, secret, name):
    import torch

    picture = torch.zeros(1, 64, 64, 3)
    with pytest.raises(pack.core("errors").X2EditError, match="not found"):
        pack.run("X2EditScore", source=picture, image=picture, instruction="x", encoder=name)

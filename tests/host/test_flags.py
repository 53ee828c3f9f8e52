"""The host started in other ways gives the same picture.

`--lowvram` and `--novram` exclude `--cpu` in the host; `test_memory` offloads in process instead.
"""

from __future__ import annotations

import io
import json
import os
import sys

import numpy as np
import pytest
from devkit.host import Host
from devkit.layout import WORKFLOWS
from devkit.replace import with_demo_models, with_picture
from devkit.server import Server
from PIL import Image

from x2edit_core.workflow.graph import to_api

WORKFLOW = json.loads((WORKFLOWS / "X2Edit (all nodes).json").read_text(encoding="utf-8"))


def picture(server, source):
    prompt = with_demo_models(to_api(WORKFLOW, server.object_info()))
    for node in prompt.values():
        if node["class_type"] == "LoadImage":
            node["inputs"]["image"] = server.upload_image(source)
        if node["class_type"] == "KSampler":
            node["inputs"]["steps"] = 3
    return np.asarray(Image.open(io.BytesIO(server.run(prompt).image())))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "source.png"
    Image.radial_gradient("L").resize((96, 80)).convert("RGB").save(path)
    return path


@pytest.mark.parametrize("flags", [("--disable-dynamic-vram", "--cache-none"), ("--cache-ram", "1")], ids=" ".join)
def test_memory_flags_do_not_change_the_picture(server, source, flags):
    expected = picture(server, source)
    with Server(Host(os.environ["COMFYUI_PATH"], sys.executable, ""), flags=flags) as other:
        for _ in range(2):
            assert np.array_equal(picture(other, source), expected)
    assert expected.shape == (80, 96, 3) and expected.std() > 1


IN_EVERY_RUN = ("X2Edit (all nodes)", "icedit_moe")
"""A picture resized on its way in and back, and a diptych stitched; the others run with `test --full`."""


def _in_half_precision(path):
    marks = [pytest.mark.needs("half precision between nodes")]
    marks += [pytest.mark.needs("attention patches")] if path.stem == "ICEdit without adapter (all nodes)" else []
    marks += [] if path.stem in IN_EVERY_RUN else [pytest.mark.full]
    return pytest.param(path, id=path.stem, marks=marks)


@pytest.fixture(scope="module")
def half_precision():
    """A host whose pictures, masks and latents between nodes are float16."""
    flags = ("--fp16-intermediates",)
    with Server(Host(os.environ["COMFYUI_PATH"], sys.executable, ""), flags=flags) as other:
        yield other


@pytest.fixture(scope="module")
def odd_source(tmp_path_factory):
    """Of no whole tokens, so that it is resized on its way in and back."""
    path = tmp_path_factory.mktemp("odd") / "odd.png"
    Image.radial_gradient("L").resize((101, 75)).convert("RGB").save(path)
    return path


@pytest.mark.parametrize("path", [_in_half_precision(path) for path in sorted(WORKFLOWS.glob("*.json"))])
def test_shipped_workflows_run_in_half_precision_between_nodes(server, half_precision, path, odd_source):
    """To the picture of a host in float32, but for what rounding to half precision between nodes leaves after few steps."""
    pictures = []
    for host in (server, half_precision):
        prompt = with_demo_models(to_api(json.loads(path.read_text(encoding="utf-8")), host.object_info()))
        for node in prompt.values():
            if isinstance(node["inputs"].get("steps"), int):
                node["inputs"]["steps"] = min(node["inputs"]["steps"], 4)
        result = host.run(with_picture(prompt, host.upload_image(odd_source)))
        found = {node: Image.open(io.BytesIO(data)).convert("RGB") for node, data in result.images}
        pictures.append({node: np.asarray(picture, np.float32) for node, picture in found.items()})
    whole, half = pictures
    assert whole and whole.keys() == half.keys()
    for node, picture in whole.items():
        assert picture.shape == half[node].shape and half[node].std() > 1
        assert np.abs(picture - half[node]).mean() < 1

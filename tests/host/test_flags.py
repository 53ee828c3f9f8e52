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
from devkit.replace import with_demo_models
from devkit.server import Server
from PIL import Image

from x2edit_core.workflow.graph import to_api

WORKFLOW = json.loads((WORKFLOWS / "x2edit_edit.json").read_text(encoding="utf-8"))


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

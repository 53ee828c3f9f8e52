"""The walk to a node, followed in the host."""

from __future__ import annotations

import re

import torch
from devkit.layout import REPO


def test_a_node_of_the_walk_runs_in_the_host(pack):
    from comfy_api.latest import io

    text = (REPO / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## A node\n")[1]
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    names = {"io": io, "admitted": pack.core("comfy_bridge.admitted")}
    exec(compile(code, "CONTRIBUTING.md", "exec"), names)  # noqa: S102 - the text is this repository's own
    node = names["X2EditInvertColours"]
    assert node.GET_SCHEMA().node_id == "X2EditInvertColours"
    picture = torch.rand(1, 8, 8, 3)
    (result,) = node.execute(image=picture).args
    torch.testing.assert_close(result, 1 - picture)

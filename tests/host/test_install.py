"""The pack as a person installs it: its files alone, copied, in a folder of another name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from devkit.host import Host
from devkit.layout import REPO
from devkit.server import Server

from .runs import edit_graph, saved_picture

NAME = "ComfyUI-X2Edit-main"


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    base = tmp_path_factory.mktemp("install")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPO, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("this copy of the pack is no git repository, so its files are not known")
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (REPO / name).exists():
            target = base / "custom_nodes" / NAME / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(REPO / name, target)
    host = Host(os.environ["COMFYUI_PATH"], sys.executable, "")
    with Server(host, base=base, pack=None, flags=["--whitelist-custom-nodes", NAME]) as server:
        yield server


def test_every_node_is_there(copied, pack):
    assert set(pack.node_ids) <= set(copied.object_info())


def test_pages_scripts_words_and_templates_are_served(copied, pack):
    for path in ("picker.js", *(f"docs/{node_id}.md" for node_id in pack.node_ids)):
        served = copied.request(f"/extensions/{NAME}/{path}")
        assert served == (REPO / "web" / path).read_bytes()
    assert set(copied.get_json("/workflow_templates")[NAME]) == {
        path.stem for path in (REPO / "workflows").glob("*.json")
    }
    assert {"en", "zh"} <= set(copied.get_json("/i18n"))


def test_an_edit_is_the_linked_packs(copied, server):
    assert saved_picture(copied.run(edit_graph())) == saved_picture(server.run(edit_graph()))

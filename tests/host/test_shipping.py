"""What reaches a person's installation: requirements that move nothing, and a folder with everything a user needs."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from devkit.layout import REPO, WORKFLOWS
from PIL import Image

TEMPLATE_FOLDERS = ("example_workflows", "example", "examples", "workflow")


OWN = {"json-repair"}
"""What the pack requires and no host brings."""


def required():
    lines = (REPO / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return {line.strip() for line in lines if line.strip() and not line.startswith("#")}


def test_installing_the_requirements_moves_nothing_in_the_hosts_environment():
    """Without an index pip can only be content with what is there; a pin that moves a package would fail here."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "-r", str(REPO / "requirements.txt")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "Would install" not in result.stdout
    assert "already satisfied" in result.stdout


def test_what_is_added_to_the_hosts_environment_is_named_and_brings_nothing_along():
    """The rest stands in the host's own requirements or in what those require; bare names pin no version."""
    assert required() >= OWN
    assert all(re.fullmatch(r"[A-Za-z-]+", name) for name in required())
    host = (Path(os.environ["COMFYUI_PATH"]) / "requirements.txt").read_text(encoding="utf-8")
    waiting = [re.match(r"[\w.-]*", line).group() for line in host.splitlines()]
    brought = set()
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name and name not in brought:
            brought.add(name)
            waiting += needs(name)
    assert {name.lower() for name in required()} - brought == OWN
    assert [need for name in OWN for need in needs(name)] == []


def needs(name):
    """What the installed package requires without extras; nothing of one that is not installed here."""
    try:
        found = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []
    return [re.match(r"[\w.-]+", need).group() for need in found if "extra" not in need.partition(";")[2]]


def test_the_package_file_requires_the_same():
    listed = re.search(
        r"^dependencies = \[(.*?)^\]", (REPO / "pyproject.toml").read_text(encoding="utf-8"), re.S | re.M
    )
    assert set(re.findall(r'"([^"]+)"', listed.group(1))) == required()


def test_the_extras_can_be_installed_from_the_folder():
    """`pip install -e ".[train]"` asks setuptools for packages; several folders side by side would be an error to it."""
    command = "from setuptools import Distribution as D; d = D(); d.parse_config_files(); d.set_defaults()"
    result = subprocess.run(
        [sys.executable, "-c", f"{command}; print(d.packages, 'train' in d.extras_require)"],
        cwd=REPO, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["[]", "True"]


def test_templates_lie_in_one_folder_that_the_host_serves():
    assert [name for name in TEMPLATE_FOLDERS if (REPO / name).exists()] == []
    assert [path for path in WORKFLOWS.rglob("*.json") if path.parent != WORKFLOWS] == []


@pytest.mark.parametrize("path", sorted(WORKFLOWS.glob("*.json")), ids=lambda path: path.stem)
def test_template_says_which_pack_each_node_is_from_and_names_files_portably(path):
    workflow = json.loads(path.read_text(encoding="utf-8"))
    boxes = workflow.get("definitions", {}).get("subgraphs", [])
    for node in [*workflow["nodes"], *(node for box in boxes for node in box["nodes"])]:
        if node["type"] in ("Note", "MarkdownNote", "Reroute", "PrimitiveNode"):
            continue
        ours = node["type"].startswith(("X2Edit", "ICEdit")) or node["type"] in {box["id"] for box in boxes}
        assert node["properties"].get("cnr_id") == ("x2edit" if ours else "comfy-core"), node["type"]
        assert node["properties"].get("ver"), node["type"]
        assert not any(isinstance(value, str) and "\\\\" in value for value in node.get("widgets_values") or [])


def test_nothing_a_user_needs_is_left_out_of_the_package():
    lines = (REPO / ".comfyignore").read_text(encoding="utf-8").splitlines()
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    needed = [REPO / name for name in ("__init__.py", "pyproject.toml", "requirements.txt", "LICENSE", "README.md")]
    for folder in ("x2edit_core", "nodes", "web", "locales", "workflows", "subgraphs", "docs"):
        needed += [path for path in (REPO / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    for path in needed:
        name = path.relative_to(REPO).as_posix()
        left_out = [p for p in patterns if name.startswith(p) or fnmatch.fnmatch(name, p)]
        assert left_out == [], f"{name} is left out by {left_out}"
    assert {"tests/", "tools/"} <= set(patterns)


def test_the_registrys_pictures_are_here_and_have_the_shape_it_asks_for():
    text = (REPO / "pyproject.toml").read_text(encoding="utf-8")
    named = dict(re.findall(r'^(Icon|Banner) = ".*/main/(.+)"$', text, re.MULTILINE))
    with Image.open(REPO / named["Icon"]) as icon, Image.open(REPO / named["Banner"]) as banner:
        assert icon.width == icon.height <= 400
        assert banner.width * 9 == banner.height * 21


def test_the_changelog_begins_with_this_version():
    project = re.search(r'^version = "(.+)"$', (REPO / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    newest = re.search(r"^## (\S+)", (REPO / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert project and newest and newest[1] == project[1]

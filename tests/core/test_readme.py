"""What the READMEs promise is there: nodes, files with their sources, commands, and the messages they quote."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from devkit.layout import REPO, WORKFLOWS

SECTIONS = {
    "en": ("Files", "Nodes", "When something goes wrong", "For developers"),
    "zh": ("文件", "节点", "遇到问题时", "给开发者"),
}
HOSTS_MESSAGES = {"lora key not loaded": "comfy/lora.py", "IMPORT FAILED": "nodes.py"}
"""What ComfyUI says, not this pack, and the file of it that does."""
QUOTED = re.compile(r"[\"“]([^\"“”]+)[\"”]")
PLACEHOLDER = "…"


def readme(language):
    return REPO / ("README.md" if language == "en" else f"README.{language}.md")


def rows(language, section):
    """Each table row of the section as its cells, without the heads."""
    title = SECTIONS[language][section]
    found = re.search(rf"^## {title}\n(.*?)(?=^## )", readme(language).read_text(encoding="utf-8"), re.M | re.S)
    assert found, f"no section {title!r}"
    lines = re.findall(r"^\|(.+)\|$", found[1], re.M)
    cells = [[cell.strip() for cell in line.split("|")] for line in lines]
    return [row for row, after in zip(cells, [*cells[1:], []], strict=True) if not {*row, *after[:1]} & {"---"}]


def download_rows(language):
    return [" ".join(row) for row in rows(language, 0)]


def display_names(language):
    nodes = json.loads((REPO / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))
    return {words["display_name"] for words in nodes.values()}


def bold(text):
    return set(re.findall(r"\*\*([^*\n]+)\*\*", text))


def trouble_rows(language):
    """The ten commonest, and all of them."""
    page = REPO / "docs" / ("troubleshooting.md" if language == "en" else f"troubleshooting.{language}.md")
    lines = re.findall(r"^\|(.+)\|$", page.read_text(encoding="utf-8"), re.M)
    return rows(language, 2), [[cell.strip() for cell in line.split("|")] for line in lines]


def quoted(language):
    _, every = trouble_rows(language)
    return {message for row in every for cell in row for message in QUOTED.findall(cell)}


@cache
def sayings():
    """Every string of the pack's code but docstrings; what an f-string fills in is a placeholder."""
    found = set()
    for folder in ("nodes", "x2edit_core"):
        for path in (REPO / folder).rglob("*.py"):
            nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
            docstrings = {node.value for node in nodes if isinstance(node, ast.Expr)}
            strings = [node for node in nodes if isinstance(node, ast.Constant | ast.JoinedStr)]
            found |= {_text(node) for node in strings if node not in docstrings}
    return found


def _text(node):
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    return "".join(str(part.value) if isinstance(part, ast.Constant) else PLACEHOLDER for part in parts)


def is_said(message):
    pattern = re.compile(".*".join(map(re.escape, message.split(PLACEHOLDER))), re.S)
    return any(pattern.search(text) for text in sayings())


@pytest.mark.parametrize("language", SECTIONS)
def test_the_commonest_troubles_are_ten_of_all(language):
    common, every = trouble_rows(language)
    assert len(common) == 10
    named = {row[0] for row in every}
    assert {row[0] for row in common} <= named and len(named) > 20


@pytest.mark.parametrize("language", SECTIONS)
def test_the_table_of_nodes_has_each_by_its_display_name(language):
    assert set.union(*(bold(row[0]) for row in rows(language, 1))) == display_names(language)


@pytest.mark.parametrize("language", SECTIONS)
def test_nodes_are_named_as_the_page_names_them(language):
    named = {name for name in bold(readme(language).read_text(encoding="utf-8")) if re.search("X2Edit|ICEdit", name)}
    assert named <= display_names(language) | {path.stem for path in WORKFLOWS.glob("*.json")}


@pytest.mark.parametrize("language", SECTIONS)
@pytest.mark.parametrize("path", sorted(WORKFLOWS.glob("*.json")), ids=lambda path: path.stem)
def test_every_file_of_a_template_stands_beside_its_folder_and_its_source(path, language):
    workflow = json.loads(path.read_text(encoding="utf-8"))
    boxes = workflow.get("definitions", {}).get("subgraphs", [])
    nodes = [*workflow["nodes"], *(node for box in boxes for node in box["nodes"])]
    models = [model for node in nodes for model in node["properties"].get("models", [])]
    assert models or path.stem.startswith("Try it now")
    for model in models:
        source = model["url"].split("/resolve/")[0]
        folder, _, name = f"models/{model['directory']}/{model['name']}".rpartition("/")
        needed = (f"`{name}`", f"`{folder}`", f"]({source})")
        assert any(all(part in row for part in needed) for row in download_rows(language)), needed


@pytest.mark.parametrize("language", SECTIONS)
@pytest.mark.parametrize("name", ["lora.safetensors", "task_embeddings.bin", "diffusion_pytorch_model.bin"])
def test_x2edits_own_files_have_a_source(name, language):
    (row,) = (row for row in download_rows(language) if row.startswith("X2Edit") and f"`{name}`" in row.split("](")[0])
    assert "`models/x2edit/X2Edit`" in row and "](https://huggingface.co/OPPOer/X2Edit)" in row


@pytest.mark.parametrize("language", SECTIONS)
def test_the_developers_table_has_every_command(language):
    shown = subprocess.run(
        [sys.executable, str(REPO / "tools" / "dev.py"), "--help"],
        capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "1000"},
    ).stdout  # fmt: skip
    commands = re.search(r"\{([a-z,]+)\}", shown)
    assert commands, shown
    assert sorted(row[0].strip("`").split()[0] for row in rows(language, 3)) == sorted(commands[1].split(","))


@pytest.mark.parametrize("language", SECTIONS)
def test_quoted_messages_are_what_the_code_says(language):
    messages = quoted(language) - HOSTS_MESSAGES.keys()
    assert messages
    assert [message for message in messages if not is_said(message)] == []


def test_a_message_that_nothing_says_is_found():
    assert is_said("This ComfyUI has no …, on which this node builds")
    assert not is_said("This ComfyUI lacks what X2Edit builds on")
    assert not is_said("A file that cannot be used as an adapter"), "that is a docstring"


@pytest.mark.skipif("COMFYUI_PATH" not in os.environ, reason="COMFYUI_PATH is not set")
def test_the_hosts_messages_are_what_comfyui_says():
    for message, file in HOSTS_MESSAGES.items():
        assert message in (Path(os.environ["COMFYUI_PATH"]) / file).read_text(encoding="utf-8"), message


def test_both_languages_quote_the_same_messages():
    assert quoted("en") == quoted("zh") >= HOSTS_MESSAGES.keys()


@pytest.mark.parametrize("language", SECTIONS)
def test_the_command_that_installs_has_the_registrys_address(language):
    address = re.search(r'^Repository = "(.+)"$', (REPO / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    assert address
    command = f"git clone {address[1]} ComfyUI/custom_nodes/x2edit"
    assert command in readme(language).read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("language", SECTIONS)
def test_links_into_the_repository_lead_somewhere(language):
    targets = re.findall(r"\]\(([^)\s]+)\)", readme(language).read_text(encoding="utf-8"))
    here = [target.split("#")[0] for target in targets if "://" not in target]
    assert "docs/benchmarks.md" in here
    assert [target for target in here if not (REPO / target).exists()] == []

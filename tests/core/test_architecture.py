"""The annotated tree names what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
TREE = TEXT.split("## The tree")[1].split("```")[1]


def names_below(folder):
    """Names that the tree lists right below `folder/`."""
    block = re.search(rf"^{folder}/.*\n((?:  .*\n)+)", TREE, re.MULTILINE)
    assert block, folder
    heads = [re.split(r"\s{2,}", line.strip())[0] for line in block.group(1).splitlines()]
    return {name.rstrip("/") for head in heads for name in head.split()}


@pytest.mark.parametrize("folder", ["x2edit_core", "nodes"])
def test_tree_lists_exactly_what_lies_there(folder):
    there = {path.name for path in (ROOT / folder).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert names_below(folder) == there - {"__init__.py"}


def test_every_path_named_in_the_text_exists():
    named = re.findall(r"`((?:tests|tools|docs|x2edit_core|nodes)/[\w./]+)`", TEXT)
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []

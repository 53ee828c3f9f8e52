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
    listed = [
        line for line in block.group(1).splitlines() if not line.startswith("    ")
    ]  # deeper ones are for the eye
    heads = [re.split(r"\s{2,}", line.strip())[0] for line in listed]
    return {name.rstrip("/") for head in heads for name in head.split()}


@pytest.mark.parametrize("folder", ["x2edit_core", "nodes"])
def test_tree_lists_exactly_what_lies_there(folder):
    there = {path.name for path in (ROOT / folder).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert names_below(folder) == there - {"__init__.py"}


def test_every_path_named_in_the_text_exists():
    named = re.findall(r"`((?:tests|tools|docs|x2edit_core|nodes)/[\w./]+)`", TEXT)
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_checklist_has_thirty_items_and_names_tests_that_exist():
    checklist = (ROOT / "docs" / "CHECKLIST.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \|[^|]+\| ([\w ]+?) \|", checklist, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 31))
    assert {state for _, state in rows} <= {"shown", "partly", "not yet", "exception"}
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    functions = set(re.findall(r"`(test_\w+)`", checklist))
    assert functions and [name for name in functions if f"def {name}(" not in sources] == []
    assert [path for path in re.findall(r"`(tests/[\w/]+\.py)`", checklist) if not (ROOT / path).exists()] == []

"""The walks of CONTRIBUTING.md, followed: the code there does what the text says."""

from __future__ import annotations

import re
import sys
import types

import pytest
import torch
from devkit.layout import REPO
from PIL import Image
from torch import nn

from x2edit_core.adapters.attach import Attachment, attached
from x2edit_core.data import readers
from x2edit_core.data.pairs import Pair, SampleError
from x2edit_core.families import FAMILIES
from x2edit_core.tasks import Task, TaskBatch, TaskChoice
from x2edit_core.train.adapters import new_adapter, spec_for
from x2edit_core.train.config import AdapterConfig

TEXT = (REPO / "CONTRIBUTING.md").read_text(encoding="utf-8")


def walk(title):
    """What the code under a heading defines."""
    section = TEXT.split(f"## {title}\n")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    module = types.ModuleType(f"walk_{len(sys.modules)}")
    sys.modules[module.__name__] = module  # dataclasses look their module up
    exec(compile(code, f"CONTRIBUTING.md, {title}", "exec"), vars(module))  # noqa: S102 - the text is this repository's own
    return vars(module)


def test_a_family_of_the_walk_carries_an_adapter(monkeypatch):
    tiny = walk("A model family")["TINY"]
    monkeypatch.setitem(FAMILIES, tiny.name, tiny)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = nn.Linear(8, 24)

    model = nn.Module()
    model.blocks = nn.ModuleList(Block() for _ in range(2))
    assert tiny.looks_like(model) and str(tiny.shape_of(model)) == "TinyShape(hidden=8, blocks=2)"
    spec = spec_for("x2edit", AdapterConfig(rank=2, experts=3), tiny.shape_of(model), tiny)
    adapter = new_adapter(spec, True, 0)
    with torch.no_grad():
        for weight in adapter.parameters():
            weight.normal_()
    tokens = torch.randn(1, 5, 8)
    plain = model.blocks[1].qkv(tokens)
    with torch.no_grad(), attached(model, [Attachment(adapter, TaskBatch((TaskChoice(Task.COLOR),)))], 1):
        assert not torch.allclose(model.blocks[1].qkv(tokens), plain)
    assert torch.equal(model.blocks[1].qkv(tokens), plain)


def test_a_judge_of_the_walk_referees():
    judge = walk("A judge")["Darker"]()
    dark, light = torch.zeros(4, 4, 3), torch.ones(4, 4, 3)
    assert judge.compare(light, dark, light, "make it darker").choice == "A"
    assert judge.compare(light, light, dark, "make it darker").choice == "B"
    assert judge.compare(light, dark, dark, "make it darker").choice == "tie"


def test_a_reader_of_the_walk_reads_pairs_and_says_what_is_missing(tmp_path):
    found = walk("A data reader")
    for name in ("1_before", "1_after", "2_before"):
        Image.new("RGB", (8, 8), "red").save(tmp_path / f"{name}.png")
    (tmp_path / "1.txt").write_text("make it blue")
    assert found["finds"](tmp_path)
    good, bad = found["read"](tmp_path)
    assert isinstance(good, Pair) and good.instruction == "make it blue" and good.task is Task.COLOR
    assert good.pictures()[0].shape == (8, 8, 3)
    assert isinstance(bad, SampleError) and "2_after.png" in str(bad)
    assert {"KIND", "LAYOUT", "finds", "read"} <= found.keys() and hasattr(readers, "_ALL")


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:x2edit_core|nodes|tests|locales|web)/[\w./]+)`", TEXT))))
def test_every_path_of_the_walks_exists(path):
    assert "NODE_ID" in path or (REPO / path).exists()


@pytest.mark.parametrize("name", ["FAMILIES", "HOST_FAMILIES", "DatasetKind", "_ALL", "AdapterStack"])
def test_every_name_of_the_walks_exists(name):
    sources = (path.read_text(encoding="utf-8") for path in (REPO / "x2edit_core").rglob("*.py"))
    assert any(re.search(rf"^(class )?{name}\b", source, re.MULTILINE) for source in sources)

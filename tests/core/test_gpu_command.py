"""`tools/dev.py gpu`: its parts fit into its time, are rehearsed on a CPU, and end when theirs is over."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest
from devkit import gpu


@pytest.fixture
def here(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu, "FOLDER", tmp_path)
    return SimpleNamespace(python=sys.executable, comfyui="")


def test_the_parts_fit_into_eight_minutes():
    assert sum(part.seconds for part in gpu.PARTS) <= gpu.LIMIT_S <= 480
    assert all("cpu" in part.rehearsal or part.name == "tests" for part in gpu.PARTS)


def test_a_part_is_rehearsed_on_a_cpu_and_writes_what_it_found(here, monkeypatch):
    part = next(part for part in gpu.PARTS if part.name == "attention")
    kept = gpu.FOLDER / "attention.json"
    small = (*part.rehearsal[:-1], str(kept))
    monkeypatch.setattr(gpu, "PARTS", (gpu.Part("attention", part.command, part.seconds, small),))
    assert gpu.run(here, rehearse=True) == 0
    (size,) = json.loads(kept.read_text())["sizes"]
    assert isinstance(size["ms"]["math, with backward"], float)
    assert "ms" in (gpu.FOLDER / "attention.log").read_text()


def test_a_part_ends_with_its_time_and_the_next_has_its_own(here, monkeypatch, capsys):
    def part(name, code, seconds):
        return gpu.Part(name, ("-c", code), seconds, ())

    slow = part("slow", "import time; print('begun', flush=True); time.sleep(60)", 2)
    parts = (slow, part("bad", "raise SystemExit(3)", 30), part("good", "print('found')", 30))
    monkeypatch.setattr(gpu, "PARTS", parts)
    assert gpu.run(here) == 1
    told = capsys.readouterr().out
    assert "FAILED: slow (its 2 s were over), bad (status 3)" in told and "found" in told
    assert (gpu.FOLDER / "slow.log").read_text().startswith("begun"), "what was found before is kept"
    monkeypatch.setattr(gpu, "PARTS", parts[2:])
    assert gpu.run(here, limit_s=0) == 1 and "no time was left" in capsys.readouterr().out

"""The miniature learns an edit that it does not know, by the command that people are told of."""

from __future__ import annotations

import json
import os
import sys

import pytest
from devkit import teach
from devkit.host import Host


@pytest.mark.full
def test_the_miniature_learns_a_new_edit_within_five_minutes(tmp_path, monkeypatch):
    """Photos that it never saw, their color channels rotated: from at most 12 dB to at least 22."""
    monkeypatch.setattr(teach, "OUT", tmp_path)
    host = Host(os.environ["COMFYUI_PATH"], sys.executable, "")
    assert teach.run_teach(host, "channels", 4.5, tmp_path / "sheet.jpg") == 0
    found = json.loads((tmp_path / "teach" / "channels" / teach.FIGURES).read_text(encoding="utf-8"))
    assert found["base_db"] <= 12 and found["trained_db"] >= 22 and found["seconds"] <= 300
    assert (tmp_path / "sheet.jpg").stat().st_size < 120_000

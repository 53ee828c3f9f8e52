"""Shared by every tier: the development kit is importable, and each test starts from the same seed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
if str(REPO / "tools") not in sys.path:
    sys.path.append(str(REPO / "tools"))


@pytest.fixture(autouse=True)
def _same_seed():
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)

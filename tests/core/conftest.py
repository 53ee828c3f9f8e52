"""The core without a host: the repository root goes last on `sys.path`, so its `nodes/` never shadows another one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

_ROOT = str(Path(__file__).resolve().parents[2])
if _ROOT not in sys.path:
    sys.path.append(_ROOT)


@pytest.fixture(scope="session")
def two_ranks(tmp_path_factory):
    """Two processes that train together, for all tests that need them."""
    from .ranks import Ranks

    ranks = Ranks(tmp_path_factory.mktemp("ranks"))
    yield ranks
    ranks.close()

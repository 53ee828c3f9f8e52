"""The core without a host: the repository root goes last on `sys.path`, so its `nodes/` never shadows another one."""

from __future__ import annotations

import sys
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parents[2])
if _ROOT not in sys.path:
    sys.path.append(_ROOT)

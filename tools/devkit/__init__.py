"""What `tools/dev.py` is made of; standard library only, so that it runs before anything is installed.

Parts of the core that need no more serve here too. The repository goes last on `sys.path`, where its `nodes/` shadows
nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parents[2])
if _ROOT not in sys.path:
    sys.path.append(_ROOT)

"""Where things are in this repository, and the base directory that shows a host nothing but this pack."""

from __future__ import annotations

import shutil
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
PACK_NAME = "x2edit"
WORKFLOWS = REPO / "workflows"
OUT = REPO / "out"

_NOT_INSTALLED = shutil.ignore_patterns(
    ".git", "out", "runs", "tests", "__pycache__", ".*_cache", ".hypothesis", ".venv"
)


def make_base(base: Path, pack: Path = REPO) -> Path:
    """Fill `base` as a ComfyUI `--base-directory` whose only custom node is `pack`, and return the pack's path there.

    A symbolic link where the system allows one, a copy otherwise (Windows without developer mode).
    """
    for name in ("custom_nodes", "models", "input", "output", "user"):
        (base / name).mkdir(parents=True, exist_ok=True)
    installed = base / "custom_nodes" / PACK_NAME
    if not installed.exists():
        try:
            installed.symlink_to(pack, target_is_directory=True)
        except OSError:
            shutil.copytree(pack, installed, ignore=_NOT_INSTALLED)
    return installed

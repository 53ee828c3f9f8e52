"""Benchmarks: `bench_NAME.py` beside this file, each a script with its own `--help`, run in the host's Python."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from devkit.host import DevError, Host
from devkit.layout import REPO

_FOLDER = Path(__file__).resolve().parent


def names() -> list[str]:
    return sorted(path.stem.removeprefix("bench_") for path in _FOLDER.glob("bench_*.py"))


def run(host: Host, name: str, arguments: list[str]) -> int:
    """Run one benchmark; the core and, ahead of our `nodes/`, the host's modules are importable in it."""
    if name not in names():
        raise DevError(f"There is no benchmark {name!r}; there are: {', '.join(names()) or 'none'}.")
    inherited = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    path = os.pathsep.join([host.comfyui, *inherited, str(REPO / "tools"), str(REPO)])
    environment = {**os.environ, "PYTHONPATH": path, "COMFYUI_PATH": host.comfyui}
    return subprocess.run(
        [host.python, str(_FOLDER / f"bench_{name}.py"), *arguments], env=environment, check=False
    ).returncode

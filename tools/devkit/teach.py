"""Teaches the miniature an edit that it does not know: `teaching` in the host's Python, its figures and its sheet."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from .host import DevError, Host
from .layout import OUT, REPO

FIGURES = "figures.json"


def run_teach(host: Host, lesson: str, minutes: float, picture: Path | None = None) -> int:
    """Teach `lesson` for at most `minutes`; its adapter, figures and sheet stay in out/teach, the sheet in `picture` too."""
    folder = OUT / "teach" / lesson.replace(" ", "-")
    shutil.rmtree(folder, ignore_errors=True)
    script = str(Path(__file__).with_name("teaching.py"))
    command = [host.python, script, str(folder), "--lesson", lesson, "--minutes", str(minutes)]
    path = os.pathsep.join([host.comfyui, str(REPO / "tools"), str(REPO)])
    environment = {**os.environ, "PYTHONPATH": path, "COMFYUI_PATH": host.comfyui}
    if subprocess.run(command, env=environment, check=False).returncode:
        raise DevError(f"The lesson {lesson!r} could not be taught; the lines above say why.")
    found = json.loads((folder / FIGURES).read_text(encoding="utf-8"))
    if picture is not None:
        picture.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found["sheet"], picture)
    print(
        f"{found['steps']} steps, {found['seconds']} s. On photos it never saw, against the exact answer: "
        f"base {found['base_db']:.1f} dB, trained {found['trained_db']:.1f} dB, autoencoder alone {found['ceiling_db']:.1f} dB"
        f"\nAdapter:  {found['adapter']}\nSource | base | trained | target:  {found['sheet']}"
    )
    return 0

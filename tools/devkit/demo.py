"""The main job end to end: a source picture, the shipped workflow, the real host, the edited picture."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from x2edit_core.workflow.client import Progress
from x2edit_core.workflow.graph import to_api

from .host import DevError, Host, log
from .layout import OUT, WORKFLOWS
from .replace import with_demo_models, with_picture
from .server import Server

DEFAULT_WORKFLOW = WORKFLOWS / "x2edit_edit.json"


def run_demo(host: Host, *, device: str = "cpu", workflow: Path = DEFAULT_WORKFLOW, picture: Path | None = None) -> int:
    """Execute `workflow` with the embedded models; leaves the pictures in out/demo, and the sheet also in `picture`."""
    if not workflow.is_file():
        raise DevError(f"There is no workflow {workflow}.")
    folder = OUT / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    source, result, sheet = (folder / f"{name}.png" for name in ("source", "result", "contact_sheet"))
    _draw(host, "source", source)
    log(f"Starting ComfyUI {host.version} with only this pack …")
    with Server(host, device=device) as server:
        prompt = with_demo_models(to_api(json.loads(workflow.read_text(encoding="utf-8")), server.object_info()))
        prompt = with_picture(prompt, server.upload_image(source))
        log(f"Running {workflow.name} with the embedded models …")
        done = server.run(prompt, _report)
    if not done.images:
        raise DevError(f"{workflow.name} finished without a picture; it needs a SaveImage or PreviewImage node.")
    result.write_bytes(done.images[-1][1])
    _draw(host, "sheet", source, result, sheet)
    if picture is not None:
        picture.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(sheet, picture)
    print(f"Edited picture:   {result}\nSource | result:  {sheet}")
    return 0


def _draw(host: Host, *arguments: str | Path) -> None:
    script = Path(__file__).with_name("pictures.py")
    if subprocess.run([host.python, str(script), *map(str, arguments)], check=False).returncode:
        raise DevError(f"The host's Python could not make the demo's pictures: {arguments[0]}.")


def _report(progress: Progress) -> None:
    """One line a node; its steps overwrite that line on a terminal and are thinned out elsewhere."""
    if progress.total == 0:
        log(f"  node {progress.node_id}: {progress.node_class}")
        return
    text = f"    {progress.node_class} {progress.value}/{progress.total}"
    if sys.stderr.isatty():
        print(f"\r{text}", end="\n" if progress.value == progress.total else "", file=sys.stderr, flush=True)
    elif progress.value == progress.total or progress.value % max(1, progress.total // 4) == 0:
        log(text)

"""The main job end to end: pictures, instructions, the shipped workflow, the real host, the edited pictures."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from x2edit_core.evaluate.places import Places, complete, filled
from x2edit_core.tasks import Task
from x2edit_core.workflow.client import Progress
from x2edit_core.workflow.files import load_graph
from x2edit_core.workflow.shipped import present

from .host import DevError, Host, log
from .layout import OUT, REPO, WORKFLOWS
from .pictures import EDITS
from .replace import with_demo_models
from .server import Server

DEFAULT_WORKFLOW = WORKFLOWS / "X2Edit (all nodes).json"
SHEET = "contact_sheet.png"


def run_demo(host: Host, *, device: str = "cpu", workflow: Path = DEFAULT_WORKFLOW, picture: Path | None = None) -> int:
    """Edit several scenes by `workflow` with the embedded models.

    Leaves sources, edits and a sheet of both in out/demo, and the sheet also in `picture`.
    """
    if not present(workflow).is_file():
        raise DevError(f"There is no workflow {workflow}.")
    folder = OUT / "demo"
    _draw(host, "sources", folder)
    edits = json.loads((folder / EDITS).read_text(encoding="utf-8"))
    log(f"Starting ComfyUI {host.version} with only this pack …")
    with Server(host, device=device) as server:
        graph = with_demo_models(load_graph(workflow, server))
        places = complete(graph, Places())
        for number, edit in enumerate(edits, 1):
            log(f"{number} of {len(edits)}: {edit['instruction']}")
            _edit(server, graph, places, folder, edit)
    sheet = folder / SHEET
    _draw(host, "sheet", folder, sheet)
    if picture is not None:
        picture.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(sheet, picture)
    print(f"Edited pictures:  {folder}\nSources | edits:  {sheet}")
    return 0


def _edit(server: Server, graph: dict[str, Any], places: Places, folder: Path, edit: dict[str, Any]) -> None:
    name = server.upload_image(folder / edit["source"])
    prompt = filled(graph, places, name, edit["instruction"], Task.from_name(edit["task"]), edit["seed"])
    images = [data for node, data in server.run(prompt, _report).images if node == places.output]
    (folder / edit["source"].replace("_source", "_edit")).write_bytes(images[-1])


def _draw(host: Host, *arguments: str | Path) -> None:
    script = Path(__file__).with_name("pictures.py")
    command = [host.python, str(script), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    if subprocess.run(command, env=environment, check=False).returncode:
        raise DevError(f"The host's Python could not make the demo's pictures: {arguments[0]}.")


def _report(progress: Progress) -> None:
    """The sampler's steps on one line, which overwrites itself on a terminal."""
    if progress.total and sys.stderr.isatty():
        end = "\n" if progress.value == progress.total else ""
        print(f"\r    {progress.node_class} {progress.value}/{progress.total}", end=end, file=sys.stderr, flush=True)

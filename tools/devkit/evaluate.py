"""An evaluation in a host started for it: `x2edit_core.evaluate`, run by the host's Python."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

from x2edit_core.workflow.graph import to_api

from .host import DevError, Host, log
from .layout import REPO
from .replace import with_demo_models
from .server import Server


def run_evaluation(
    host: Host,
    config: Path,
    workflow: Path,
    *,
    device: str = "cpu",
    demo_models: bool = False,
    base: Path | None = None,
) -> int:
    """Evaluate `workflow` as `config` says, with the embedded models if asked for; returns the exit status.

    `base` is the host's base directory, with the models in it; temporary if not given.
    """
    if not workflow.is_file():
        raise DevError(f"There is no workflow {workflow}.")
    log(f"Starting ComfyUI {host.version} with only this pack …")
    with Server(host, device=device, base=base) as server, tempfile.TemporaryDirectory() as scratch:
        graph = to_api(json.loads(workflow.read_text(encoding="utf-8")), server.object_info())
        prepared = Path(scratch) / workflow.name
        prepared.write_text(json.dumps(with_demo_models(graph) if demo_models else graph), encoding="utf-8")
        command = [host.python, "-m", "x2edit_core.evaluate", str(config), "--address", server.url, "--workflow"]
        # The repository comes last, where its `nodes/` shadows nothing.
        path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(REPO))))
        environment = {**os.environ, "PYTHONPATH": path}
        return subprocess.run([*command, str(prepared)], env=environment, check=False).returncode

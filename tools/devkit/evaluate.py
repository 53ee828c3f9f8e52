"""An evaluation in a host started for it: `x2edit_core.evaluate`, run by the host's Python."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from x2edit_core.workflow.files import load_graph
from x2edit_core.workflow.shipped import present

from .host import DevError, Host, log
from .layout import REPO
from .replace import Prompt, demo_changes, with_adapter, with_demo_models
from .server import Server

_ADAPTERS = "adapters"
_WORKFLOW_OF = (
    "import pathlib, sys\n"
    "from x2edit_core.errors import X2EditError\n"
    "from x2edit_core.evaluate.config import load_config\n"
    "try: sys.stdout.buffer.write(load_config(pathlib.Path(sys.argv[1])).workflow.encode())\n"
    "except X2EditError as error: sys.exit(f'error: {error}')\n"
)


def run_evaluation(
    host: Host,
    config: Path,
    workflow: Path | None = None,
    output: Path | None = None,
    *,
    adapter: Path | None = None,
    device: str = "cpu",
    demo_models: bool = False,
    base: Path | None = None,
) -> int:
    """Evaluate as `config` says; returns the exit status.

    `workflow`, `output` and `adapter` take the place of what the configuration and its workflow name, the embedded models
    that of all other loaders if asked for. `base` is the host's base directory, with the models in it; temporary if not
    given.
    """
    workflow = workflow or workflow_of(host, config)
    if not present(workflow).is_file():
        raise DevError(f"There is no workflow {workflow}.")
    log(f"Starting ComfyUI {host.version} with only this pack …")
    with tempfile.TemporaryDirectory() as scratch:
        name, flags = (None, []) if adapter is None else offered(adapter, Path(scratch))
        with Server(host, device=device, base=base, flags=flags) as server:
            graph = _prepared(load_graph(workflow, server), name, demo_models)
            prepared = Path(scratch) / workflow.name
            prepared.write_text(json.dumps(graph), encoding="utf-8")
            changes = ["--address", server.url, "--workflow", str(prepared)]
            changes += [] if output is None else ["--output", str(output)]
            command = [host.python, "-m", "x2edit_core.evaluate", str(config), *changes]
            return subprocess.run(command, env=repository_environment(), check=False).returncode


def workflow_of(host: Host, config: Path) -> Path:
    """The workflow that a configuration names, read by the host's Python; raises `DevError` where it has faults."""
    command = [host.python, "-c", _WORKFLOW_OF, str(config)]
    found = subprocess.run(command, env=repository_environment(), capture_output=True, check=False)
    if found.returncode:
        raise DevError(found.stderr.decode("utf-8", "replace").strip().removeprefix("error: "))
    return Path(found.stdout.decode("utf-8"))


def offered(adapter: Path, folder: Path) -> tuple[str, list[str]]:
    """What the loader calls a copy of `adapter` in `folder`, and the flags that make a host list it.

    The name holds a digest of the content: an adapter that was trained on makes new edits instead of keeping old ones.
    """
    if not adapter.exists():
        raise DevError(f"There is no adapter {adapter}.")
    digest = hashlib.sha256()
    for file in sorted(adapter.rglob("*")) if adapter.is_dir() else [adapter]:
        if file.is_file():
            digest.update(file.read_bytes())
    name = f"{adapter.stem}-{digest.hexdigest()[:12]}{'' if adapter.is_dir() else adapter.suffix}"
    copy = folder / _ADAPTERS / name
    copy.parent.mkdir()
    (shutil.copytree if adapter.is_dir() else shutil.copyfile)(adapter, copy)
    places = folder / "places.yaml"
    places.write_text(f"evaluated:\n  x2edit: {json.dumps(str(copy.parent))}\n", encoding="utf-8")
    return name, ["--extra-model-paths-config", str(places)]


def _prepared(graph: Prompt, adapter: str | None, demo_models: bool) -> Prompt:
    """The graph that is run; everything that the embedded models change in it is said."""
    if adapter is not None:
        graph = with_adapter(graph, adapter)
    if not demo_models:
        return graph
    changed = with_demo_models(graph, keep=adapter)
    for line in demo_changes(graph, changed):
        log(line)
    return changed


def repository_environment() -> dict[str, str]:
    # The repository comes last, where its `nodes/` shadows nothing.
    path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(REPO))))
    return {**os.environ, "PYTHONPATH": path}

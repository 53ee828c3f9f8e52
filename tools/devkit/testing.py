"""What CI runs: format, lint, types, then each tier of tests as a pytest run of its own."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from . import compat, outcomes
from .browser import find_chromium
from .host import DevError, Host, log
from .layout import OUT, REPO
from .pins import DEV_TOOLS

TIERS = ("core", "host", "browser")
OTHER_HOST_TIERS = ("host",)
"""What runs on a host that is not the pinned one: the rest does not depend on it, or on its page, which changes freely."""
SMOKE = tuple(
    f"tests/host/test_{test}"
    for test in (
        "server.py::test_log_has_no_complaint_about_the_pack",
        "server.py::test_every_node_is_served_by_the_pack",
        "server.py::test_module_has_no_v1_mapping",
        "graph.py::test_shipped_workflow_runs_to_a_picture[X2Edit (all nodes)]",
        "graph.py::test_shipped_workflow_runs_to_a_picture[ICEdit experts (all nodes)]",
        "golden.py::test_x2edit_matches_the_research_code",
        "icedit_adapter.py::test_routed_adapter_matches_the_research_code",
        "icedit_adapter.py::test_a_base_that_is_not_fill_is_refused",
        "folders.py::test_other_names_open_nothing",
    )
)
"""What every run also does on the oldest host: it loads, is served, edits in both families, refuses what it must."""
DEVICE_TIER = "gpu"
SHARED_OUT = ("host", "browser")
"""Tiers that take minutes: their files are shared out between two processes."""
_NO_TESTS = 5
# Started this way, the working directory is not on sys.path: our `nodes/` would shadow the host's module.
_PYTEST = "import sys; sys.path = [p for p in sys.path if p]; import pytest; sys.exit(pytest.main(sys.argv[1:]))"
_TEST_TIMEOUT_S = 600
_MISSING = """
import sys
from importlib.metadata import PackageNotFoundError, version
for name in sys.argv[1:]:
    try:
        version(name)
    except PackageNotFoundError:
        print(name.replace("-", "_"), end=" ")
"""


def run_tests(
    host: Host,
    *,
    full: bool = False,
    expression: str | None = None,
    tiers: Sequence[str] = (),
    pinned: bool = True,
    record: bool = False,
) -> int:
    """Run everything, go on after a failure, and say at the end what failed. Returns the exit status.

    `pinned` is False for a host beside the pinned one. `record` keeps the outcomes of the host's tier for `compat`.
    """
    started = time.monotonic()
    _require_tools(host)
    log(f"ComfyUI {host.version} at {host.comfyui}")
    failed = _checks(host) if pinned and not (expression or tiers) else []
    selected = 0
    for tier in tiers or (TIERS if pinned else OTHER_HOST_TIERS):
        if tier == "browser" and not _browser_ready():
            continue
        status = _tier(host, tier, full, expression, record)
        selected += status != _NO_TESTS
        # With -k a tier may have nothing to run; without it, finding no tests is a fault.
        if status not in (0, _NO_TESTS) or (status == _NO_TESTS and not expression):
            failed.append(f"tests/{tier}")
    if not selected:
        failed.append("no test was selected")
    return _conclude(host, failed, started)


def run_smoke(host: Host) -> int:
    """The few tests of `SMOKE`; returns the exit status."""
    started = time.monotonic()
    log(f"\n== smoke tests on ComfyUI {host.version} at {host.comfyui}")
    return _conclude(host, ["smoke tests"] if _pytest(host, [*SMOKE]) else [], started)


def _conclude(host: Host, failed: list[str], started: float) -> int:
    seconds = time.monotonic() - started
    found = f"FAILED in {seconds:.0f} s: {', '.join(failed)}" if failed else f"All passed in {seconds:.0f} s."
    print(f"ComfyUI {host.version}: {found}", flush=True)
    return 1 if failed else 0


def install_tools(host: Host) -> None:
    """Put the test tools into the host's environment; only ever done for a person's own one when they ask."""
    _call([host.python, "-m", "pip", "install", "--disable-pip-version-check", *DEV_TOOLS])


def _checks(host: Host) -> list[str]:
    commands = {
        "ruff check": ["ruff", "check", "."],
        "ruff format": ["ruff", "format", "--check", "."],
        "basedpyright": ["basedpyright", "--project", str(_type_settings(host))],
    }
    failed = []
    for name, command in commands.items():
        log(f"\n== {name}")
        if _call([host.python, "-m", *command]):
            failed.append(name)
    return failed


def _type_settings(host: Host) -> Path:
    """The type checker's settings of pyproject.toml, and where the host's own modules lie, so that it sees them too."""
    path = OUT / "types.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    nodes = {"root": str(REPO / "nodes"), "reportIncompatibleMethodOverride": "none"}  # execute has a node's own inputs
    settings = {
        "extends": str(REPO / "pyproject.toml"),
        "extraPaths": [host.comfyui],
        "executionEnvironments": [nodes, {"root": str(REPO)}],
    }
    path.write_text(json.dumps(settings), encoding="utf-8")
    return path


def _tier(host: Host, tier: str, full: bool, expression: str | None, record: bool) -> int:
    log(f"\n== tests/{tier}")
    arguments = [f"tests/{tier}"]
    arguments += [] if full else ["-m", "not full"]
    arguments += ["-k", expression] if expression else []
    arguments += ["-n", "2", "--dist", "loadfile"] if tier in SHARED_OUT and not expression and _cores() > 1 else []
    kept = {outcomes.VARIABLE: str(compat.RECORDS / f"{host.version}.json")} if record and tier == "host" else {}
    return _pytest(host, arguments, **kept)


def _pytest(host: Host, arguments: Sequence[str], **environment: str) -> int:
    # The models are so small that threads cost more in waiting for each other than they gain.
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    command = [host.python, "-c", _PYTEST, *arguments, f"--timeout={_TEST_TIMEOUT_S}"]
    return _call(command, COMFYUI_PATH=host.comfyui, OMP_NUM_THREADS=threads, **environment)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _browser_ready() -> bool:
    if find_chromium() or os.environ.get("X2EDIT_REQUIRE_BROWSER") == "1":
        return True
    log("\n== tests/browser SKIPPED: no Chromium found. Install one, or set CHROMIUM to its path.")
    return False


def _require_tools(host: Host) -> None:
    """One clear error for a person's own environment that lacks the test tools."""
    names = [tool.split("==")[0] for tool in DEV_TOOLS]
    found = subprocess.run([host.python, "-c", _MISSING, *names], capture_output=True, text=True, check=True, cwd=REPO)
    if found.stdout.strip():
        raise DevError(
            f"{host.python} lacks the test tools: {found.stdout.strip()}. Run `tools/dev.py test --install-tools` to put "
            "them there, or unset COMFYUI_PATH and COMFYUI_PYTHON to test in an environment of its own."
        )


def _call(command: list[str], **environment: str) -> int:
    return subprocess.run(command, cwd=REPO, env={**os.environ, **environment}, check=False).returncode

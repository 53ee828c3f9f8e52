"""What CI runs: format, lint, types, then each tier of tests as a pytest run of its own."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence

from .browser import find_chromium
from .host import DevError, Host, log
from .layout import REPO
from .pins import DEV_TOOLS

TIERS = ("core", "host", "browser")
DEVICE_TIER = "gpu"
_NO_TESTS = 5
# Started this way, the working directory is not on sys.path: our `nodes/` would shadow the host's module.
_PYTEST = "import sys; sys.path = [p for p in sys.path if p]; import pytest; sys.exit(pytest.main(sys.argv[1:]))"
_TEST_TIMEOUT_S = 600


def run_tests(host: Host, *, full: bool = False, expression: str | None = None, tiers: Sequence[str] = ()) -> int:
    """Run everything, go on after a failure, and say at the end what failed. Returns the exit status."""
    started = time.monotonic()
    _require_tools(host)
    log(f"ComfyUI {host.version} at {host.comfyui}")
    failed = [] if expression or tiers else _checks(host)
    selected = 0
    for tier in tiers or TIERS:
        if tier == "browser" and not _browser_ready():
            continue
        status = _pytest(host, tier, full, expression)
        selected += status != _NO_TESTS
        # With -k a tier may have nothing to run; without it, finding no tests is a fault.
        if status not in (0, _NO_TESTS) or (status == _NO_TESTS and not expression):
            failed.append(f"tests/{tier}")
    if not selected:
        failed.append("no test was selected")
    seconds = time.monotonic() - started
    print(
        f"FAILED in {seconds:.0f} s: {', '.join(failed)}" if failed else f"All passed in {seconds:.0f} s.", flush=True
    )
    return 1 if failed else 0


def install_tools(host: Host) -> None:
    """Put the test tools into the host's environment; only ever done for a person's own one when they ask."""
    _call([host.python, "-m", "pip", "install", "--disable-pip-version-check", *DEV_TOOLS])


def _checks(host: Host) -> list[str]:
    commands = {
        "ruff check": ["ruff", "check", "."],
        "ruff format": ["ruff", "format", "--check", "."],
        "basedpyright": ["basedpyright"],
    }
    failed = []
    for name, command in commands.items():
        log(f"\n== {name}")
        if _call([host.python, "-m", *command]):
            failed.append(name)
    return failed


def _pytest(host: Host, tier: str, full: bool, expression: str | None) -> int:
    log(f"\n== tests/{tier}")
    arguments = [f"tests/{tier}", f"--timeout={_TEST_TIMEOUT_S}"]
    arguments += [] if full else ["-m", "not full"]
    arguments += ["-k", expression] if expression else []
    # The models are so small that threads cost more in waiting for each other than they gain.
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    return _call([host.python, "-c", _PYTEST, *arguments], COMFYUI_PATH=host.comfyui, OMP_NUM_THREADS=threads)


def _browser_ready() -> bool:
    if find_chromium() or os.environ.get("X2EDIT_REQUIRE_BROWSER") == "1":
        return True
    log("\n== tests/browser SKIPPED: no Chromium found. Install one, or set CHROMIUM to its path.")
    return False


def _require_tools(host: Host) -> None:
    """One clear error for a person's own environment that lacks the test tools."""
    modules = [tool.split("==")[0].replace("-", "_") for tool in DEV_TOOLS]
    probe = "import importlib.util as u, sys; print(*[m for m in sys.argv[1:] if u.find_spec(m) is None])"
    found = subprocess.run([host.python, "-c", probe, *modules], capture_output=True, text=True, check=True, cwd=REPO)
    if found.stdout.strip():
        raise DevError(
            f"{host.python} lacks the test tools: {found.stdout.strip()}. Run `tools/dev.py test --install-tools` to put "
            "them there, or unset COMFYUI_PATH and COMFYUI_PYTHON to test in an environment of its own."
        )


def _call(command: list[str], **environment: str) -> int:
    return subprocess.run(command, cwd=REPO, env={**os.environ, **environment}, check=False).returncode

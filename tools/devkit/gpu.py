"""Everything that wants a GPU, in eight minutes at most: tests, benchmarks, memory of the recipes, attention back-ends.

Each part is a process with a limit of its own and writes what it found as it goes, into out/gpu; a part that fails or runs
out of time leaves the others theirs.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from .host import Host, log
from .layout import OUT, REPO
from .testing import _PYTEST, DEVICE_TIER

FOLDER = OUT / "gpu"
LIMIT_S = 480.0
BENCH = REPO / "tools" / "bench"


@dataclass(frozen=True)
class Part:
    """A command after the host's Python, the seconds it may take, and what is left out or made small to rehearse it."""

    name: str
    command: tuple[str, ...]
    seconds: float
    rehearsal: tuple[str, ...]


def _bench(name: str, seconds: float, flags: Sequence[str], small: Sequence[str]) -> Part:
    script, kept = str(BENCH / f"bench_{name}.py"), ("--json", str(FOLDER / f"{name}.json"))
    return Part(name, (script, "--device", "cuda", *flags, *kept), seconds, (script, "--device", "cpu", *small, *kept))


PARTS = (
    Part("tests", ("-c", _PYTEST, f"tests/{DEVICE_TIER}", "-q"), 60, ("-c", _PYTEST, f"tests/{DEVICE_TIER}", "-q")),
    _bench("attention", 30, (), ("--tokens", "64", "--heads", "2", "--rounds", "1")),
    _bench("moe", 60, ("--size", "all"), ("--size", "small")),
    _bench("forward", 90, ("--sides", "1024"), ("--sides", "64")),
    _bench("recipes", 140, (), ("--rehearse", "--only", "5")),
    _bench("train", 90, ("--full",), ("--size", "small")),
)
"""The widest first: what is found early is not lost to what takes longer."""


def run(host: Host, only: Sequence[str] = (), rehearse: bool = False, limit_s: float = LIMIT_S) -> int:
    """Run the parts, or those named, for at most `limit_s` in all; 0 if all went well."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    deadline, failed = time.monotonic() + limit_s, []
    for part in [part for part in PARTS if not only or part.name in only]:
        left = min(part.seconds, deadline - time.monotonic())
        if left <= 0:
            failed.append(f"{part.name} (no time was left)")
            continue
        log(f"{part.name}, at most {left:.0f} s …")
        if told := _ended(host, part, left, rehearse):
            failed.append(f"{part.name} ({told})")
    print(f"FAILED: {', '.join(failed)}" if failed else f"All parts are done; see {FOLDER}.")
    return 1 if failed else 0


def table(host: Host) -> int:
    """The recipes' rows as they are computed, without a device."""
    command = [host.python, str(BENCH / "bench_recipes.py"), "--table"]
    return subprocess.run(command, env=_environment(host), cwd=REPO, check=False).returncode


def _ended(host: Host, part: Part, seconds: float, rehearse: bool) -> str:
    """What went wrong with a part, empty if nothing; its output goes to the screen and to a file, line by line."""
    command = [host.python, *(part.rehearsal if rehearse else part.command)]
    with (FOLDER / f"{part.name}.log").open("wb") as kept:
        process = subprocess.Popen(
            command, env=_environment(host), cwd=REPO, stdout=kept, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            _stop(process)
            status = None
    sys.stdout.write((FOLDER / f"{part.name}.log").read_text(encoding="utf-8", errors="replace"))
    sys.stdout.flush()
    if status is None:
        return f"its {seconds:.0f} s were over"
    return f"status {status}" if status else ""


def _stop(process: subprocess.Popen[bytes]) -> None:
    """The process and those that it started."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _environment(host: Host) -> dict[str, str]:
    path = os.pathsep.join(
        [host.comfyui, str(REPO / "tools"), str(REPO), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    return {**os.environ, "PYTHONPATH": path, "COMFYUI_PATH": host.comfyui}


def names() -> list[str]:
    return [part.name for part in PARTS]

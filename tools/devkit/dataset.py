"""A data set in hosts started for it: `x2edit_core.dataset`, run by the host's Python."""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack
from pathlib import Path

from .evaluate import repository_environment
from .host import Host, log
from .layout import REPO
from .server import Server

DEMO = REPO / "x2edit_core" / "dataset" / "demo.toml"
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def run_dataset(host: Host, config: Path, hosts: int, device: str, base: Path | None, flags: list[str]) -> int:
    """Make the set of `config` with so many hosts on this machine; returns the exit status.

    On the CPU each computes with one thread: two that share the cores of one edit wait for each other.
    """
    log(f"Starting ComfyUI {host.version} with only this pack, {hosts} times …")
    if device == "cpu":
        os.environ.update(_ONE_THREAD)
    own = ["--force-fp32"] if device == "cpu" else []
    with ExitStack() as stack:
        servers = [stack.enter_context(Server(host, device=device, base=base, flags=own)) for _ in range(hosts)]
        named = [part for server in servers for part in ("--host", server.url)]
        command = [host.python, "-m", "x2edit_core.dataset", str(config), *named, *flags]
        return subprocess.run(command, env=repository_environment(), check=False).returncode


def command_alone(host: Host, config: Path, flags: list[str]) -> int:
    """The same command without hosts, for what needs none."""
    command = [host.python, "-m", "x2edit_core.dataset", str(config), *flags]
    return subprocess.run(command, env=repository_environment(), check=False).returncode

"""Loading an adapter file of the released layout: processor time and peak memory, beside a plain reader's.

Each load is a process of its own, and the ways take turns; ratios are medians over rounds. Processor time is that of all
threads, so other work on the machine moves it little. The peak is what loading adds to the process's resident memory,
mapped pages of the file included. The file lies in a temporary folder: a tenth of the released size, or all of it with --full.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import naive_load
import torch
from measure import machine, median_ratio, write_json

from x2edit_core.adapters.checkpoint import load_adapter

SMALL, FULL = (2, 4), (19, 38)
"""Double and single blocks."""
UNCHECKED, EACH, OURS = "plain, unchecked", "plain, each tensor checked", "ours"
WAYS: dict[str, Callable[[Path], Any]] = {
    UNCHECKED: lambda path: naive_load.read(path, check=False),
    EACH: lambda path: naive_load.read(path, check=True),
    OURS: load_adapter,
}
_STATUS = Path("/proc/self/status")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="a file of the released size, 1.95 GB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument(
        "--alone", nargs=2, metavar=("WAY", "FILE"), help="load once in this process and print the cost"
    )
    args = parser.parse_args()
    if args.alone:
        print(json.dumps(_cost(WAYS[args.alone[0]], Path(args.alone[1]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lora.safetensors"
        size = naive_load.write(path, *(FULL if args.full else SMALL))
        figures = {"machine": machine(torch.device("cpu")), "bytes": size, "full": args.full, "ways": {}}
        print(f"{size / 1e9:.2f} GB; {figures['machine']['device']}, torch {torch.__version__}")
        figures["ways"] = compared(path, size, args.rounds)
    write_json(args.json, figures)


def compared(path: Path, size: int, rounds: int) -> dict[str, Any]:
    """Each way's seconds and peak; the first round only brings the file into the system's cache."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for number in range(rounds + 1):
        for way in WAYS:
            cost = _in_a_process(way, path)
            if number:
                found[way].append(cost)
    seconds = {way: [cost["cpu_s"] for cost in costs] for way, costs in found.items()}
    rows = {}
    for way, costs in found.items():
        rows[way] = {
            "cpu_s": statistics.median(seconds[way]),
            "over_unchecked": median_ratio(seconds[way], seconds[UNCHECKED]),
            "peak_over_file": statistics.median(cost["peak_bytes"] for cost in costs) / size,
        }
        print(
            f"{way:28} {rows[way]['cpu_s']:6.2f} CPU s {rows[way]['over_unchecked']:6.2f} × unchecked "
            f"{rows[way]['peak_over_file']:6.2f} × file at peak"
        )
    return rows


def _in_a_process(way: str, path: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--alone", way, str(path)]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}  # waiting for another thread is not work
    answer = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(answer.stdout)


def _cost(load: Callable[[Path], Any], path: Path) -> dict[str, float]:
    before, start = _peak_bytes(), time.process_time()
    loaded = load(path)
    cost = {"cpu_s": time.process_time() - start, "peak_bytes": _peak_bytes() - before}
    del loaded
    return cost


def _peak_bytes() -> int:
    """Linux's `ru_maxrss` begins with what the parent process held, `VmHWM` does not."""
    if _STATUS.exists():
        lines = _STATUS.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()

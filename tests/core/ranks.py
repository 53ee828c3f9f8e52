"""Processes that train together over gloo, started once and given jobs: see `rank_jobs`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class Ranks:
    """`world` processes; `run` gives them all the same job and returns their answers in order."""

    def __init__(self, folder: Path, world: int = 2) -> None:
        environment = {**os.environ, "WORLD_SIZE": str(world), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
                       "GLOO_SOCKET_IFNAME": "lo"}  # fmt: skip
        command = [sys.executable, str(Path(__file__).with_name("rank_jobs.py")), str(folder / "rendezvous")]
        self._logs = [folder / f"rank-{rank}.log" for rank in range(world)]
        self._processes = []
        for rank, log in enumerate(self._logs):
            with log.open("wb") as errors:
                self._processes.append(
                    subprocess.Popen(command, env={**environment, "RANK": str(rank)}, stderr=errors, text=True,
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                )  # fmt: skip

    def run(self, job: str, *arguments: Any) -> list[Any]:
        line = json.dumps([job, [str(item) if isinstance(item, Path) else item for item in arguments]])
        for process in self._processes:
            process.stdin.write(line + "\n")
            process.stdin.flush()
        answers = [self._answer(rank) for rank in range(len(self._processes))]
        faults = [answer["error"] for answer in answers if isinstance(answer, dict) and "error" in answer]
        assert not faults, "\n".join(faults)
        return answers

    def _answer(self, rank: int) -> Any:
        for line in self._processes[rank].stdout:
            if line.startswith("answer "):
                return json.loads(line.removeprefix("answer "))
        raise AssertionError(f"process {rank} ended: {self._logs[rank].read_text()[-2000:]}")

    def close(self) -> None:
        """Ends them; each must go as it should, with status 0."""
        for process in self._processes:
            process.stdin.close()
        try:
            statuses = [process.wait(60) for process in self._processes]
        finally:
            for process in self._processes:
                process.kill()
                process.wait()
                process.stdout.close()
        assert statuses == [0] * len(statuses), "\n".join(log.read_text()[-2000:] for log in self._logs)

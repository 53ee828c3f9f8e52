"""What a run of tests found, kept as JSON: the records that `COMPATIBILITY.md` is made from.

A pytest plugin, active where `X2EDIT_RECORD` names a file. One record holds one host; runs of single files add up in it, the
latest run of a file replacing what was known of it.
"""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from typing import Any

VARIABLE = "X2EDIT_RECORD"


class Outcomes:
    """Collects the outcome of every test: `passed`, `failed`, or `skipped: ` and why."""

    def __init__(self, path: Path, about: dict[str, str]) -> None:
        self._path, self._about = path, about
        self._found: dict[str, str] = {}
        self._begun: set[str] = set()

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or report.outcome != "passed":
            reason = str(report.longrepr[-1]) if report.skipped else ""
            known = self._found.get(report.nodeid)
            if self._found and _file(report.nodeid) not in self._begun:
                self.pytest_sessionfinish()  # a run that is killed keeps what it was through with
            self._begun.add(_file(report.nodeid))
            self._found[report.nodeid] = known if known == "failed" else _outcome(report.outcome, reason)

    def pytest_sessionfinish(self) -> None:
        files = {_file(name) for name in self._found}
        earlier = read(self._path)["tests"] if self._path.exists() else {}
        kept = {name: outcome for name, outcome in earlier.items() if _file(name) not in files}
        record = {**self._about, "tests": dict(sorted({**kept, **self._found}.items()))}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _outcome(outcome: str, reason: str) -> str:
    return f"skipped: {reason.removeprefix('Skipped: ')}" if outcome == "skipped" else outcome


def _file(name: str) -> str:
    return name.split("::")[0]


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def pytest_configure(config: Any) -> None:
    started_by_another = hasattr(config, "workerinput")  # which hears of every outcome and keeps the record
    if os.environ.get(VARIABLE) and not started_by_another:
        config.pluginmanager.register(Outcomes(Path(os.environ[VARIABLE]), _about()))


def _about() -> dict[str, str]:
    import comfyui_version
    import torch

    return {
        "host": comfyui_version.__version__,
        "date": time.strftime("%Y-%m-%d"),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": "CPU",
    }

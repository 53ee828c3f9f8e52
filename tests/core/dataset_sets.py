"""Small sets for tests: pictures, a configuration for them, and a run in this process or in one that can be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from x2edit_core.dataset import shards
from x2edit_core.dataset.config import DatasetConfig, load_config
from x2edit_core.dataset.run import Run
from x2edit_core.dataset.shop import workshop
from x2edit_core.dataset.sources import read_sources

from .edit_server import GRAPH

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[1]
CONFIG = """
name = "set"
output = "{output}"
shard = {shard}
workers = {workers}
patience = {patience}
probe = 0.2
[sources]
kind = "jsonl"
path = "{sources}"
licence = "CC0-1.0"
origin = "made for tests"
[[hosts]]
address = "{address}"
[recipes.bright]
workflow = "{graph}"
[duplicates]
hash = -1
[release]
picture = "png"
{more}
"""


def noise(seed, width=24, height=16):
    return np.random.default_rng(seed).integers(0, 200, (height, width, 3), np.uint8)


def written_sources(folder, count):
    """`count` different pictures and the list that names them, each with what is to be done to it."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(count):
        Image.fromarray(noise(number)).save(folder / f"{number}.png")
        lines.append({"image": f"{number}.png", "instruction": f"Make number {number} brighter", "task": "tone"})
    (folder / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder / "list.jsonl"


def config_file(folder, address, count=6, shard=2, workers=3, more="", patience=20.0):
    """A configuration, its sources and its workflow below `folder`; returns the configuration's file."""
    sources = written_sources(folder / "sources", count)
    (folder / "graph.json").write_text(json.dumps(GRAPH))
    values = {"output": (folder / "out").as_posix(), "sources": sources.as_posix(), "address": address, "more": more,
              "graph": (folder / "graph.json").as_posix(), "shard": shard,
              "workers": workers, "patience": patience}  # fmt: skip
    (folder / "config.toml").write_text(CONFIG.format(**values))
    return folder / "config.toml"


def made(config: DatasetConfig, **more):
    """A whole run in this process."""
    return Run(workshop(config), **more).run(read_sources(config.sources))


def outcomes(config: DatasetConfig):
    return [one for folder in shards.finished_shards(config.folder) for one in shards.outcomes_of(folder)]


class Runs:
    """Starts the command in processes of their own, kills them, and waits for them."""

    def __init__(self):
        command = [sys.executable, "-c", f"import sys; sys.path.append({str(REPO)!r}); "
                   f"import runpy; runpy.run_path({str(HERE / 'dataset_process.py')!r}, run_name='__main__')"]  # fmt: skip
        self._parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def start(self, path):
        return int(self._told(f"run {path}"))

    def wait(self, process):
        return int(self._told(f"wait {process}"))

    def kill(self, process):
        os.kill(process, signal.SIGKILL)
        return self.wait(process)

    def close(self):
        self._parent.stdin.close()
        self._parent.wait()

    def _told(self, line):
        self._parent.stdin.write(line + "\n")
        self._parent.stdin.flush()
        return self._parent.stdout.readline()


def loaded(path):
    return load_config(path)

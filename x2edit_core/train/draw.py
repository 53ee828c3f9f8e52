"""Draws shards of scenes into a folder: `python -m x2edit_core.train.draw FOLDER --help`.

A process of its own, so that drawing uses every core; it imports no torch, since only pictures are made here.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import scenes
from ..errors import X2EditError

SHARD = 200
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class SceneSet:
    """Seeds `first` … `first + count − 1` of one split: `edit` cases, or captioned `picture`s."""

    what: str
    first: int
    count: int
    size: int = 128
    split: scenes.Split = "train"
    language: str = "any"

    def shards(self) -> list[tuple[int, int]]:
        """(start, stop) seeds of each shard file."""
        stop = self.first + self.count
        return [(start, min(start + SHARD, stop)) for start in range(self.first, stop, SHARD)]

    def file(self, folder: Path, start: int, stop: int) -> Path:
        name = f"{self.what}-{self.split}-{self.size}-{self.language}-{start}-{stop}.npz"
        return folder / scenes_fingerprint() / name


def scenes_fingerprint() -> str:
    """Changes with the code that draws, so that pictures of an older version are not mixed in."""
    digest = hashlib.sha256()
    for file in sorted(Path(scenes.__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def draw_shards(wanted: SceneSet, folder: Path, part: int = 0, parts: int = 1) -> None:
    """Draw what is missing of every `parts`-th shard; a shard appears whole or not at all."""
    for start, stop in wanted.shards()[part::parts]:
        path = wanted.file(folder, start, stop)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_suffix(f".{os.getpid()}.part")
            with beside.open("wb") as file:
                np.savez_compressed(file, **_drawn(wanted, range(start, stop)))  # pyright: ignore[reportArgumentType]
            beside.replace(path)


def _drawn(wanted: SceneSet, seeds: range) -> dict[str, Any]:
    language = None if wanted.language == "any" else wanted.language
    options = {"split": wanted.split, "size": wanted.size, "language": language}
    sources, targets, words, tasks = [], [], [], []
    for seed in seeds:
        if wanted.what == "edit":
            case = scenes.make_case(seed, **options)
            sources.append(case.source)
            targets.append(case.target)
            words.append(case.instruction)
            tasks.append(case.task.id)
        else:
            picture, caption = scenes.make_picture(seed, **options)
            targets.append(picture)
            words.append(caption)
            tasks.append(0)
    pictures = {"target": np.stack(targets)} | ({"source": np.stack(sources)} if sources else {})
    return {**pictures, "tasks": np.array(tasks), "words": np.array(json.dumps(words, ensure_ascii=False))}


def drawn_shards(
    wanted: SceneSet, folder: Path, workers: int, poll: Callable[[int, int], None] = lambda done, total: None
) -> Iterator[dict[str, Any]]:
    """The shards in order, drawn by `workers` processes as needed.

    `poll` is told how many shards are there, several times a second; what it raises ends the drawing.
    """
    shards = wanted.shards()
    missing = sum(not wanted.file(folder, *shard).exists() for shard in shards)
    started = [_start(wanted, folder, part, workers) for part in range(workers)] if missing and workers else []
    try:
        if missing and not workers:
            draw_shards(wanted, folder)
        for number, shard in enumerate(shards):
            path = wanted.file(folder, *shard)
            while not path.exists():
                poll(number, len(shards))
                _check(started, path)
                time.sleep(0.2)
            with np.load(path) as file:
                content = dict(file)
            yield content | {"words": json.loads(str(content["words"]))}
    finally:
        for process in started:
            process.terminate()
            process.wait()


def _start(wanted: SceneSet, folder: Path, part: int, parts: int) -> subprocess.Popen[bytes]:
    module = __name__ if __name__.startswith("x2edit_core.") else "x2edit_core.train.draw"
    arguments = ["--what", wanted.what, "--first", wanted.first, "--count", wanted.count, "--size", wanted.size]
    arguments += ["--split", wanted.split, "--language", wanted.language, "--part", part, "--parts", parts]
    command = [sys.executable, "-m", module, str(folder.resolve()), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=_ROOT, env=environment)


def _check(started: list[subprocess.Popen[bytes]], path: Path) -> None:
    """Raise if no worker can make `path` any more."""
    if all(process.poll() is not None for process in started) and not path.exists():
        codes = [process.returncode for process in started]
        raise X2EditError(f"Drawing scenes ended with exit codes {codes} before {path.name} was there.")


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw scenes into shard files, in resumable pieces.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--what", choices=("edit", "picture"), default="edit")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--split", choices=("train", "heldout"), default="train")
    parser.add_argument("--language", choices=("any", "en", "zh"), default="any")
    parser.add_argument("--part", type=int, default=0)
    parser.add_argument("--parts", type=int, default=1)
    options = vars(parser.parse_args())
    folder, part, parts = (options.pop(name) for name in ("folder", "part", "parts"))
    draw_shards(SceneSet(**options), folder, part, parts)


if __name__ == "__main__":
    main()

"""Edits of scenes with several seeds, looked at after every step: recorded once, so that any way to choose can be replayed.

One file a scene and side: `NUMBER-SIDE.npz` with the source, and for each schedule of `SCHEDULES` the pictures
[seeds, steps, H, W, 3] (halved in size, for where they changed), and the exact errors [seeds, steps, 3] and nearness
[seeds, steps].
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

SCHEDULES = (28, 10, 4)
"""The full run, the paper's short one, and that of bases that need few steps."""
ERRORS = ("done", "whole", "everywhere")


@dataclass(frozen=True)
class Looks:
    """Every step of every seed on one scene: the source [H, W, 3], and by schedule pictures, errors and nearness in dB."""

    task: str
    source: np.ndarray
    pictures: dict[int, np.ndarray]
    errors: dict[int, np.ndarray]
    psnr: dict[int, np.ndarray]


def record(bench: Any, folder: Path, numbers: range, seeds: int, side: int) -> None:
    """Held-out scenes of these numbers, the tasks in turn; what is there, or begun by another process (`.part`), is left."""
    folder.mkdir(parents=True, exist_ok=True)
    make_case, tasks = bench.pack.core("scenes").make_case, bench.pack.core("scenes").TASKS
    for number in numbers:
        path = folder / f"{number:04d}-{side}.npz"
        part = path.with_suffix(".part")
        if path.exists() or part.exists():
            continue
        part.touch()
        start, case = time.perf_counter(), make_case(number, tasks[number % len(tasks)], split="heldout", size=side)
        bench.set_edit(torch.from_numpy(case.source.copy()).float()[None] / 255, case.instruction, case.task.english)
        arrays: dict[str, Any] = {"task": np.array(case.task.name.lower()), "source": halved(case.source)}
        for steps in SCHEDULES:
            found = _of_schedule(bench, case, range(1000 * number, 1000 * number + seeds), steps)
            arrays |= {f"{name}-{steps}": values for name, values in found.items()}
        with part.open("wb") as file:
            np.savez_compressed(file, **arrays)
        part.rename(path)
        right = arrays[f"errors-{SCHEDULES[0]}"][:, -1].max(-1) <= 1
        print(
            f"{number} {case.task.name.lower()} {right.sum()}/{seeds} {time.perf_counter() - start:.0f} s", flush=True
        )


def _of_schedule(bench: Any, case: Any, seeds: range, steps: int) -> dict[str, np.ndarray]:
    errors_of, trip = bench.pack.core("scenes.scenebench").errors, round_trips(bench)
    rows = [[pixels(picture) for picture in row] for row in bench.looks(seeds, steps)]
    errors = [[_three(errors_of(case, picture, trip)) for picture in row] for row in rows]
    psnr = [[_decibel(picture, case.target) for picture in row] for row in rows]
    pictures = [[halved(picture) for picture in row] for row in rows]
    return {"pictures": np.array(pictures), "errors": np.array(errors, np.float32), "psnr": np.array(psnr, np.float32)}


def _three(errors: Any) -> tuple[float, ...]:
    """The errors, `done` a hair larger: it must be below 1, the others may be 1."""
    return errors.done + 1e-6, errors.whole, errors.everywhere


def _decibel(one: np.ndarray, other: np.ndarray) -> float:
    return -10 * float(np.log10(max(np.square((one.astype(np.float32) - other) / 255).mean(), 1e-6)))


def round_trips(bench: Any) -> Callable[[Any], Any]:
    """Through the autoencoder and back, remembered."""
    trips: dict[bytes, Any] = {}

    def round_trip(picture: Any) -> Any:
        key = picture.tobytes()
        if key not in trips:
            values = torch.from_numpy(picture.copy()).float()[None] / 255
            trips[key] = pixels(bench.vae.decode(bench.vae.encode(values))[0])
        return trips[key]

    return round_trip


def pixels(picture: Tensor) -> np.ndarray:
    return (picture.float().cpu() * 255).round().clamp(0, 255).byte().numpy()


def halved(picture: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] at half the size, by means of four."""
    height, width = (side // 2 * 2 for side in picture.shape[:2])
    blocks = picture[:height, :width].astype(np.float32).reshape(height // 2, 2, width // 2, 2, 3)
    return blocks.mean((1, 3)).round().astype(np.uint8)


def read(folder: Path) -> Iterator[Looks]:
    """The recorded scenes, in order."""
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        sys.exit(f"{folder} holds no recorded scenes; `--record {folder} --scenes N` makes them.")
    for path in paths:
        with np.load(path) as file:
            parts = [{steps: file[f"{name}-{steps}"] for steps in SCHEDULES} for name in ("pictures", "errors", "psnr")]
            yield Looks(str(file["task"]), file["source"], *parts)

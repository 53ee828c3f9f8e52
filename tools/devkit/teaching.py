"""Teaches the miniature an edit that it does not know, and shows what became of it. Run in the host's Python by `dev.py teach`.

Pairs come from photos in scikit-image's wheel; base and trained adapter then edit photos that were not among them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from devkit.heldout import Scorer, psnr
from devkit.photos import crops, write_pairs
from devkit.teach import FIGURES
from x2edit_core.miniature.lessons import LESSONS, Lesson, lesson_named

SIDE, PAIRS, SCORED, SHOWN = 128, 160, 24, 4
STEPS, BATCH = 220, 8
SEED = 0


def configuration(folder: Path, pairs: Path, steps: int) -> dict[str, Any]:
    """X2Edit's kind with few experts; a token meets a rank of 48."""
    return {
        "kind": "x2edit",
        "output": str(folder / "run"),
        "steps": steps,
        "batch": BATCH,
        "seed": SEED,
        "model": {"base": "demo:x2edit", "precision": "float32"},
        "adapter": {"experts": 4, "rank": 16, "top_k": 2},
        "data": {"kind": "jsonl", "path": str(pairs), "size": SIDE, "cache": str(folder / "cache")},
        "loss": {"time_law": "logit_normal", "time_mean": 1.0, "time_spread": 1.2},
        "optim": {"rate": 2e-3, "warmup": 10, "final": 0.05},
    }


def teach(folder: Path, lesson: Lesson, steps: int, seconds: float) -> dict[str, Any]:
    """Train for at most `steps` and `seconds`; the figures, and a sheet of base | trained | target in `folder`."""
    from x2edit_core.comfy_bridge.training.models import HostPictures, load_models
    from x2edit_core.comfy_bridge.training.setup import assemble
    from x2edit_core.train.config import parse_config
    from x2edit_core.train.loop import Stopped, Trainer

    started = time.monotonic()
    pairs = write_pairs(folder / "pairs", "train", [lesson], PAIRS, SIDE)
    config = parse_config(configuration(folder, pairs, steps))
    models = load_models(config.model)
    trainer = Trainer(config, assemble(config, models=models))
    pictures = HostPictures(models.vae, models.model)
    scorer = Scorer(trainer.parts, config.kind, pictures, [lesson], SIDE)
    sources = list(crops("test", SCORED, SIDE))
    targets = [lesson.apply(source) for source in sources]
    base = scorer.edited(lesson, sources)

    def on_step(report: Any) -> None:
        if report.step % 20 == 0:
            print(
                f"step {report.step} of {steps}  loss {report.loss:.3f}  {time.monotonic() - started:.0f} s", flush=True
            )
        if time.monotonic() - started > seconds:
            raise Stopped

    result = trainer.run(on_step)
    coded = pictures.decode(pictures.encode(torch.from_numpy(np.stack(targets))))
    trained = scorer.edited(lesson, sources)
    sheet = folder / f"{lesson.name.replace(' ', '-')}.jpg"
    _sheet(
        [torch.from_numpy(np.stack(sources) / 255.0), base, trained, torch.from_numpy(np.stack(targets) / 255.0)], sheet
    )
    return {
        "lesson": lesson.name,
        "steps": trainer.step,
        "seconds": round(time.monotonic() - started),
        "base_db": statistics.mean(map(psnr, base, targets)),
        "trained_db": statistics.mean(map(psnr, trained, targets)),
        "ceiling_db": statistics.mean(map(psnr, coded, targets)),
        "adapter": str(result),
        "sheet": str(sheet),
    }


def _sheet(columns: list[torch.Tensor], path: Path) -> None:
    """One row a picture: source, base, trained, target. The first ones, which come from the photos in turn."""
    rows = torch.cat([column[:SHOWN].float().clamp(0, 1) for column in columns], 2)
    Image.fromarray((rows.flatten(0, 1) * 255).round().numpy().astype(np.uint8)).save(path, quality=88)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lesson", default="channels", choices=list(LESSONS))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--minutes", type=float, default=4.5)
    args = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from x2edit_core.train.__main__ import prepare_host

    prepare_host("")
    args.folder.mkdir(parents=True, exist_ok=True)
    figures = teach(args.folder, lesson_named(args.lesson), args.steps, args.minutes * 60)
    (args.folder / FIGURES).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

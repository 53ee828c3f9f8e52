"""The papers' ablation in miniature, on edits that are new to the base: each form of adapter learns all of them together.

Crops of photos at 64 px, cut from scikit-image's wheel; photos to learn from, to choose rates on and to score never show one
scene. Forms with references start from the shipped base, ICEdit's from its Fill. For one seed all forms see the same samples,
noise and σ. Each run writes its figures as it ends, and what is done is not done again; several processes may share the
work. `--collect` puts the figures into docs/bench, from which `ablation_page.py` makes docs/ablation.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from devkit.heldout import Scorer, psnr
from devkit.photos import crops, write_pairs
from measure import machine, write_json

from x2edit_core.errors import X2EditError
from x2edit_core.miniature.lessons import LESSONS

SIDE, BATCH = 64, 8
PAIRS, VALIDATED, SCORED = 40, 4, 12
"""Crops of each edit to learn from, to choose the rate on, and to score."""
RATES = (1e-3, 2e-3)
ONE_SENTENCE = "change the picture"
SAID: Mapping[str, str] = {"named": "", "one sentence": ONE_SENTENCE}
"""What is said of an edit: its own words, or the same of all."""
EXPERTS, RANK, TOP_K = 6, 16, 2
_ROUTED = {"experts": EXPERTS, "rank": RANK, "top_k": TOP_K}
ARMS: Mapping[str, Mapping[str, Any]] = {
    "plain LoRA": {"kind": "lora", "adapter": {"rank": RANK * (TOP_K + 1)}},
    "MoE": {"kind": "moe", "adapter": _ROUTED},
    "MoE with task": {"kind": "x2edit", "adapter": _ROUTED},
    "MoE with task and contrast": {"kind": "x2edit", "adapter": _ROUTED, "loss": {"contrast": 0.1}},
    "ICEdit, plain": {"kind": "icedit", "adapter": {"rank": RANK}},
    "ICEdit, MoE": {
        "kind": "icedit_moe",
        "adapter": {"experts": EXPERTS, "rank": RANK, "top_k": 1, "plain_rank": RANK},
    },
}
"""A token meets equal rank in each arm of a kind: a plain LoRA has that of two experts and the always-on part together,
ICEdit's plain form that of one expert."""


@dataclass(frozen=True)
class Run:
    arm: str
    said: str
    rate: float
    seed: int

    @property
    def name(self) -> str:
        words = f"{self.arm} {self.said} {self.rate:g} {self.seed}"
        return words.replace(",", "").replace(" ", "-").lower()


def plan(folder: Path, seeds: int, arms: Sequence[str]) -> Iterator[Run]:
    """Runs in the order of their worth: each form's rates with the first seed, then what is left at the rate it chose."""
    routed = [arm for arm in arms if not arm.startswith("ICEdit")]
    named, one = SAID
    groups = [(named, routed), (one, routed), (named, [arm for arm in arms if arm not in routed])]
    for seed in range(seeds):
        for said, some in groups:
            for arm in some:
                first = said == named and not seed
                rates = RATES if first else [rate for rate in [chosen(folder, arm)] if rate]
                yield from (Run(arm, said, rate, seed) for rate in rates)


def chosen(folder: Path, arm: str) -> float | None:
    """The rate of the best validation, with sentences that name the edit; None while one of them is missing."""
    found = {rate: result(folder, Run(arm, next(iter(SAID)), rate, 0)) for rate in RATES}
    if not all(found.values()):
        return None
    return max(found, key=lambda rate: (found[rate] or {})["validation_db"])


def result(folder: Path, run: Run) -> dict[str, Any] | None:
    file = folder / "results" / f"{run.name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def configuration(folder: Path, run: Run, steps: int) -> dict[str, Any]:
    """One run, at the size of the miniature."""
    arm = ARMS[run.arm]
    base = "demo:fill" if arm["kind"].startswith("icedit") else "demo:x2edit"
    pairs = folder / f"pairs-{run.said.replace(' ', '-')}" / "train.jsonl"
    return {
        "kind": arm["kind"],
        "output": str(folder / "runs" / run.name),
        "steps": steps,
        "batch": BATCH,
        "seed": run.seed,
        "save_every": 10**6,
        "model": {"base": base, "precision": "float32"},
        "adapter": arm["adapter"],
        "data": {"kind": "jsonl", "path": str(pairs), "size": SIDE, "cache": str(folder / "cache")},
        "loss": {"time_law": "logit_normal", "time_mean": 1.0, "time_spread": 1.2, **arm.get("loss", {})},
        "optim": {"rate": run.rate, "warmup": 20, "final": 0.1},
    }


def measured(folder: Path, run: Run, steps: int) -> dict[str, Any]:
    """Train one run and score it on photos that it never saw."""
    from x2edit_core.comfy_bridge.training.models import load_models
    from x2edit_core.comfy_bridge.training.setup import assemble
    from x2edit_core.train.config import parse_config
    from x2edit_core.train.loop import Trainer

    config = parse_config(configuration(folder, run, steps))
    models = load_models(config.model)
    trainer = Trainer(config, assemble(config, models=models))
    scorer = _scorer(trainer.parts, config.kind, models, run.said)
    trainer.run()
    found: dict[str, Any] = {
        "arm": run.arm,
        "said": run.said,
        "rate": run.rate,
        "seed": run.seed,
        "parameters": sum(weight.numel() for weight in trainer.parts.weights.parameters()),
        "validation_db": _mean(scorer.edits(crops_of("validation"))),
        "edits_db": scorer.edits(crops_of("test")),
    }
    if config.kind == "x2edit":
        found["wrong_task_db"] = scorer.edits(crops_of("test"), wrong_task=True)
    if config.kind in ("x2edit", "moe", "icedit_moe"):
        found["usage"] = scorer.usage(crops_of("validation"))
    return found


def _scorer(parts: Any, kind: str, models: Any, said: str) -> Scorer:
    from x2edit_core.comfy_bridge.training.models import HostPictures

    return Scorer(parts, kind, HostPictures(models.vae, models.model), list(LESSONS.values()), SIDE, SAID[said])


def crops_of(part: str) -> list[Any]:
    return list(crops(part, SCORED if part == "test" else VALIDATED, SIDE))


def _mean(by_edit: Mapping[str, float]) -> float:
    return statistics.mean(by_edit.values())


def references(folder: Path) -> dict[str, Any]:
    """By edit: the base alone on both forms, the source left as it is, and the target through the autoencoder."""
    from x2edit_core.comfy_bridge.training.models import HostPictures, load_models
    from x2edit_core.train.config import ModelConfig

    models = load_models(ModelConfig(base="demo:x2edit"))
    pictures, sources = HostPictures(models.vae, models.model), crops_of("test")
    left, ceiling = {}, {}
    for name, lesson in LESSONS.items():
        targets = [lesson.apply(source) for source in sources]
        left[name] = statistics.mean(
            psnr(torch.from_numpy(s / 255.0), t) for s, t in zip(sources, targets, strict=True)
        )
        again = pictures.decode(pictures.encode(torch.from_numpy(np.stack(targets))))
        ceiling[name] = statistics.mean(map(psnr, again, targets))
    bases = {
        f"{title}, {said}": untrained(folder, arm, said)
        for title, arm in (("base", "MoE"), ("base of ICEdit", "ICEdit, MoE"))
        for said in SAID
    }
    return {"source left alone": left, **bases, "the autoencoder's copy of the target": ceiling}


def untrained(folder: Path, arm: str, said: str) -> dict[str, float]:
    """What a new adapter of this form does, which is nothing: its base alone."""
    from x2edit_core.comfy_bridge.training.models import load_models
    from x2edit_core.comfy_bridge.training.setup import assemble
    from x2edit_core.train.config import parse_config

    config = parse_config(configuration(folder, Run(arm, said, RATES[0], 0), 1))
    models = load_models(config.model)
    parts = assemble(config, models=models)
    parts.batches.close()
    return _scorer(parts, config.kind, models, said).edits(crops_of("test"))


def work(folder: Path, steps: int, seeds: int, arms: Sequence[str]) -> None:
    """Do the runs that nobody has done or is doing, until none is left."""
    from x2edit_core.train.checkpoints import claimed

    busy: set[Run] = set()
    while True:
        todo = [run for run in plan(folder, seeds, arms) if run not in busy and not result(folder, run)]
        if not todo:
            return
        run = todo[0]
        place = folder / "runs" / run.name
        try:
            with claimed(place):
                if not result(folder, run):
                    found = measured(folder, run, steps)
                    write_json(folder / "results" / f"{run.name}.json", {"steps": steps, **found})
                    print(f"{run.name}: {_mean(found['edits_db']):.2f} dB", flush=True)
        except X2EditError as error:
            print(f"{run.name}: {error}", flush=True)
            busy.add(run)
            continue
        shutil.rmtree(place, ignore_errors=True)


def collected(folder: Path, seeds: int) -> dict[str, Any]:
    """All figures that are there: for each arm the runs at its rate, and its validation at the others."""
    runs: dict[str, dict[str, Any]] = {said: {} for said in SAID}
    for arm in ARMS:
        rate = chosen(folder, arm)
        if rate is None:
            continue
        tried = {f"{r:g}": (result(folder, Run(arm, next(iter(SAID)), r, 0)) or {})["validation_db"] for r in RATES}
        for said in SAID:
            done = [found for seed in range(seeds) if (found := result(folder, Run(arm, said, rate, seed)))]
            if done:
                runs[said][arm] = {"rate": rate, "validation_db": tried, "runs": done}
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("out/ablation"))
    parser.add_argument("--steps", type=int, default=360)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=list(ARMS), default=list(ARMS), help="a part of the arms")
    parser.add_argument("--collect", action="store_true", help="train nothing, gather what is there")
    parser.add_argument("--json", type=Path, help="with --collect: where to")
    args = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from x2edit_core.train.__main__ import prepare_host

    prepare_host("")
    lessons = list(LESSONS.values())
    for said, words in SAID.items():
        place = args.folder / f"pairs-{said.replace(' ', '-')}"
        if not (place / "train.jsonl").exists():
            write_pairs(place, "train", lessons, PAIRS, SIDE, words)
    if not args.collect:
        work(args.folder, args.steps, args.seeds, args.only)
        return
    size = {
        "steps": args.steps,
        "batch": BATCH,
        "side": SIDE,
        "pairs": PAIRS * len(LESSONS),
        "scored": SCORED * len(LESSONS),
    }
    found = args.folder / "references.json"
    if not found.exists():
        write_json(found, references(args.folder))
    known = json.loads(found.read_text(encoding="utf-8"))
    figures = {"machine": machine(torch.device("cpu")), **size, "references": known}
    write_json(args.json, figures | {"said": collected(args.folder, args.seeds)})


if __name__ == "__main__":
    main()

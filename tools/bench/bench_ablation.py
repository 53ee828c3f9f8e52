"""The paper's ablation in miniature: each form of adapter, trained for equally many steps on the same 64 px scenes.

Every variant starts from the same small base and sees the same samples, noise and σ for the same seed. Held-out edits
are then made with a few Euler steps and scored as SceneBench does. `--base` names the folder of a base run (with
base.safetensors, fill.safetensors and text.safetensors); the runs are kept in `--folder` and go on where they stopped.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import machine, write_json

SIDE, BATCH, RATE = 64, 32, 2e-3
SAMPLE_STEPS = 8
LAST = 30
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "plain LoRA": {"kind": "lora", "adapter": {"rank": 16}},
    "MoE": {"kind": "moe"},
    "MoE with task": {"kind": "x2edit"},
    "MoE with task and contrast": {"kind": "x2edit", "loss": {"contrast": 0.2}},
    "ICEdit, plain": {"kind": "icedit", "adapter": {"rank": 16}},
    "ICEdit, MoE": {"kind": "icedit_moe", "adapter": {"experts": 4, "top_k": 1, "plain_rank": 8}},
}
"""Adapters of like size at rank 8 unless said; a plain LoRA gets the rank that a token's two experts have together."""


@dataclass(frozen=True)
class Plan:
    base: Path
    folder: Path
    steps: int
    cases: int
    pool: int


def configuration(plan: Plan, name: str, seed: int) -> dict[str, Any]:
    """One variant's run."""
    variant = VARIANTS[name]
    file = "fill" if variant["kind"].startswith("icedit") else "base"
    return {
        "kind": variant["kind"],
        "output": str(plan.folder / f"{name.replace(', ', ' ').replace(' ', '_').lower()}-{seed}"),
        "steps": plan.steps,
        "batch": BATCH,
        "seed": seed,
        "save_every": 1000,
        "model": {
            "base": str(plan.base / f"{file}.safetensors"),
            "clip": [str(plan.base / "text.safetensors")],
            "precision": "float32",
        },
        "adapter": {"rank": 8, **variant.get("adapter", {})},
        "data": {"size": SIDE, "cases": plan.pool, "cache": str(plan.folder / "cache")},
        "loss": {
            "time_law": "logit_normal",
            "time_mean": 1.4,
            "time_spread": 1.2,
            "edited": 3.0,
            **variant.get("loss", {}),
        },
        "optim": {"rate": RATE, "warmup": 20, "final": 0.1, "ema": 0.98},
    }


def run(plan: Plan, name: str, seed: int, cases: list[Any]) -> dict[str, float]:
    """Train one variant, or take it from its folder, and score what it makes of the held-out cases."""
    from x2edit_core.comfy_bridge.training.models import HostPictures, load_models
    from x2edit_core.comfy_bridge.training.setup import assemble
    from x2edit_core.train.config import parse_config
    from x2edit_core.train.loop import Trainer

    config = parse_config(configuration(plan, name, seed))
    models = load_models(config.model)
    parts = assemble(config, models=models)
    trainer = Trainer(config, parts)
    trainer.run()
    with trainer.averaged():
        found = score_all(parts, config.kind, HostPictures(models.vae, models.model), cases)
    return {
        "parameters": sum(weight.numel() for weight in parts.weights.parameters()),
        "loss": last_loss(config.folder),
        **found,
    }


def last_loss(folder: Path) -> float:
    """The mean flow loss of a run's last steps."""
    with (folder / "losses.csv").open(encoding="utf-8") as file:
        return statistics.mean(float(row["flow"]) for row in list(csv.DictReader(file))[-LAST:])


def score_all(parts: Any, kind: str, pictures: Any, cases: list[Any]) -> dict[str, float]:
    """Success, PSNR to the exact target and preservation of the cases, edited by the model as it stands."""
    from x2edit_core.scenes.scenebench import score
    from x2edit_core.shift import FLUX_SCHEDULE
    from x2edit_core.train.forms import form_of
    from x2edit_core.train.preview import sampled

    form = form_of(kind)
    outputs = []
    with parts.model.session(), torch.no_grad():
        for some in _pieces(cases, BATCH):
            latents = sampled(parts.model, parts.text, batch_of(form, some, pictures), SAMPLE_STEPS, FLUX_SCHEDULE)
            edited = latents[..., -SIDE // 8 :] if form == "diptych" else latents
            outputs += list(parts.decode(edited.float().cpu()))
    scores = [
        score(case, _uint8(output), lambda picture: _round_trip(pictures, picture))
        for case, output in zip(cases, outputs, strict=True)
    ]
    kept = [one.preservation_db for one in scores if one.preservation_db is not None]
    return {
        "success": statistics.mean(float(one.success) for one in scores),
        "psnr_db": statistics.mean(one.psnr_db for one in scores),
        "preservation_db": statistics.mean(kept),
    }


def batch_of(form: Any, cases: list[Any], pictures: Any) -> Any:
    """The cases as the trainer would show them, with noise from their seeds."""
    from x2edit_core.train.forms import example_of, pictures_of
    from x2edit_core.train.samples import Batch

    examples, noise = [], []
    for case in cases:
        shown = pictures_of(form, case.source[None], case.target[None])
        latents = {
            name: pictures.encode(torch.from_numpy(np.ascontiguousarray(part)))[0] for name, part in shown.items()
        }
        examples.append(example_of(form, "edit", latents, case.instruction, case.task.id))
        source = torch.Generator().manual_seed(case.seed)
        noise.append(torch.randn(examples[-1].target.shape, generator=source))
    return Batch.of("edit", examples, torch.stack(noise), torch.ones(len(cases)))


def _round_trip(pictures: Any, picture: Any) -> Any:
    return _uint8(pictures.decode(pictures.encode(torch.from_numpy(picture.copy())[None]))[0])


def _uint8(picture: torch.Tensor) -> Any:
    return (picture.clamp(0, 1) * 255).round().byte().numpy()


def _pieces(items: list[Any], size: int) -> Iterable[list[Any]]:
    return (items[at : at + size] for at in range(0, len(items), size))


def table(results: Mapping[str, list[dict[str, float]]]) -> str:
    """Markdown; with several seeds each figure is a mean with its spread from lowest to highest."""
    lines = [
        "| adapter | trained parameters | success | PSNR to the target | unedited area | last loss |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in results.items():
        cells = [
            f"{found[0]['parameters'] / 1e6:.2f} M",
            _with_spread(found, "success", lambda value: f"{value:.1%}"),
            _with_spread(found, "psnr_db", lambda value: f"{value:.2f} dB"),
            _with_spread(found, "preservation_db", lambda value: f"{value:.2f} dB"),
            _with_spread(found, "loss", lambda value: f"{value:.4f}"),
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _with_spread(found: list[dict[str, float]], name: str, shown: Any) -> str:
    values = [one[name] for one in found]
    spread = f" ({shown(min(values))} … {shown(max(values))})" if len(values) > 1 else ""
    return shown(statistics.mean(values)) + spread


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--base", type=Path, required=True, help="folder of the base run that every variant starts from"
    )
    parser.add_argument("--folder", type=Path, default=Path("out/ablation"))
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--cases", type=int, default=150, help="held-out edits that are scored")
    parser.add_argument("--pool", type=int, default=12000, help="scenes to learn from")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=list(VARIANTS), help="a part of the variants")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from x2edit_core.train.__main__ import prepare_host

    prepare_host("")
    from x2edit_core.scenes import make_case

    plan = Plan(args.base, args.folder, args.steps, args.cases, args.pool)
    cases = [make_case(seed, split="heldout", size=SIDE) for seed in range(args.cases)]
    results: dict[str, list[dict[str, float]]] = {}
    for name in args.only or VARIANTS:
        results[name] = [run(plan, name, seed, cases) for seed in range(args.seeds)]
        print(table({name: results[name]}).splitlines()[-1], flush=True)
    print(table(results))
    figures = {"machine": machine(torch.device("cpu")), "steps": args.steps, "batch": BATCH, "cases": args.cases}
    write_json(args.json, figures | {"variants": results})


if __name__ == "__main__":
    main()

"""The memory of the documented recipes: as it is computed before a run, and as a device measures it.

Without a CUDA device the computed rows alone are printed, at FLUX's own size and without its weights. `--rehearse` runs the
steps too, of a small FLUX.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from measure import machine, write_json
from recipes import CONTEXT, DEPTH, HIDDEN, POOLED, RECIPES, Recipe

GIB = 1 << 30
SMALL = (128, (2, 3), 64, 32)
SMALL_PX, STEPS = 64, 3


def sizes(small: bool) -> tuple[int, tuple[int, int], int, int]:
    return SMALL if small else (HIDDEN, DEPTH, CONTEXT, POOLED)


def hollow_base(recipe: Recipe, small: bool) -> Any:
    """The recipe's base on the meta device."""
    from x2edit_core.comfy_bridge.training.bases import hollow_flux
    from x2edit_core.comfy_bridge.training.hollow import pack_blocks
    from x2edit_core.train.config import FluxConfig

    hidden, depth, context, pooled = sizes(small)
    flux = hollow_flux(FluxConfig(hidden, *depth, context, pooled, guidance=True)).requires_grad_(False)
    flux = flux.to(torch.bfloat16)
    weights = recipe.model.get("weights", "default")
    return flux if weights == "default" else pack_blocks(flux, weights, torch.bfloat16, torch.device("meta"))


def computed(recipe: Recipe, small: bool) -> Any:
    """The recipe's footprint, in bytes."""
    from x2edit_core.comfy_bridge.training.memory import Counting, work_of

    config = config_of(recipe, small)
    return Counting.of(config, hollow_base(recipe, small), work_of(config, small_text=False)).footprint()


def config_of(recipe: Recipe, small: bool) -> Any:
    return recipe.config(SMALL_PX, experts=4, rank=4) if small else recipe.config()


def measured(recipe: Recipe, device: torch.device, small: bool) -> dict[str, float]:
    """A few steps of the recipe on random weights: what was allocated at most, and the time of the last one."""
    from x2edit_core.comfy_bridge.training.flux import TrainableFlux
    from x2edit_core.comfy_bridge.training.memory import work_of
    from x2edit_core.comfy_bridge.training.trainable import PassSettings
    from x2edit_core.families import FLUX1
    from x2edit_core.train.adapters import new_adapter, spec_for
    from x2edit_core.train.fused import FusedBackward
    from x2edit_core.train.optim import make_optimiser

    config = config_of(recipe, small)
    flux, stream = real_base(recipe, device, small)
    adapter = new_adapter(spec_for("x2edit", config.adapter, FLUX1.shape_of(flux)), True, 0).to(device)
    adapter.to(getattr(torch, config.optim.state))
    settings = PassSettings(torch.bfloat16, checkpointing=True, host_checkpoints=config.model.offload_checkpoints)
    model = TrainableFlux(flux, adapter, settings, stream)
    weights = {name: weight for name, weight in adapter.named_parameters() if weight.requires_grad}
    optimiser = make_optimiser(weights, config.optim)
    fused = FusedBackward(weights, optimiser, 1) if config.optim.fused_backward else None
    inputs, seconds = batch_of(work_of(config, small_text=False), device, small), 0.0
    with model.session():
        for _ in range(STEPS):
            started = time.perf_counter()
            with model.predicting(inputs) as prediction:
                loss = prediction.velocity.square().mean()
                if fused:
                    fused.begin(loss)
                loss.backward()
            if fused:
                fused.end()
            else:
                optimiser.step()
                optimiser.zero_grad()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds = time.perf_counter() - started
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    return {"measured_gib": peak / GIB, "step_s": seconds}


def real_base(recipe: Recipe, device: torch.device, small: bool) -> tuple[Any, Any]:
    """A FLUX of random weights as the recipe holds it, made layer by layer on the device; and what brings its blocks."""
    from x2edit_core.comfy_bridge.training.bases import hollow_flux
    from x2edit_core.comfy_bridge.training.hollow import pack_blocks
    from x2edit_core.comfy_bridge.training.trainable import BLOCKS, blocks_of
    from x2edit_core.train.config import FluxConfig
    from x2edit_core.train.streaming import BlockStream

    hidden, depth, context, pooled = sizes(small)
    away = bool(recipe.model.get("offload"))
    flux = hollow_flux(FluxConfig(hidden, *depth, context, pooled, guidance=True)).to(torch.bfloat16)
    flux = flux.to_empty(device="cpu" if away else device).requires_grad_(False)
    with torch.no_grad():
        for weight in flux.parameters():
            weight.normal_(std=weight.shape[-1] ** -0.5 if weight.ndim > 1 else 0.02)
    if (weights := recipe.model.get("weights", "default")) != "default":
        flux = pack_blocks(flux, weights, torch.bfloat16, torch.device("cpu") if away else device)
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    if not away:
        return flux, None
    for name, part in flux.named_children():
        if name not in BLOCKS:
            part.to(device)
    return flux, BlockStream(blocks_of(flux), device)


def batch_of(work: Any, device: torch.device, small: bool) -> Any:
    from x2edit_core.train.model import Inputs

    _, _, context, pooled = sizes(small)
    latent = torch.randn(work.rows, 16, work.height, work.width, device=device)
    texts = torch.randn(work.rows, work.text, context, device=device), torch.randn(work.rows, pooled, device=device)
    return Inputs(latent, torch.rand(work.rows, device=device), *texts, (3,) * work.rows, (latent,))


@contextlib.contextmanager
def alone(device: torch.device) -> Iterator[None]:
    """Nothing of one recipe is left when the next begins."""
    yield
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rehearse", action="store_true", help="steps of a small FLUX, on any device")
    parser.add_argument("--table", action="store_true", help="computed rows only")
    parser.add_argument("--only", type=int, nargs="*", help="numbers of recipes, from 0")
    parser.add_argument("--json", type=Path, help="write the figures to this file, after each recipe")
    args = parser.parse_args()
    device = torch.device(args.device)
    from x2edit_core.train.__main__ import prepare_host

    prepare_host(args.device)
    run = not args.table and (device.type == "cuda" or args.rehearse)
    figures: dict[str, Any] = {"machine": machine(device), "recipes": []}
    for recipe in RECIPES if args.only is None else [RECIPES[number] for number in args.only]:
        with alone(device):
            found = computed(recipe, args.rehearse)
            row: dict[str, Any] = {"recipe": recipe.name, "entries": recipe.words, "computed_gib": found.total / GIB,
                                   "rows_gib": {name: size / GIB for name, size in found.rows().items()}}  # fmt: skip
            if run:
                try:
                    row |= measured(recipe, device, args.rehearse)
                except torch.OutOfMemoryError as error:
                    row["failed"] = str(error).splitlines()[0]
        figures["recipes"].append(row)
        write_json(args.json, figures)
        told = f", measured {row['measured_gib']:.2f}, {row['step_s']:.2f} s a step" if "step_s" in row else ""
        print(f"{recipe.name:22} computed {row['computed_gib']:6.2f} GiB{told}  ({recipe.words})", flush=True)
        print("    " + ", ".join(f"{name} {size:.2f}" for name, size in row["rows_gib"].items()), flush=True)


if __name__ == "__main__":
    main()

"""A training step of the routed adapter against plain LoRA at the same sites and against the loop over experts.

`site`: forward and backward of one q, k, v site with its frozen Linear; time ratios and bytes kept per token. `step`: a
whole training step on a random FLUX of a few blocks. Variants take turns within one process; ratios are medians. On CUDA
`--full` runs FLUX's own depth and reports peak memory at 512 and 1024 pixels.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from bench_moe import EXPERTS, FULL, FULL_HALF, SMALL, TOP_K, Shape, Site
from measure import machine, median_ratio, timed, write_json

SMALL_SITE = dataclasses.replace(SMALL, tokens=320)
"""Not as many tokens as columns, so that activations and weights are told apart by shape."""
TARGET_RATIO, TARGET_BYTES = 1.25, 12_000


def measure_site(shape: Shape, device: torch.device) -> dict[str, Any]:
    """Forward and backward of one site: each variant's time over the plain LoRA's, and what it keeps for backward."""
    site = Site(shape, device)
    for part in (site.delta, site.lora):
        part.requires_grad_(True)
    parameters = [*site.delta.parameters(), *site.lora.parameters()]
    x = site.x.detach().requires_grad_(True)
    upstream = torch.randn_like(site.buffer)

    def ours(out: torch.Tensor) -> torch.Tensor:
        hidden, _ = site.delta.hidden(x, site.delta.task_bias(site.task))
        site.delta.add_to(out, hidden, site.starts, 1.0)
        return out

    def lora(out: torch.Tensor) -> torch.Tensor:
        site.lora.add_to(out, site.lora.hidden(x, None)[0], site.starts, 1.0)
        return out

    def loop(out: torch.Tensor) -> torch.Tensor:
        columns = [projection(x, site.task) for projection in site.loop]
        return out + torch.cat(columns, 1)

    def both(add: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[], None]:
        def run() -> None:
            add(torch.nn.functional.linear(x, site.base, site.bias)).backward(upstream)

        return run

    adders = {"plain LoRA r64": lora, "loop over experts": loop, "ours": ours}
    times = _interleaved({name: both(add) for name, add in adders.items()}, device, shape.rounds)
    weights = [*parameters, site.base, site.bias, site.task]
    kept = {name: _kept(lambda add=add: add(site.buffer.clone()), weights) for name, add in adders.items()}
    return {
        "shape": f"{shape.tokens} tokens, width {shape.width}, {EXPERTS} experts of rank {shape.rank}, top {TOP_K}, "
        f"{shape.dtype}",
        "over_plain_lora": {name: median_ratio(times[name], times["plain LoRA r64"]) for name in adders},
        "bytes_per_token": {name: size / shape.tokens for name, size in kept.items()},
    }


def _kept(call: Callable[[], Any], weights: list[torch.Tensor]) -> int:
    """Bytes that autograd keeps during `call`, each storage once, weights and casts of weights left out."""
    shapes = {tuple(sorted(shape)) for weight in weights for shape in (weight.shape, weight.shape[1:])}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tuple(sorted(tensor.shape)) not in shapes:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = call()
    del result
    return sum(kept.values())


def _interleaved(variants: dict[str, Callable[[], Any]], device: torch.device, rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(2 + rounds):
        for name, call in variants.items():
            seconds = timed(call, device)
            if number >= 2:
                times[name].append(seconds)
    return times


def measure_step(device: torch.device, hidden: int, depth: tuple[int, int], pixels: int, rounds: int) -> dict[str, Any]:
    """Training steps on a random FLUX: the routed adapter's time over plain LoRA's of the same rank, and peak memory."""
    from x2edit_core.comfy_bridge.training.bases import new_flux
    from x2edit_core.comfy_bridge.training.flux import TrainableFlux
    from x2edit_core.comfy_bridge.training.trainable import PassSettings
    from x2edit_core.families import FLUX1
    from x2edit_core.train.adapters import new_adapter, spec_for
    from x2edit_core.train.config import AdapterConfig, FluxConfig
    from x2edit_core.train.model import Inputs

    with device:
        flux = new_flux(FluxConfig(hidden, *depth, context=256, pooled=64), 0)
    flux = flux.requires_grad_(False).to(device, torch.bfloat16)
    rank = 64 if hidden == 3072 else 16
    side = pixels // 8
    latent = torch.randn(1, 16, side, side, device=device)
    inputs = Inputs(
        latent,
        torch.rand(1, device=device),
        torch.randn(1, 64, 256, device=device),
        torch.randn(1, 64, device=device),
        (3,),
        (latent,),
    )
    steps, times, peaks = {}, {}, {}
    for kind in ("lora", "x2edit"):
        adapter = new_adapter(spec_for(kind, AdapterConfig(rank=rank), FLUX1.shape_of(flux)), kind == "x2edit", 0).to(
            device
        )
        model = TrainableFlux(flux, adapter, PassSettings(torch.bfloat16, checkpointing=True))
        optimiser = torch.optim.AdamW(adapter.parameters(), 1e-4, fused=True)

        def step(model: Any = model, optimiser: Any = optimiser) -> None:
            with model.session(), model.predicting(inputs) as prediction:
                prediction.velocity.square().mean().backward()
            optimiser.step()
            optimiser.zero_grad()

        steps[kind] = step
    times = _interleaved(steps, device, rounds)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        steps["x2edit"]()
        peaks = {"peak_gb": torch.cuda.max_memory_allocated(device) / 1e9}
    ratio = median_ratio(times["x2edit"], times["lora"])
    return {"hidden": hidden, "blocks": depth, "pixels": pixels, "over_plain_lora": ratio, **peaks,
            "ms": {name: sorted(found)[len(found) // 2] * 1000 for name, found in times.items()}}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", choices=["small", "all"], default="all", help="small leaves out FLUX's own width")
    parser.add_argument("--full", action="store_true", help="FLUX's own depth too; needs a large GPU")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    device = torch.device(args.device)
    from x2edit_core.train.__main__ import prepare_host

    prepare_host(args.device)
    figures: dict[str, Any] = {"machine": machine(device), "sites": {}, "steps": []}
    for shape in [SMALL_SITE] if args.size == "small" else [SMALL_SITE, FULL, FULL_HALF]:
        found = figures["sites"][shape.name] = measure_site(shape, device)
        print(f"\n{found['shape']}")
        for name, ratio in found["over_plain_lora"].items():
            print(
                f"  {name:20} {ratio:6.2f} × plain LoRA  {found['bytes_per_token'][name] / 1000:7.1f} kB kept per token"
            )
    runs = [(256, (2, 4), 128, 8)]
    runs += [(3072, (1, 2), 512 if device.type == "cuda" else 256, 4)] if args.size == "all" else []
    runs += [(3072, (19, 38), pixels, 4) for pixels in (512, 1024)] if args.full else []
    for hidden, depth, pixels, rounds in runs:
        found = measure_step(device, hidden, depth, pixels, rounds)
        figures["steps"].append(found)
        peak = f", peak {found['peak_gb']:.1f} GB" if "peak_gb" in found else ""
        print(f"step, hidden {hidden}, {depth} blocks, {pixels} px: {found['over_plain_lora']:.2f} × plain LoRA{peak}")
    print(f"\ntargets: step ≤ {TARGET_RATIO} × plain LoRA, site ≤ {TARGET_BYTES / 1000:.0f} kB per token in bfloat16")
    write_json(args.json, figures)


if __name__ == "__main__":
    main()

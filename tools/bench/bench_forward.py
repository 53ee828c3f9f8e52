"""The whole forward pass of the host's FLUX, bare and patched, at FLUX's own width with random weights.

On a CPU the depth is cut to 1 double and 2 single blocks, which keeps the ratio and fits the machine; on a GPU it is
FLUX's own 19 and 38. The bare pass carries the same reference tokens, placed by the host.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from measure import interleaved, machine, median_ratio, write_json

HIDDEN, TEXT_TOKENS, EXPERTS, RANK = 3072, 512, 12, 64


def prepare_host(device: torch.device) -> None:
    """Let the host read its command line for this device before anything of it is imported."""
    sys.argv = ["main.py", *(["--cpu"] if device.type == "cpu" else [])]
    sys.path.insert(0, os.environ["COMFYUI_PATH"])
    import comfy.options

    comfy.options.enable_args_parsing()


def make_flux(double: int, single: int, dtype: torch.dtype, device: torch.device) -> Any:
    import comfy.ops
    from comfy.ldm.flux.model import Flux

    flux = Flux(
        in_channels=16, out_channels=16, vec_in_dim=768, context_in_dim=4096, hidden_size=HIDDEN, mlp_ratio=4.0,
        num_heads=HIDDEN // 128, depth=double, depth_single_blocks=single, axes_dim=[16, 56, 56], theta=10000,
        patch_size=2, qkv_bias=True, guidance_embed=True, txt_ids_dims=[], dtype=dtype, device=device,
        operations=comfy.ops.disable_weight_init,
    )  # fmt: skip
    randomise(flux)
    return flux.eval().requires_grad_(False)


@torch.no_grad()
def randomise(module: torch.nn.Module) -> None:
    for parameter in module.parameters():
        parameter.normal_(std=parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else 0.02)


def make_adapter(double: int, single: int, dtype: torch.dtype, device: torch.device) -> Any:
    from x2edit_core.adapter import Adapter, AdapterSpec
    from x2edit_core.moe import RoutedDelta
    from x2edit_core.sites import FluxShape

    spec = AdapterSpec("x2edit", FluxShape(HIDDEN, double, single), EXPERTS, RANK, 2, float(RANK), shared=True)
    packed = (EXPERTS + 1) * RANK
    deltas = []
    for site in spec.sites:
        count = len(site.slots)
        shapes = ((count * (packed + EXPERTS), HIDDEN), (count * EXPERTS, HIDDEN), (count, HIDDEN, packed))
        down_gate, task_gate, up = (torch.empty(shape, dtype=dtype, device=device) for shape in shapes)
        deltas.append(RoutedDelta(down_gate, task_gate, up, experts=EXPERTS, shared=True, routing=spec.routing))
    adapter = Adapter(spec, deltas, torch.empty(16, HIDDEN, dtype=dtype, device=device), "random")
    randomise(adapter)
    return adapter


def passes(
    flux: Any, adapter: Any, side_px: int, dtype: torch.dtype, device: torch.device
) -> dict[str, Callable[[], Any]]:
    """The variants: name → one forward pass."""
    from comfy.patcher_extension import WrappersMP

    from x2edit_core.attach import Attachment
    from x2edit_core.comfy_bridge.stack import KEY, AdapterStack
    from x2edit_core.tasks import Task, TaskBatch, TaskChoice

    side = side_px // 8
    x, reference = (torch.randn(1, 16, side, side, device=device, dtype=dtype) for _ in range(2))
    context = torch.randn(1, TEXT_TOKENS, 4096, device=device, dtype=dtype)
    pooled = torch.randn(1, 768, device=device, dtype=dtype)
    sigma, guidance = torch.full((1,), 0.7, device=device), torch.full((1,), 3.5, device=device)

    def run(method: str, stack: AdapterStack | None) -> Any:
        wrappers = {WrappersMP.DIFFUSION_MODEL: {KEY: [stack.diffusion_model]}} if stack else {}
        options = {"wrappers": wrappers, "cond_or_uncond": [0]}
        return flux(
            x, sigma, context, pooled, guidance, [reference], transformer_options=options, ref_latents_method=method
        )

    tasks = TaskBatch.of(TaskChoice(Task.STYLE))
    full = AdapterStack((Attachment(adapter, tasks),))
    resting = AdapterStack((Attachment(adapter, tasks),))
    resting_options = {"x2edit_active": (False,)}

    def references_only() -> Any:
        options = {"wrappers": {WrappersMP.DIFFUSION_MODEL: {KEY: [resting.diffusion_model]}}, **resting_options}
        return flux(
            x, sigma, context, pooled, guidance, [reference], transformer_options=options, ref_latents_method="x2edit"
        )

    return {
        "base with reference": lambda: run("index", None),
        "references placed, t = 0": references_only,
        "with adapter": lambda: run("x2edit", full),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--sides", type=int, nargs="*", help="picture sides in pixels (default: 256 on a CPU; 512 1024)"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    device, dtype = torch.device(args.device), torch.bfloat16
    cpu = device.type == "cpu"
    prepare_host(device)
    double, single = (1, 2) if cpu else (19, 38)
    flux, adapter = make_flux(double, single, dtype, device), make_adapter(double, single, dtype, device)
    figures: dict[str, Any] = {"machine": machine(device), "blocks": [double, single], "sides": {}}
    print(
        f"{figures['machine']['device']}, torch {torch.__version__}; {double} double and {single} single blocks, bf16"
    )
    for side in args.sides or ([256] if cpu else [512, 1024]):
        variants = passes(flux, adapter, side, dtype, device)
        times = interleaved(variants, device, rounds=7 if cpu else 20)
        tokens = TEXT_TOKENS + 2 * (side // 16) ** 2
        base = times["base with reference"]
        rows = {
            name: {"ms": sorted(found)[len(found) // 2] * 1000, "over_base": median_ratio(found, base)}
            for name, found in times.items()
        }
        figures["sides"][str(side)] = {"tokens": tokens, "variants": rows}
        print(f"\n{side} px with reference and text: {tokens} tokens")
        for name, row in rows.items():
            print(f"{name:26} {row['ms']:10.1f} ms  {row['over_base']:.3f} × base")
    if not cpu:
        figures["peak_gb"] = torch.cuda.max_memory_allocated(device) / 1e9
        print(f"peak memory {figures['peak_gb']:.1f} GB")
    write_json(args.json, figures)


if __name__ == "__main__":
    main()

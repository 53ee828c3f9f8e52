"""The whole forward pass of the host's FLUX, bare and patched, at FLUX's own width with random weights.

On a CPU the depth is cut to 1 double and 2 single blocks, which keeps the ratio and fits the machine; on a GPU it is
FLUX's own 19 and 38. For X2Edit the bare pass carries the same reference tokens, placed by the host; for ICEdit the
pictures are the panels of a diptych.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import family_models
import torch
from measure import interleaved, machine, median_ratio, write_json

HIDDEN, TEXT_TOKENS, EXPERTS, RANK = 3072, 512, 12, 64


def prepare_host(device: torch.device) -> None:
    """Let the host read its command line for this device before anything of it is imported."""
    sys.argv = ["main.py", *(["--cpu"] if device.type == "cpu" else [])]
    sys.path.insert(0, os.environ["COMFYUI_PATH"])
    import comfy.options

    comfy.options.enable_args_parsing()


def make_flux(channels: int, double: int, single: int, dtype: torch.dtype, device: torch.device) -> Any:
    import comfy.ops
    from comfy.ldm.flux.model import Flux

    flux = Flux(
        in_channels=channels, out_channels=16, vec_in_dim=768, context_in_dim=4096, hidden_size=HIDDEN, mlp_ratio=4.0,
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


def make_adapter(kind: str, double: int, single: int, dtype: torch.dtype, device: torch.device) -> Any:
    """A random adapter with the published one's experts and ranks."""
    from x2edit_core.adapters.adapter import Adapter, AdapterSpec
    from x2edit_core.families.flux1 import FluxShape

    shape = FluxShape(HIDDEN, double, single)
    if kind == "x2edit":
        spec, task_width = AdapterSpec(kind, shape, EXPERTS, RANK, 2, float(RANK), shared=True), HIDDEN
    else:
        spec, task_width = AdapterSpec(kind, shape, 4, 32, 1, 32.0, False, "topk_first", (0, 0)), 0
    deltas = []
    for site in spec.sites:
        packed = {
            name: torch.empty(shape, dtype=dtype, device=device)
            for name, shape in spec.shapes_at(site, task_width).items()
        }
        deltas.append(spec.pack(site, packed["down_gate"], packed.get("task_gate"), packed["up"]))
    table = torch.empty(16, task_width, dtype=dtype, device=device) if task_width else None
    adapter = Adapter(spec, deltas, table, "random")
    randomise(adapter)
    return adapter


def passes(
    flux: Any, adapter: Any, side_px: int, dtype: torch.dtype, device: torch.device
) -> dict[str, Callable[[], Any]]:
    """The variants: name → one forward pass."""
    from comfy.patcher_extension import WrappersMP

    from x2edit_core.adapters.attach import Attachment
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


def icedit_passes(
    flux: Any, adapter: Any, side_px: int, dtype: torch.dtype, device: torch.device
) -> dict[str, Callable[[], Any]]:
    """The variants on a diptych of two panels: merged plain parts cost nothing per step, so experts alone remain."""
    from comfy.patcher_extension import WrappersMP

    from x2edit_core.adapters.attach import Attachment
    from x2edit_core.comfy_bridge.stack import KEY, AdapterStack

    side = side_px // 8
    x = torch.randn(1, flux.params.in_channels, side, 2 * side, device=device, dtype=dtype)
    context = torch.randn(1, TEXT_TOKENS, 4096, device=device, dtype=dtype)
    pooled = torch.randn(1, 768, device=device, dtype=dtype)
    sigma, guidance = torch.full((1,), 0.7, device=device), torch.full((1,), 50.0, device=device)

    def run(adapter: Any) -> Any:
        stack = AdapterStack((Attachment(adapter),)) if adapter else None
        wrappers = {WrappersMP.DIFFUSION_MODEL: {KEY: [stack.diffusion_model]}} if stack else {}
        options = {"wrappers": wrappers, "cond_or_uncond": [0]}
        return flux(x, sigma, context, pooled, guidance, transformer_options=options)

    routed = adapter.routed_part()
    return {
        "base": lambda: run(None),
        "experts, plain merged": lambda: run(routed),
        "experts and plain by scope": lambda: run(adapter),
    }


def shown(times: dict[str, list[float]], title: str, tokens: int) -> dict[str, dict[str, float]]:
    """Median times and ratios to the first variant, printed."""
    base = next(iter(times.values()))
    rows = {
        name: {"ms": sorted(found)[len(found) // 2] * 1000, "over_base": median_ratio(found, base)}
        for name, found in times.items()
    }
    print(f"\n{title}, two pictures and text: {tokens} tokens")
    for name, row in rows.items():
        print(f"{name:26} {row['ms']:10.1f} ms  {row['over_base']:.3f} × base")
    return rows


def families(args: argparse.Namespace, device: torch.device, dtype: torch.dtype) -> None:
    """Every family's variants take turns in one run."""
    cpu = device.type == "cpu"
    width = args.width or (512 if cpu else HIDDEN)
    figures: dict[str, Any] = {"machine": machine(device), "width": width, "dtype": args.dtype, "sides": {}}
    names = args.family or list(family_models.SUBJECTS)
    print(f"{figures['machine']['device']}, torch {torch.__version__}; width {width}, {args.dtype}")
    models = {name: family_models.make(name, width, not cpu, dtype, device, randomise) for name in names}
    for side in args.sides or ([256] if cpu else [1024]):
        variants = {
            f"{name}: {variant}": run
            for name, model in models.items()
            for variant, run in family_models.passes(name, *model, side).items()
        }
        with torch.inference_mode():
            times = interleaved(variants, device, rounds=7 if cpu else 20)
        for name in names:
            tokens = family_models.tokens_of(name, side)
            own = {key.split(": ")[1]: found for key, found in times.items() if key.startswith(f"{name}: ")}
            rows = shown(own, f"{name}, {side} px", tokens)
            figures["sides"].setdefault(str(side), {})[name] = {"tokens": tokens, "variants": rows}
    write_json(args.json, figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--kind", choices=("x2edit", "icedit_moe"), default="x2edit")
    parser.add_argument(
        "--sides", type=int, nargs="*", help="picture sides in pixels (default: 256 on a CPU; 512 1024)"
    )
    parser.add_argument(
        "--family", nargs="*", choices=("flux1", "qwen_image", "flux2"),
        help="X2Edit on these families beside one another; all without a name",
    )  # fmt: skip
    parser.add_argument("--width", type=int, help="of the families' models (default: 512 on a CPU; 3072)")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    device, dtype = torch.device(args.device), getattr(torch, args.dtype)
    cpu = device.type == "cpu"
    prepare_host(device)
    if args.family is not None:
        return families(args, device, dtype)
    double, single = (1, 2) if cpu else (19, 38)
    x2edit = args.kind == "x2edit"
    flux = make_flux(16 if x2edit else 96, double, single, dtype, device)
    adapter = make_adapter(args.kind, double, single, dtype, device)
    figures: dict[str, Any] = {"machine": machine(device), "blocks": [double, single], "dtype": args.dtype, "sides": {}}
    print(f"{figures['machine']['device']}, torch {torch.__version__}; {double} double, {single} single, {args.dtype}")
    for side in args.sides or ([256] if cpu else [512, 1024]):
        variants = (passes if x2edit else icedit_passes)(flux, adapter, side, dtype, device)
        times = interleaved(variants, device, rounds=7 if cpu else 20)
        tokens = TEXT_TOKENS + 2 * (side // 16) ** 2
        figures["sides"][str(side)] = {"tokens": tokens, "variants": shown(times, f"{side} px", tokens)}
    if not cpu:
        figures["peak_gb"] = torch.cuda.max_memory_allocated(device) / 1e9
        print(f"peak memory {figures['peak_gb']:.1f} GB")
    write_json(args.json, figures)


if __name__ == "__main__":
    main()

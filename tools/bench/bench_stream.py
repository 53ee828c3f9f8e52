"""What a picture prompt costs: forward passes of a FLUX of full width with X2Edit's adapter, with and without one, in turn.

python3 tools/dev.py bench stream [--device cuda] [--json FILE]

128 tokens in every block, as InstantX's adapter has them, and 4 in double blocks, as XLabs'; keys and values are there already.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from bench_forward import HIDDEN, TEXT_TOKENS, make_adapter, make_flux, prepare_host
from measure import interleaved, machine, median_ratio, write_json

_TOKENS = {"instantx": 128, "xlabs": 4}


def make_stream(kind: str, double: int, single: int, dtype: torch.dtype, device: torch.device) -> Any:
    """Random keys and values of one picture."""
    from x2edit_core.adapters.image_adapter import ImageAdapterSpec
    from x2edit_core.comfy_bridge.streams import Stream, StreamStates

    blocks = double + single if kind == "instantx" else double
    spec = ImageAdapterSpec(kind, 1152, _TOKENS[kind], 4096, HIDDEN, blocks)  # pyright: ignore[reportArgumentType]
    size = (1, HIDDEN // 128, spec.tokens, 128)
    states = [tuple(torch.randn(size, dtype=dtype, device=device) for _ in range(2)) for _ in range(blocks)]
    return Stream(StreamStates(spec, states, "random"))  # pyright: ignore[reportArgumentType]


def passes(
    flux: Any, adapter: Any, streams: dict[str, Any], side_px: int, dtype: torch.dtype, device: torch.device
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
    attachment = Attachment(adapter, TaskBatch.of(TaskChoice(Task.STYLE)))

    def run(*found: Any) -> Callable[[], Any]:
        stack = AdapterStack((attachment,), streams=found)
        options = {"wrappers": {WrappersMP.DIFFUSION_MODEL: {KEY: [stack.diffusion_model]}}, "cond_or_uncond": [0]}
        return lambda: flux(
            x, sigma, context, pooled, guidance, [reference], transformer_options=options, ref_latents_method="x2edit"
        )

    return {
        "X2Edit": run(),
        "with InstantX's picture, 128 tokens": run(streams["instantx"]),
        "with XLabs' picture, 4 tokens": run(streams["xlabs"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--side", type=int, default=0, help="picture side in pixels (default: 256 on a CPU, else 1024)")
    parser.add_argument("--rounds", type=int, default=0, help="default: 7 on a CPU, else 20")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    device, dtype = torch.device(args.device), getattr(torch, args.dtype)
    cpu = device.type == "cpu"
    prepare_host(device)
    double, single = (1, 2) if cpu else (19, 38)
    side, rounds = args.side or (256 if cpu else 1024), args.rounds or (7 if cpu else 20)
    flux = make_flux(16, double, single, dtype, device)
    adapter = make_adapter("x2edit", double, single, dtype, device)
    streams = {kind: make_stream(kind, double, single, dtype, device) for kind in _TOKENS}
    times = interleaved(passes(flux, adapter, streams, side, dtype, device), device, rounds, warmups=1 if cpu else 3)
    base = next(iter(times.values()))
    rows = {
        name: {"ms": sorted(found)[len(found) // 2] * 1000, "over_base": median_ratio(found, base)}
        for name, found in times.items()
    }
    tokens = TEXT_TOKENS + 2 * (side // 16) ** 2
    figures: dict[str, Any] = {
        "machine": machine(device),
        "blocks": [double, single],
        "dtype": args.dtype,
        "side": side,
    }
    print(f"{figures['machine']['device']}, torch {torch.__version__}; {double} double, {single} single, {args.dtype}")
    print(f"{side} px, two pictures and text: {tokens} tokens")
    for name, row in rows.items():
        print(f"{name:38} {row['ms']:10.1f} ms  {row['over_base']:.3f} × X2Edit alone")
    write_json(args.json, {**figures, "tokens": tokens, "variants": rows})


if __name__ == "__main__":
    main()

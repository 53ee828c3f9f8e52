"""One q, k, v site: the bare Linear, a plain LoRA, the research code's loop over experts, and ours.

Variants take turns within one process; ratios are medians over rounds. "adapter" times leave the Linear out.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from measure import count_operators, interleaved, machine, median_ratio, write_json
from naive_moe import NaiveProjection
from torch import Tensor

from x2edit_core.adapters.moe import RoutedDelta, Routing

EXPERTS, TOP_K, LORA_RANK = 12, 2, 64


@dataclass(frozen=True)
class Shape:
    name: str
    tokens: int
    width: int
    rank: int
    dtype: torch.dtype
    rounds: int


SMALL = Shape("small", 256, 256, 16, torch.float32, 60)
FULL = Shape("full", 2560, 3072, 64, torch.float32, 8)
FULL_HALF = Shape("full bf16", 2560, 3072, 64, torch.bfloat16, 8)
LARGE = Shape("full bf16, 1024 px", 8704, 3072, 64, torch.bfloat16, 30)


class Site:
    """Random weights of one site and the ways to compute it."""

    def __init__(self, shape: Shape, device: torch.device) -> None:
        torch.manual_seed(0)
        width, rank = shape.width, shape.rank
        packed = (EXPERTS + 1) * rank

        def random(*size: int) -> Tensor:
            return (torch.randn(*size, device=device) / size[-1] ** 0.5).to(shape.dtype)

        self.shape = shape
        self.x, self.task = random(shape.tokens, width) * width**0.5, random(1, width)
        self.base, self.bias = random(3 * width, width), random(3 * width)
        self.delta = RoutedDelta(
            random(3 * (packed + EXPERTS), width),
            random(3 * EXPERTS, width),
            random(3, width, packed),
            experts=EXPERTS,
            shared=True,
            routing=Routing(TOP_K),
        )
        self.loop = [NaiveProjection(self.delta, projection) for projection in range(3)]
        self.lora = RoutedDelta(
            random(3 * LORA_RANK, width), None, random(3, width, LORA_RANK), experts=0, shared=True, routing=Routing(1)
        )
        self.task_bias = self.delta.task_bias(self.task)
        self.starts = (0, width, 2 * width)
        self.buffer = torch.zeros(shape.tokens, 3 * width, dtype=shape.dtype, device=device)

    def linear(self) -> Tensor:
        return torch.nn.functional.linear(self.x, self.base, self.bias)

    def add_ours(self, out: Tensor) -> None:
        hidden, _ = self.delta.hidden(self.x, self.task_bias)
        self.delta.add_to(out, hidden, self.starts, 1.0)

    def add_lora(self, out: Tensor) -> None:
        self.lora.add_to(out, self.lora.hidden(self.x, None)[0], self.starts, 1.0)

    def add_loop(self, out: Tensor) -> None:
        for start, projection in zip(self.starts, self.loop, strict=True):
            out[:, start : start + self.shape.width] += projection(self.x, self.task)

    def adapters(self) -> dict[str, Callable[[Tensor], None]]:
        return {"plain LoRA r64": self.add_lora, "loop over experts": self.add_loop, "ours": self.add_ours}

    def flips(self) -> tuple[float, float]:
        """Share of gates whose experts differ from float32's: (ours, the loop's), with this site's own precision."""
        exact = [NaiveProjection(_upcast(self.delta), projection) for projection in range(3)]
        wanted = [item.selected(self.x.float(), self.task.float()) for item in exact]
        gate = self.delta.hidden(self.x, self.task_bias)[1]
        assert gate is not None
        ours = [(gate[:, projection] > 0) != wanted[projection] for projection in range(3)]
        loop = [item.selected(self.x, self.task) != want for item, want in zip(self.loop, wanted, strict=True)]
        return tuple(float(torch.stack(part).any(-1).float().mean()) for part in (ours, loop))  # pyright: ignore


def _upcast(delta: RoutedDelta) -> RoutedDelta:
    return copy.deepcopy(delta).float()


def measure(shape: Shape, device: torch.device) -> dict[str, Any]:
    """All figures of one shape."""
    site = Site(shape, device)
    adapters = site.adapters()
    variants: dict[str, Callable[[], Any]] = {"base Linear": site.linear}
    for name, add in adapters.items():
        variants[name] = lambda add=add: add(site.linear())
        variants[f"{name}, adapter"] = lambda add=add: add(site.buffer)
    times = interleaved(variants, device, shape.rounds)
    rows = {}
    for name, add in adapters.items():
        count = count_operators(lambda add=add: add(site.buffer))
        rows[name] = {
            "over_base": median_ratio(times[name], times["base Linear"]),
            "adapter_ms": sorted(times[f"{name}, adapter"])[shape.rounds // 2] * 1000,
            "kernels": len(count.kernels),
            "syncs": len(count.waits),
            "allocated_bytes_per_token": count.allocated / shape.tokens,
            "peak_mb": _peak(lambda add=add: add(site.buffer), device),
        }
    ours, loop = times["ours, adapter"], times["loop over experts, adapter"]
    with torch.inference_mode():
        one, other = torch.zeros_like(site.buffer), torch.zeros_like(site.buffer)
        site.add_ours(one)
        site.add_loop(other)
        error = float((one.double() - other.double()).norm() / other.double().norm())
        flips = site.flips()
    return {
        "shape": f"{shape.tokens} tokens, width {shape.width}, {EXPERTS} experts of rank {shape.rank}, {shape.dtype}",
        "base_ms": sorted(times["base Linear"])[shape.rounds // 2] * 1000,
        "variants": rows,
        "speedup_over_loop": median_ratio(loop, ours),
        "relative_difference_from_loop": error,
        "gate_flips_against_fp32": {"ours": flips[0], "loop": flips[1]},
    }


def _peak(call: Callable[[], Any], device: torch.device) -> float | None:
    """Device memory in MB that the call needs beside what is there already; None where torch does not count it."""
    if device.type != "cuda":
        return None
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    with torch.inference_mode():
        call()
    torch.cuda.synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - before) / 1e6


def show(figures: dict[str, Any]) -> None:
    print(f"\n{figures['shape']}; the bare Linear takes {figures['base_ms']:.2f} ms")
    print(f"{'':20} {'× base':>8} {'adapter ms':>11} {'kernels':>8} {'syncs':>6} {'kB/token':>9} {'peak MB':>8}")
    for name, row in figures["variants"].items():
        peak = f"{row['peak_mb']:8.1f}" if row["peak_mb"] is not None else f"{'–':>8}"
        print(
            f"{name:20} {row['over_base']:8.2f} {row['adapter_ms']:11.3f} {row['kernels']:8d} {row['syncs']:6d} "
            f"{row['allocated_bytes_per_token'] / 1000:9.1f} {peak}"
        )
    flips = figures["gate_flips_against_fp32"]
    print(
        f"ours against the loop: {figures['speedup_over_loop']:.2f} × faster, relative difference "
        f"{figures['relative_difference_from_loop']:.1e}; gates that choose otherwise than in fp32: "
        f"ours {flips['ours']:.2%}, loop {flips['loop']:.2%}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--size",
        choices=["small", "fp32", "all"],
        default="all",
        help="small leaves out FLUX's own dimensions; fp32 leaves out bfloat16, which an older CPU emulates very slowly",
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    device = torch.device(args.device)
    shapes = [SMALL, FULL, FULL_HALF] + ([LARGE] if device.type == "cuda" else [])
    figures: dict[str, Any] = {"machine": machine(device), "shapes": {}}
    print(f"{figures['machine']['device']}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    for shape in shapes[: {"small": 1, "fp32": 2, "all": len(shapes)}[args.size]]:
        figures["shapes"][shape.name] = measure(shape, device)
        show(figures["shapes"][shape.name])
    small = figures["shapes"]["small"]
    figures["kernels_per_site"] = small["variants"]["ours"]["kernels"]
    figures["syncs_per_site"] = small["variants"]["ours"]["syncs"]
    figures[f"{device.type}_small_speedup_over_loop"] = small["speedup_over_loop"]
    write_json(args.json, figures)


if __name__ == "__main__":
    main()

"""torch's attention back-ends side by side at FLUX's size: forward, and forward with backward, in bfloat16.

Variants take turns within one process; those that a device lacks are named.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from measure import machine, timed, write_json
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

BACKENDS = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION,
            "efficient": SDPBackend.EFFICIENT_ATTENTION, "math": SDPBackend.MATH}  # fmt: skip
WARMUPS = 2


def measure(tokens: int, heads: int, device: torch.device, rounds: int, with_math: bool) -> dict[str, Any]:
    """Milliseconds of each back-end, the median of its rounds; why it cannot run where it cannot."""
    q, k, v = (
        torch.randn(1, heads, tokens, 128, device=device, dtype=torch.bfloat16, requires_grad=True) for _ in range(3)
    )
    grad = torch.randn_like(q)

    def forward(backend: SDPBackend) -> torch.Tensor:
        with sdpa_kernel(backend):
            return scaled_dot_product_attention(q, k, v)

    def both(backend: SDPBackend) -> None:
        forward(backend).backward(grad)

    times: dict[str, Any] = {}
    chosen = {name: backend for name, backend in BACKENDS.items() if with_math or name != "math"}
    for number in range(WARMUPS + rounds):
        for name, backend in chosen.items():
            for what, call in (("forward", forward), ("with backward", both)):
                key = f"{name}, {what}"
                if isinstance(times.get(key), str):
                    continue
                try:
                    seconds = timed(lambda call=call, backend=backend: call(backend), device)
                except RuntimeError as error:
                    times[key] = str(error).splitlines()[0]
                    continue
                if number >= WARMUPS:
                    times.setdefault(key, []).append(seconds * 1000)
    medians = {key: value if isinstance(value, str) else sorted(value)[len(value) // 2] for key, value in times.items()}
    return {"tokens": tokens, "heads": heads, "ms": medians}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tokens", type=int, nargs="*", default=[2560, 8704])
    parser.add_argument("--heads", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    device = torch.device(args.device)
    figures: dict[str, Any] = {"machine": machine(device), "sizes": []}
    for tokens in args.tokens:
        found = measure(tokens, args.heads, device, args.rounds, with_math=tokens <= 4096)
        figures["sizes"].append(found)
        write_json(args.json, figures)
        for name, value in found["ms"].items():
            print(f"{tokens:6} tokens  {name:24} {value if isinstance(value, str) else f'{value:.2f} ms'}", flush=True)


if __name__ == "__main__":
    main()

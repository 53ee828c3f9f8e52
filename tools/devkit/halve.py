"""Copies safetensors files in bfloat16, metadata kept: halve.py FROM TO [FROM TO …]. Runs in the host's Python."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file


def halve(source: Path, target: Path) -> None:
    with safe_open(source, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    save_file({name: tensor.to(torch.bfloat16).contiguous() for name, tensor in tensors.items()}, target, metadata)


if __name__ == "__main__":
    names = [Path(name) for name in sys.argv[1:]]
    for source, target in zip(names[::2], names[1::2], strict=True):
        halve(source, target)

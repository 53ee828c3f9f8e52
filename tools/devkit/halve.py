"""Copies safetensors files in bfloat16, metadata kept: halve.py FROM TO [FROM TO …]. Runs in the host's Python."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

REPO = Path(__file__).resolve().parents[2]


def halve(source: Path, target: Path) -> None:
    from x2edit_core.files import TensorFile, save_atomically

    file = TensorFile(source)
    save_atomically({name: file.tensor(name).to(torch.bfloat16) for name in file.names()}, target, file.metadata)


if __name__ == "__main__":
    sys.path.append(str(REPO))
    names = [Path(name) for name in sys.argv[1:]]
    for source, target in zip(names[::2], names[1::2], strict=True):
        halve(source, target)

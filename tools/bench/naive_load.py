"""A released adapter file written, and read the plain way: all tensors, each one checked. The yardstick of `bench_load`."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

HIDDEN, EXPERTS, RANK, TASKS = 3072, 12, 64, 16
_PARTS = [*(f"experts.{index}" for index in range(EXPERTS)), "shared_experts"]
_SITES = (("q", "k", "v"), ("proj",))


def write(path: Path, double: int, single: int) -> int:
    """Random bfloat16 numbers under the released names and shapes; returns the file's size in bytes."""
    tensors: dict[str, Tensor] = {}
    for prefix, blocks, slots in (
        ("transformer_blocks", double, "q k v proj"),
        ("single_transformer_blocks", single, "q k v"),
    ):
        for block in range(blocks):
            for slot in slots.split():
                tensors |= _slot(f"{prefix}.{block}.attn.processor.{slot}_moe_lora")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    torch.save({"weight": torch.randn(TASKS, HIDDEN)}, path.with_name("task_embeddings.bin"))
    return path.stat().st_size


def _slot(key: str) -> dict[str, Tensor]:
    found = {f"{key}.gate.weight": _random(EXPERTS, 2 * HIDDEN)}
    for part in _PARTS:
        found[f"{key}.{part}.down.weight"] = _random(RANK, HIDDEN)
        found[f"{key}.{part}.up.weight"] = _random(HIDDEN, RANK)
    return found


def _random(*size: int) -> Tensor:
    return torch.empty(*size, dtype=torch.bfloat16).normal_(std=0.02)


def read(path: Path, check: bool) -> list[Tensor]:
    """The packed tensors of every site, without a look at names and shapes; `check` looks for NaN tensor by tensor."""
    file = safe_open(path, framework="pt")
    blocks: dict[str, set[str]] = defaultdict(set)
    for key in list(file.keys()):
        block, _, rest = key.partition(".attn.processor.")
        blocks[block].add(rest.partition("_moe_lora")[0])
    packed = []
    for block, slots in blocks.items():
        for site in _SITES:
            if slots.issuperset(site):
                packed += _packed(file, [f"{block}.attn.processor.{slot}_moe_lora" for slot in site], check)
    return packed


def _packed(file: safe_open, slots: list[str], check: bool) -> list[Tensor]:
    def get(key: str) -> Tensor:
        tensor = file.get_tensor(key)
        if check and int((~torch.isfinite(tensor)).sum()):
            raise ValueError(key)
        return tensor

    gates = [get(f"{slot}.gate.weight") for slot in slots]
    downs = [get(f"{slot}.{part}.down.weight") for slot in slots for part in _PARTS]
    ups = [torch.cat([get(f"{slot}.{part}.up.weight") for part in _PARTS], dim=1) for slot in slots]
    up = torch.stack(ups).transpose(1, 2).contiguous().transpose(1, 2)
    return [torch.cat([*downs, *(gate[:, :HIDDEN] for gate in gates)]), torch.cat([g[:, HIDDEN:] for g in gates]), up]

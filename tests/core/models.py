"""Small random adapters and a naive form of the routed delta, written the way the research code is."""

from __future__ import annotations

import torch
from safetensors.torch import save_file
from torch import Tensor

from x2edit_core.adapters.adapter import Adapter, AdapterSpec
from x2edit_core.adapters.moe import RoutedDelta, Routing
from x2edit_core.families.flux1 import FluxShape, x2edit_sites

SHAPE = FluxShape(hidden=16, double=1, single=2)


def released_tensors(shape: FluxShape = SHAPE, experts: int = 5, rank: int = 3, seed: int = 0) -> dict[str, Tensor]:
    """Random tensors under the released names."""
    generator = torch.Generator().manual_seed(seed)

    def random(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator) / size[-1] ** 0.5

    tensors = {}
    for site in x2edit_sites(shape):
        for slot in site.slots:
            tensors[f"{slot.key}.gate.weight"] = random(experts, 2 * shape.hidden)
            for name in [*(f"experts.{index}" for index in range(experts)), "shared_experts"]:
                tensors[f"{slot.key}.{name}.down.weight"] = random(rank, shape.hidden)
                tensors[f"{slot.key}.{name}.up.weight"] = random(slot.width, rank)
    return tensors


def write_released(folder, tensors=None, table=None):
    """A folder in the released layout."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = released_tensors() if tensors is None else tensors
    save_file(tensors, folder / "lora.safetensors")
    width = next(iter(tensors.values())).shape[1] // 2 if table is None else 0
    torch.save({"weight": torch.randn(16, width) if table is None else table}, folder / "task_embeddings.bin")
    return folder


def random_delta(
    projections: int = 3, experts: int = 5, rank: int = 3, width: int = 16, out: int = 8, shared: bool = True,
    task_width: int | None = 16, routing: Routing | None = None, scale: float = 1.0, dtype=torch.float32,
) -> RoutedDelta:  # fmt: skip
    packed = (experts + shared) * rank
    return RoutedDelta(
        torch.randn(projections * (packed + experts), width, dtype=dtype) / width**0.5,
        None if task_width is None else torch.randn(projections * experts, task_width, dtype=dtype) / 4,
        torch.randn(projections, out, packed, dtype=dtype),
        experts=experts, shared=shared, routing=routing or Routing(2), scale=scale,
    )  # fmt: skip


def naive_delta(delta: RoutedDelta, x: Tensor, task: Tensor | None, strength: float = 1.0) -> list[Tensor]:
    """Each projection's delta [N, O] by a loop over tokens and experts on [hidden ‖ task], as the paper writes it."""
    results = []
    for projection in range(delta.projections):
        parts, gate = delta.parts(projection), delta.gate(projection)
        inputs = x if delta.task_gate is None else torch.cat((x, task), dim=1)
        out = []
        for token, features in zip(x, inputs, strict=True):
            total = torch.zeros(delta.out_width, dtype=x.dtype)
            for expert, weight in _choices(gate @ features, delta.routing):
                total = total + weight * low_rank(parts[expert], token)
            if delta.shared:
                total = total + low_rank(parts[-1], token)
            out.append(total * strength * delta.scale)
        results.append(torch.stack(out))
    return results


def low_rank(part: tuple[Tensor, Tensor], token: Tensor) -> Tensor:
    down, up = part
    return up @ (down @ token)


def _choices(logits: Tensor, routing: Routing):
    if not len(logits):
        return []
    best = logits.argsort(descending=True)[: routing.top_k]
    shares = logits.softmax(0)[best] if routing.order == "softmax_first" else logits[best].softmax(0)
    return list(zip(best.tolist(), shares, strict=True))


def random_adapter(shape: FluxShape = SHAPE, experts: int = 5, rank: int = 3, dtype=torch.float32) -> Adapter:
    spec = AdapterSpec("x2edit", shape, experts, rank, min(2, experts), float(rank), shared=True)
    deltas = [
        random_delta(len(site.slots), experts, rank, shape.hidden, shape.hidden, task_width=shape.hidden, dtype=dtype)
        for site in spec.sites
    ]
    return Adapter(spec, deltas, torch.randn(16, shape.hidden, dtype=dtype), "random")

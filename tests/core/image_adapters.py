"""Random picture-prompt adapters in the published layouts, and what they compute written plainly."""

from __future__ import annotations

import torch
from torch.nn import functional


def instantx(features=24, tokens=5, width=48, hidden=256, blocks=3, seed=0, dtype=torch.float32):
    """The two tables of InstantX's file."""
    random = _random(seed, dtype)
    inner = 2 * features
    projector = {
        "proj.0.weight": random(inner, features), "proj.0.bias": random(inner),
        "proj.2.weight": random(tokens * width, inner), "proj.2.bias": random(tokens * width),
        "norm.weight": 1 + random(width), "norm.bias": random(width),
    }  # fmt: skip
    attentions = {f"{index}.to_{letter}_ip.weight": random(hidden, width) for index in range(blocks) for letter in "kv"}
    return {"image_proj": projector, "ip_adapter": attentions}


def xlabs(features=24, tokens=4, width=48, hidden=256, blocks=1, seed=0, dtype=torch.float32):
    """XLabs' one table."""
    random = _random(seed, dtype)
    tensors = {
        "ip_adapter_proj_model.proj.weight": random(tokens * width, features),
        "ip_adapter_proj_model.proj.bias": random(tokens * width),
        "ip_adapter_proj_model.norm.weight": 1 + random(width),
        "ip_adapter_proj_model.norm.bias": random(width),
    }
    for index in range(blocks):
        for letter in "kv":
            name = f"double_blocks.{index}.processor.ip_adapter_double_stream_{letter}_proj"
            tensors |= {f"{name}.weight": random(hidden, width), f"{name}.bias": random(hidden)}
    return tensors


def flat(tables):
    """The same in one table, as safetensors keep it."""
    return {f"{group}.{name}": tensor for group, part in tables.items() for name, tensor in part.items()}


def plain_tokens(tables, vector):
    """Tokens of InstantX's projector."""
    part = tables["image_proj"]
    inner = functional.gelu(vector @ part["proj.0.weight"].T + part["proj.0.bias"])
    width = len(part["norm.weight"])
    found = (inner @ part["proj.2.weight"].T + part["proj.2.bias"]).view(len(vector), -1, width)
    return functional.layer_norm(found, (width,), part["norm.weight"], part["norm.bias"])


def _random(seed, dtype):
    generator = torch.Generator().manual_seed(seed)

    def random(*size):
        return (torch.randn(*size, generator=generator) / size[-1] ** 0.5).to(dtype)

    return random

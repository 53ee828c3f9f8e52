"""SigLIP's pooling head, which ComfyUI's picture encoders leave out: states of a picture → its one vector.

A learnt query attends to all states; then LayerNorm, MLP and a residual (transformers, `SiglipMultiheadAttentionPoolingHead`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor
from torch.nn import functional

from ..errors import CheckpointError
from ..files import TensorFile, account_shapes, not_finite

PREFIX = "vision_model.head."
HEADS = 16
"""Of SigLIP so400m."""
_EPS = 1e-6


class PoolingHead:
    """The head's tensors by their names behind `vision_model.head.`, for states of width C."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.weights = weights

    @property
    def width(self) -> int:
        return self.weights["probe"].shape[-1]

    def __call__(self, states: Tensor) -> Tensor:
        """The vectors [B, C] of states [B, T, C] behind the encoder's last norm, in float32."""
        states = states.float()
        weights = {name: tensor.to(states) for name, tensor in self.weights.items()}
        queries, keys, values = weights["attention.in_proj_weight"].chunk(3)
        bias_q, bias_k, bias_v = weights["attention.in_proj_bias"].chunk(3)
        probe = weights["probe"].expand(len(states), -1, -1)
        parts = (
            functional.linear(probe, queries, bias_q),
            functional.linear(states, keys, bias_k),
            functional.linear(states, values, bias_v),
        )
        heads = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in parts)
        found = functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        found = functional.linear(found, weights["attention.out_proj.weight"], weights["attention.out_proj.bias"])
        return (found + self._mlp(found, weights))[:, 0]

    def _mlp(self, x: Tensor, weights: dict[str, Tensor]) -> Tensor:
        x = functional.layer_norm(x, x.shape[-1:], weights["layernorm.weight"], weights["layernorm.bias"], _EPS)
        x = functional.gelu(
            functional.linear(x, weights["mlp.fc1.weight"], weights["mlp.fc1.bias"]), approximate="tanh"
        )
        return functional.linear(x, weights["mlp.fc2.weight"], weights["mlp.fc2.bias"])


def has_head(path: Path, width: int) -> bool:
    """Whether a safetensors file of a picture encoder holds a pooling head for states of this width; False for any other."""
    try:
        file = TensorFile(path)
    except CheckpointError:
        return False
    return f"{PREFIX}probe" in file and file.shape(f"{PREFIX}probe") == (1, 1, width)


def load_head(path: Path) -> PoolingHead:
    """The pooling head in a picture encoder's file; raises `CheckpointError` naming what is missing."""
    file = TensorFile(path)
    names = [name for name in file.names() if name.startswith(PREFIX)]
    if f"{PREFIX}probe" not in names or len(file.shape(f"{PREFIX}probe")) != 3:
        raise CheckpointError(
            str(path),
            [f"it holds no {PREFIX}probe, the query of SigLIP's pooling head"],
            "Choose the file of SigLIP so400m patch14 384, such as sigclip_vision_patch14_384.safetensors.",
        )
    found = {name: file.shape(name) for name in names}
    if problems := account_shapes(found, _shapes(found)):
        raise CheckpointError(str(path), problems, "The pooling head of SigLIP was expected.")
    weights = {name.removeprefix(PREFIX): file.tensor(name).clone() for name in names}
    if faults := [fault for name, tensor in weights.items() for fault in not_finite(PREFIX + name, tensor)]:
        raise CheckpointError(str(path), faults, "The file is damaged.")
    return PoolingHead(weights)


def _shapes(found: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    width = found[f"{PREFIX}probe"][-1]
    inner = found.get(f"{PREFIX}mlp.fc1.bias", (4 * width,))[0]
    shapes = {
        "probe": (1, 1, width), "attention.in_proj_weight": (3 * width, width), "attention.in_proj_bias": (3 * width,),
        "attention.out_proj.weight": (width, width), "attention.out_proj.bias": (width,),
        "layernorm.weight": (width,), "layernorm.bias": (width,),
        "mlp.fc1.weight": (inner, width), "mlp.fc1.bias": (inner,),
        "mlp.fc2.weight": (width, inner), "mlp.fc2.bias": (width,),
    }  # fmt: skip
    return {PREFIX + name: shape for name, shape in shapes.items()}

"""A picture-prompt adapter for FLUX.1 in memory: one vector of a picture → tokens → keys and values of every attention.

InstantX: vector → Linear, GELU, Linear → N tokens, LayerNorm; keys and values RMS-normed, in all blocks. XLabs: vector →
Linear → N tokens, LayerNorm; projections with biases, in double blocks alone, whose output they join.
Letters: B pictures, F the vector's width, N tokens of width C, hidden = H·D.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import ModelMismatchError
from ..families import FLUX1, AttentionSite, Family, Shape
from ..families.flux1 import HEAD_WIDTH, FluxShape, attention_sites
from .decoupled import Norm, Sink, heads_of

TOKEN_NORM_EPS = 1e-5
PATCHES = {1152: (729, "SigLIP so400m, 384 px"), 768: (257, "CLIP ViT-L/14, 224 px")}
"""Width of a published adapter's vector → how many states its picture encoder gives, and what that encoder is."""


@dataclass(frozen=True)
class StreamKind:
    """How an adapter of a kind acts: norm of its keys and values, where its effect goes, whether in single blocks and on
    text tokens there, and whether its vector comes out of SigLIP's pooling head, which ComfyUI's encoders leave out."""

    title: str
    norm: Norm
    sink: Sink
    single: bool
    text: bool
    pooled: bool


KINDS = {
    "instantx": StreamKind("InstantX's IP-Adapter", "instantx", "attention", single=True, text=True, pooled=True),
    "xlabs": StreamKind("XLabs' IP-Adapter", "none", "block", single=False, text=False, pooled=False),
}


@dataclass(frozen=True)
class ImageAdapterSpec:
    """Shapes of a picture-prompt adapter: widths of vector, tokens and model, numbers of tokens and attentions."""

    kind: Literal["instantx", "xlabs"]
    features: int
    tokens: int
    width: int
    hidden: int
    blocks: int

    @property
    def acts(self) -> StreamKind:
        return KINDS[self.kind]

    def sites(self, shape: FluxShape) -> tuple[AttentionSite, ...]:
        """The attentions of a model that the keys and values belong to, in their order."""
        return attention_sites(shape if self.acts.single else FluxShape(shape.hidden, shape.double, 0))

    def require_fit(self, family: Family, shape: Shape, source: str) -> None:
        """Raise `ModelMismatchError` unless a model of this family and shape has these attentions."""
        fits = isinstance(shape, FluxShape) and (self.hidden, self.blocks) == (shape.hidden, len(self.sites(shape)))
        if family is not FLUX1 or not fits:
            where = "double and single" if self.acts.single else "double"
            raise ModelMismatchError(
                f"{source} ({self.acts.title}) was made for a FLUX.1 of hidden {self.hidden} with {self.blocks} {where} "
                f"blocks; a {family.title} with {shape} is connected. Connect the base model that it was trained on."
            )

    def describe(self) -> str:
        return f"{self.acts.title}: {self.features}-wide vector → {self.tokens} tokens, {self.blocks} attentions"


class ImageAdapter(nn.Module):
    """The weights, as parameters for the host's memory manager; they compute in float32 wherever a vector lies.

    `projector`: tensors by the names `proj.…` and `norm.…` of the file. `projections`: for each attention `to_k`, `to_v`
    [hidden, C] and, if the kind has them, their biases.
    """

    def __init__(
        self,
        spec: ImageAdapterSpec,
        projector: Mapping[str, Tensor],
        projections: Sequence[Mapping[str, Tensor]],
        source: str,
    ) -> None:
        super().__init__()
        self.spec, self.source = spec, source
        self.projector = _parameters(projector)
        self.projections = nn.ModuleList(_parameters(tensors) for tensors in projections)

    @property
    def dtype(self) -> torch.dtype:
        """What keys and values are kept in: that of the weights, unless it has eight bits."""
        kept = next(self.projections.parameters()).dtype
        return kept if kept.itemsize > 1 else torch.bfloat16

    def tokens(self, vector: Tensor) -> Tensor:
        """Tokens [B, N, C] of vectors [B, F], in float32."""
        weights = {name: tensor.to(vector.device).float() for name, tensor in self.projector.items()}
        found = vector.float()
        if self.spec.kind == "instantx":
            found = functional.linear(found, weights["proj_0_weight"], weights["proj_0_bias"])
            found = functional.linear(functional.gelu(found), weights["proj_2_weight"], weights["proj_2_bias"])
        else:
            found = functional.linear(found, weights["proj_weight"], weights["proj_bias"])
        found = found.unflatten(-1, (self.spec.tokens, self.spec.width))
        return functional.layer_norm(
            found, found.shape[-1:], weights["norm_weight"], weights["norm_bias"], TOKEN_NORM_EPS
        )

    def states(self, tokens: Tensor) -> list[tuple[Tensor, Tensor]]:
        """For each attention the keys and values [B, H, N, D] of tokens [B, N, C]."""
        return [(self._state(tokens, part, "k"), self._state(tokens, part, "v")) for part in self.projections]

    def _state(self, tokens: Tensor, part: nn.Module, letter: str) -> Tensor:
        weights = dict(part.named_parameters())
        bias = weights.get(f"to_{letter}_ip_bias")
        projected = functional.linear(
            tokens,
            weights[f"to_{letter}_ip_weight"].to(tokens.device).float(),
            None if bias is None else bias.to(tokens.device).float(),
        )
        return heads_of(projected, HEAD_WIDTH, self.spec.acts.norm).to(self.dtype)


def _parameters(tensors: Mapping[str, Tensor]) -> nn.ParameterDict:
    named = {name.replace(".", "_"): nn.Parameter(tensor, requires_grad=False) for name, tensor in tensors.items()}
    return nn.ParameterDict(named)

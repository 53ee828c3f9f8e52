"""A second stream: the picture's own attention beside a model's, `Attn(q, k, v) + λ · Attn(q, k_image, v_image)`.

IP-Adapter's decoupled attention (arXiv:2308.06721, equation 5), which InsightEdit takes over. On FLUX the query is that of
the block after its norm and before its positions; image tokens have none. Like experts it is attached for one pass: a
norm hands its query on, and what follows the attention adds to it.
Letters: B rows, H heads, D their width, P queries, N image tokens of width C.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import ModelMismatchError, X2EditError
from ..families import AttentionSite
from .attach import Forward, find_module

Norm = Literal["none", "instantx"]
NORM_EPS = 1e-5
"""Of the RMS norm that InstantX's adapter puts on its keys and its values."""
Sink = Literal["attention", "block"]


def image_attention(query: Tensor, image: Tensor, to_k: Tensor, to_v: Tensor, norm: Norm = "none") -> Tensor:
    """What queries [B, H, P, D] find in image tokens [B, N, C] by projections [H·D, C]: [B, P, H·D].

    `instantx`: keys and values are RMS-normed head by head, without weights (IPAdapter-Flux's attention processor).
    """
    keys = heads_of(functional.linear(image, to_k), query.shape[-1], norm)
    return attend(query, keys, heads_of(functional.linear(image, to_v), query.shape[-1], norm))


def heads_of(projected: Tensor, head_width: int, norm: Norm = "none") -> Tensor:
    """Projected tokens [B, N, H·D] head by head, [B, H, N, D], normed as the adapter asks."""
    heads = projected.unflatten(-1, (-1, head_width)).transpose(1, 2)
    if norm == "none":
        return heads
    return heads * torch.rsqrt(heads.square().mean(-1, keepdim=True) + NORM_EPS)


def attend(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """[B, P, H·D] of queries [B, H, P, D] over keys and values [B, H, N, D]."""
    return functional.scaled_dot_product_attention(query, keys, values).transpose(1, 2).flatten(2)


@dataclass(frozen=True)
class StreamAt:
    """One stream at one site: keys and values [entries, H, N, D], λ, and each row's entry [B], None for one entry.

    `area` [B or 1, target tokens] weighs its effect token by token. With `text` the text tokens of single blocks are
    touched as well, if there is no area; reference tokens never are. `sink`: the effect joins the attention's output,
    or the whole block's.
    """

    site: AttentionSite
    keys: Tensor
    values: Tensor
    strength: float
    rows: Tensor | None = None
    area: Tensor | None = None
    text: bool = False
    sink: Sink = "attention"

    def effect(self, query: Tensor) -> Tensor:
        """λ times what queries [B, H, P, D] of the touched tokens find: [B, P, H·D]."""
        keys, values = (states.to(query) for states in (self.keys, self.values))
        if self.rows is not None:
            keys, values = keys.index_select(0, self.rows), values.index_select(0, self.rows)
        shape = (query.shape[0], *keys.shape[1:])
        found = attend(query, keys.expand(shape), values.expand(shape)) * self.strength
        return found if self.area is None else found * self.area.to(found).unsqueeze(-1)


@dataclass
class TokenPlan:
    """Which tokens of a pass are touched: the first `target` of the `image` tokens; single blocks have text before them."""

    target: int
    image: int

    def touched(self, stream: StreamAt, tokens: int) -> tuple[int, int]:
        """(start, end) among the `tokens` of a block; raises `ModelMismatchError` if they cannot be those of this pass."""
        text = 0 if stream.site.stream == "image" else tokens - self.image
        if text < 0 or (stream.site.stream == "image" and tokens != self.image):
            raise ModelMismatchError(
                f"{stream.site.block} holds {tokens} tokens where {self.image} of the picture and its references were "
                "expected: another node pack adds or drops some, and the picture prompt cannot tell which are the edit's. "
                "Bypass that pack's node for this model."
            )
        return (0 if stream.text and stream.area is None else text), text + self.target


@dataclass
class StreamPass:
    """One forward pass: the queries that norms handed on, and the blocks whose attention was added to."""

    plan: TokenPlan
    queries: dict[str, Tensor] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)

    def keep(self, site: AttentionSite, query: Tensor) -> None:
        self.queries[site.block] = query

    def take(self, site: AttentionSite) -> Tensor:
        if site.block not in self.queries:
            raise ModelMismatchError(
                f"{site.block} runs in a form whose queries are not those of {site.query}, so a picture prompt cannot act "
                "there. Bypass the node that replaced it, or disconnect image_tokens."
            )
        self.done.add(site.block)
        return self.queries.pop(site.block)

    def require_taken(self) -> None:
        """Raise `ModelMismatchError` if a block computed its attention and left what belongs to it undone."""
        if self.queries:
            raise ModelMismatchError(
                f"{next(iter(self.queries))} never runs the layer behind its attention (replaced by another node pack?), so "
                "a picture prompt cannot act there. Bypass that pack's node, or disconnect image_tokens."
            )

    def added(self, streams: Sequence[StreamAt], query: Tensor, tokens: Tensor) -> Tensor:
        """`tokens` [B, T, W] with the effects of streams at a site, whose query is [B, H, T, D], in their first columns."""
        out = tokens.clone()
        for stream in streams:
            start, end = self.plan.touched(stream, query.shape[2])
            effect = stream.effect(query[:, :, start:end])
            out[:, start:end, : effect.shape[-1]] += effect
        return out


def stream_swaps(
    model: nn.Module, streams: Sequence[StreamAt], watched: Sequence[AttentionSite], state: StreamPass
) -> list[tuple[nn.Module, Forward]]:
    """(module, new forward) at each watched site of `model`; to be put there last, so that experts read what is added to."""
    swaps: list[tuple[nn.Module, Forward]] = []
    for site in watched:
        found = [stream for stream in streams if stream.site == site]
        sinks = {sink: [stream for stream in found if stream.sink == sink] for sink in ("attention", "block")}
        norm, sink = find_module(model, site.query), find_module(model, site.sink)
        swaps.append((norm, _norm_forward(norm.forward, site, state)))
        swaps.append((sink, _sink_forward(sink.forward, site, sinks["attention"], sinks["block"], state)))
        if sinks["block"]:
            block = find_module(model, site.block)
            swaps.append((block, _block_forward(block.forward, site, sinks["block"], state)))
    return swaps


_APART = torch.compiler.disable(reason="a picture prompt of a pass is not the one that a block was compiled with")


def _norm_forward(original: Callable[..., Any], site: AttentionSite, state: StreamPass) -> Callable[..., Any]:
    @_APART
    def forward(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        state.keep(site, result[0])
        return result

    return forward


def _sink_forward(
    original: Forward, site: AttentionSite, streams: Sequence[StreamAt], later: Sequence[StreamAt], state: StreamPass
) -> Forward:
    @_APART
    def forward(x: Tensor) -> Tensor:
        query = state.take(site)
        if later:
            state.keep(site, query)
        return original(state.added(streams, query, x) if streams else x)

    return forward


def _block_forward(
    original: Callable[..., Any], site: AttentionSite, streams: Sequence[StreamAt], state: StreamPass
) -> Callable[..., Any]:
    @_APART
    def forward(*args: Any, **kwargs: Any) -> Any:
        image, *rest = original(*args, **kwargs)
        return (state.added(streams, state.take(site), image), *rest)

    return forward


def require_strength(strength: float, start: float, end: float) -> None:
    """Raise `X2EditError` for a part of sampling that holds no step."""
    if start > end:
        raise X2EditError(f"start_percent {start} lies after end_percent {end}; the picture prompt would never act.")
    if strength != strength:
        raise X2EditError("The strength of the picture prompt is no number.")

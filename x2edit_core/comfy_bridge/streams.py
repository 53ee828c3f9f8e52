"""Picture prompts within a forward pass: keys and values of their tokens, attached beside the model's own attention.

Keys and values do not change while a picture is sampled. They are computed once, and are all that a step needs; the
adapter's own weights may have left the device by then.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..adapters.attach import swapped
from ..adapters.decoupled import StreamAt, StreamPass, TokenPlan, stream_swaps
from ..adapters.image_adapter import ImageAdapterSpec
from ..families import FLUX1, AttentionSite
from ..tasks import entries_of_rows
from .call import Call
from .notices import say_once
from .placement import token_count, token_grid
from .replaced import replaced_error

_LOST = "and its own way never runs the layers that a picture prompt acts on, so the prompt would not act at all"


class StreamStates(nn.Module):
    """Keys and values [pictures, H, N, D] of each attention, as parameters for the host's memory manager."""

    def __init__(self, spec: ImageAdapterSpec, states: Sequence[tuple[Tensor, Tensor]], source: str) -> None:
        super().__init__()
        self.spec, self.source = spec, source
        self.keys = nn.ParameterList(nn.Parameter(key, requires_grad=False) for key, _ in states)
        self.values = nn.ParameterList(nn.Parameter(value, requires_grad=False) for _, value in states)

    @property
    def pictures(self) -> int:
        return self.keys[0].shape[0]

    def copied(self) -> StreamStates:
        """The same in memory of its own."""
        pairs = [
            (key.detach().cpu().clone(), value.detach().cpu().clone())
            for key, value in zip(self.keys, self.values, strict=True)
        ]
        return StreamStates(self.spec, pairs, self.source)


@dataclass(frozen=True)
class Stream:
    """A picture prompt as a graph applies it: λ, the part of sampling [start, end], and where: `area` [B, h, w] or all."""

    states: StreamStates
    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0
    area: Tensor | None = None

    @property
    def always_on(self) -> bool:
        return self.start <= 0.0 and self.end >= 1.0


@contextlib.contextmanager
def attending(network: Any, streams: Sequence[Stream], active: Sequence[bool], call: Call) -> Iterator[None]:
    """Within it the active streams act on this pass of `network`; entered once the experts are in place.

    Raises `ModelMismatchError` if another pack's forward leaves out what they act on. The first step of a run shows it,
    which no cache skips; a block that a node replaces for this run is that node's to run or not.
    """
    acting = [item for item, on in zip(streams, active, strict=True) if on]
    options: dict[str, Any] = call["transformer_options"]
    first = bool(streams) and _is_first(call, options)
    if not acting and not first:
        yield
        return
    shape = FLUX1.shape_of(network)
    sites = dict.fromkeys(site for item in (streams if first else acting) for site in item.states.spec.sites(shape))
    references = call["ref_latents"] or ()
    target = token_count(network, call["x"])
    state = StreamPass(TokenPlan(target, target + sum(token_count(network, latent) for latent in references)))
    bound = [at for item in acting for at in _bound(item, network, shape, call["x"], options)]
    with swapped(stream_swaps(network, bound, list(sites), state)):
        yield
    state.require_taken()
    if first and any(site.block not in state.done for site in sites if not _replaced(site, options)):
        raise replaced_error(network, _LOST)


def _is_first(call: Call, options: dict[str, Any]) -> bool:
    """Whether this pass belongs to the first step of a run, as far as the host says."""
    planned, now = options.get("sample_sigmas"), options.get("sigmas")
    return planned is None or now is None or float(now.max()) >= float(planned[0])


def _replaced(site: AttentionSite, options: dict[str, Any]) -> bool:
    kind, index = site.block.split(".")
    return (kind.removesuffix("s"), int(index)) in options.get("patches_replace", {}).get("dit", {})


def _bound(stream: Stream, network: Any, shape: Any, x: Tensor, options: dict[str, Any]) -> list[StreamAt]:
    """One stream at each of its sites, for the rows and the token grid of a pass over `x`."""
    states, acts = stream.states, stream.states.spec.acts
    chunks, pictures = len(options.get("cond_or_uncond", (0,))), len(options.get("sigmas", ()))
    rows = _rows(states.pictures, x, chunks, pictures, states.source)
    area = None if stream.area is None else _area(stream.area, network, x, chunks, pictures)
    return [
        StreamAt(site, states.keys[index], states.values[index], stream.strength, rows, area, acts.text, acts.sink)
        for index, site in enumerate(states.spec.sites(shape))
    ]


def _rows(entries: int, x: Tensor, chunks: int, pictures: int, source: str) -> Tensor | None:
    """Which picture of a prompt each row [B] takes: one for all, or one each in turn."""
    if entries == 1:
        return None
    found = entries_of_rows(entries, x.shape[0], chunks, pictures)
    if len(set(found)) < entries:
        say_once(
            f"pictures left over {source} {entries}",
            f"The picture prompt holds {entries} pictures and {len(set(found))} are sampled at a time: each gets one in turn, "
            "and the others have no effect. To prompt one picture with several, chain X2Edit Image Tokens nodes.",
        )
    return torch.tensor(found, device=x.device)


def _area(area: Tensor, network: Any, x: Tensor, chunks: int, pictures: int) -> Tensor:
    """Shares [B or 1, tokens] of an area [pictures, h, w] on the token grid of latent `x`."""
    grid = functional.interpolate(area[:, None].to(x.device), size=token_grid(network, x), mode="area").flatten(1)
    if len(grid) == 1:
        return grid
    return grid[list(entries_of_rows(len(grid), x.shape[0], chunks, pictures))]

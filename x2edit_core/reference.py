"""Reference tokens: where they stand in the position grid, and their own modulation as clean (t = 0) tokens.

The sequence is [text ‖ target ‖ reference 1 ‖ reference 2 …]. A reference keeps axis 0 at 0 and moves its rows: the k-th
of them, from 1, by k · offset (upstream `pipeline_1024.py:559`, one reference there). Inside each block it is modulated
with the time embedding of t = 0, same guidance and pooled text (`transformer_flux.py:460`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

METHOD = "x2edit"
"""Value of the host's `reference_latents_method` that marks references as ours."""

_INDEX_CLEAN = "index_timestep_zero"

AUTOMATIC_OFFSETS = (64, 128)
_AUTOMATIC_LIMIT_TOK = 1024


class ReferenceMethod(str):
    """The method name, with one flag per reference latent: whether `X2EditReference` put it there.

    A plain string to the host; the flags let latents from other nodes keep the host's own behaviour, by the method
    that they were given before (`foreign`, None for the host's default).
    """

    flags: tuple[bool, ...]
    foreign: str | None

    def __new__(cls, flags: tuple[bool, ...], foreign: str | None = None) -> ReferenceMethod:
        method = super().__new__(cls, METHOD)
        method.flags, method.foreign = flags, foreign
        return method


def ours(method: Any, count: int) -> tuple[bool, ...]:
    """Which of `count` reference latents are ours, from the conditioning's method value."""
    if method != METHOD:
        return (False,) * count
    flags = getattr(method, "flags", (True,) * count)[:count]
    return flags + (False,) * (count - len(flags))


def foreign_method(method: Any) -> str | None:
    """The method of the reference latents that are not ours, from the conditioning's method value."""
    return getattr(method, "foreign", None) if method == METHOD else method


def host_method(method: Any) -> tuple[str, bool]:
    """What the host should place the foreign latents by, and whether they are clean (t = 0) tokens as ours are.

    The host's own way to clean tokens doubles its modulation, which ours replaces.
    """
    foreign = foreign_method(method)
    if foreign == _INDEX_CLEAN:
        return "index", True
    return foreign or METHOD, False


def automatic_offset(target_tokens: int, offsets: tuple[int, int] = AUTOMATIC_OFFSETS) -> int:
    """Row offset between target and reference for this many target tokens: trained as 64 at 512², 128 at 1024²."""
    return offsets[0] if target_tokens <= _AUTOMATIC_LIMIT_TOK else offsets[1]


@dataclass(frozen=True)
class ReferencePlan:
    """Where the references of one forward lie among its image tokens.

    `spans`: (start, end, modulation) over the image tokens, modulation 0 = the step's own, 1 = that of t = 0; or
    whatever picks that row of the host's modulation.
    `positions`: for each span of ours its position ids [tokens, axes].
    """

    spans: tuple[tuple[int, int, int | slice], ...]
    positions: tuple[tuple[int, int, Tensor], ...]

    @property
    def image_tokens(self) -> int:
        return self.spans[-1][1]


def plan_references(
    target_tokens: int, grids: list[Tensor], flags: tuple[bool, ...], clean: bool = False
) -> ReferencePlan:
    """The plan for references whose position grids [tokens_k, axes] are given in order; see `ReferencePlan`.

    With `clean` those that are not ours keep their places and take the modulation of t = 0 as well.
    """
    spans: list[tuple[int, int, int | slice]] = [(0, target_tokens, 0)]
    positions = []
    start = target_tokens
    for grid, is_ours in zip(grids, flags, strict=True):
        end = start + grid.shape[0]
        spans.append((start, end, int(is_ours or clean)))
        if is_ours:
            positions.append((start, end, grid))
        start = end
    return ReferencePlan(tuple(spans), tuple(positions))


def reference_grid(rows: int, columns: int, row_offset: int, axes: int, device: torch.device) -> Tensor:
    """Position ids float32 [rows·columns, axes] of one reference: (0, row + row_offset, column)."""
    grid = torch.zeros(rows, columns, axes, device=device)
    grid[..., 1] = torch.arange(rows, device=device, dtype=grid.dtype).unsqueeze(1) + row_offset
    grid[..., 2] = torch.arange(columns, device=device, dtype=grid.dtype)
    return grid.flatten(0, 1)


def place_references(image_ids: Tensor, plan: ReferencePlan) -> Tensor:
    """Position ids [B, T, axes] with our references moved to their own places; others stay where the host put them."""
    placed = image_ids.clone()
    for start, end, grid in plan.positions:
        placed[:, start:end] = grid
    return placed


def double_block_forward(original: Callable[..., Any], clean_vec: Tensor, plan: ReferencePlan) -> Callable[..., Any]:
    """A double block's forward in which our references are modulated by `clean_vec` [B, D], the vector of t = 0."""
    spans = list(plan.spans)
    own = spans[0][2]

    def forward(img: Tensor, txt: Tensor, vec: Tensor, *args: Any, **kwargs: Any) -> Any:
        kwargs["modulation_dims_img"] = spans
        kwargs["modulation_dims_txt"] = [(0, txt.shape[1], own)]
        return original(img, txt, torch.stack((vec, clean_vec), 1), *args, **kwargs)

    return forward


def single_block_forward(original: Callable[..., Any], clean_vec: Tensor, plan: ReferencePlan) -> Callable[..., Any]:
    """A single block's forward, likewise; its tokens are [text ‖ image]."""

    def forward(x: Tensor, vec: Tensor, *args: Any, **kwargs: Any) -> Any:
        text_tokens = x.shape[1] - plan.image_tokens
        first, *rest = plan.spans
        spans = [(0, first[1] + text_tokens, first[2])]
        spans += [(start + text_tokens, end + text_tokens, modulation) for start, end, modulation in rest]
        kwargs["modulation_dims"] = spans
        return original(x, torch.stack((vec, clean_vec), 1), *args, **kwargs)

    return forward

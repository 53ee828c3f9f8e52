"""References put in their places as their tokens are made, whatever runs the blocks afterwards.

The host's own forward would also do it in a `post_input` patch, but packs that replace `forward_orig` run none. All of
them are handed the tokens and positions that `process_img` gives.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from ..adapters.attach import Forward, overridden
from ..reference import ReferencePlan
from .replaced import block_error, replaced_error

_LOST = "and its own way never asks where X2Edit's references stand, so the edit would be a wrong one"


def token_grid(flux: Any, latent: Tensor) -> tuple[int, int]:
    """(rows, columns) of tokens that the host makes of a latent [..., H, W], its padding to whole patches included."""
    size = flux.patch_size
    return -(-latent.shape[-2] // size), -(-latent.shape[-1] // size)


def token_count(flux: Any, latent: Tensor) -> int:
    rows, columns = token_grid(flux, latent)
    return rows * columns


class Placement:
    """The references of one forward pass [B, C, h, w], those that are ours with the grid [tokens, axes] where they stand."""

    def __init__(self, flux: Any, references: Sequence[Tensor], flags: Sequence[bool], plan: ReferencePlan) -> None:
        self._flux = flux
        ours = [reference for reference, is_ours in zip(references, flags, strict=True) if is_ours]
        self._waiting = [(latent, grid) for latent, (_, _, grid) in zip(ours, plan.positions, strict=True)]

    @contextlib.contextmanager
    def placing(self) -> Iterator[None]:
        """Within it `process_img` gives our references their own positions; any other picture keeps the host's."""
        original = self._flux.process_img

        def process_img(x: Tensor, *args: Any, **kwargs: Any) -> Any:
            tokens, ids, *rest = original(x, *args, **kwargs)
            return (tokens, self._placed(x, ids), *rest)

        with overridden([(self._flux, "process_img", process_img)]):
            yield

    def _placed(self, x: Tensor, ids: Tensor) -> Tensor:
        """Position ids [B, tokens, axes] of picture `x`: its grid if it is a reference of ours that was not placed yet."""
        for index, (latent, grid) in enumerate(self._waiting):
            if latent is x and grid.shape == ids.shape[1:]:
                del self._waiting[index]
                return grid.to(ids).expand_as(ids)
        return ids

    def required(self, swaps: Sequence[tuple[nn.Module, Forward]]) -> list[tuple[nn.Module, Forward]]:
        """The same new forwards of blocks, which raise `ModelMismatchError` if they run and a reference was not placed."""
        return [(block, self._after_placing(forward)) for block, forward in swaps]

    def _after_placing(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        def after_placing(*args: Any, **kwargs: Any) -> Any:
            if self._waiting:
                raise replaced_error(self._flux, _LOST)
            return forward(*args, **kwargs)

        return after_placing


def require_modulated(block: nn.Module, path: str, names: Sequence[str]) -> None:
    """Raise `ModelMismatchError` for a block at `path` that cannot be told which tokens are clean ones."""
    known = inspect.signature(block.forward).parameters
    passed_on = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    if not passed_on and any(name not in known for name in names):
        raise block_error(block.forward, path, "and its own block cannot modulate X2Edit's references as clean tokens")

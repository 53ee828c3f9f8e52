"""References on the host's FLUX.2: the host places them, in frames of their own, by the method an adapter was trained with.

`index`: at the target's time, as FLUX.2 itself edits. `index_timestep_zero`: as clean tokens, as X2Edit does on FLUX.1.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...adapters.attach import Forward, find_module, overridden
from ...errors import HostError, ModelMismatchError
from ...families.flux2 import DEFAULT_METHOD, METHODS
from ..call import Call
from ..host import comfy
from ..notices import say_once
from ..replaced import replaced_error
from .methods import choose_method

CLEAN = METHODS[1]
TEXT_TOKENS = 512
"""The host fills shorter texts with zeros up to this many tokens, from the front."""
_OTHER_METHODS = ("index", "index_timestep_zero", "offset", "uxo")
_LOST = "and its own way leaves out X2Edit's references, so the edit would be a wrong one"
_MIXED = "and its own way does not modulate X2Edit's references as clean tokens, so the edit would be a wrong one"


def place(network: Any, call: Call, flags: Sequence[bool], method: str) -> References:
    """Lets the host place the references of a pass by `method`; raises `ModelMismatchError` where another node's
    references want another, and `HostError` for a host that lacks it."""
    require_method(method)
    others = [name for name in _OTHER_METHODS if name != method]
    choose_method(call, flags, method, "FLUX.2", network.params.default_ref_method, others)
    if method == CLEAN:
        call["guidance"] = for_both_times(network, call["guidance"])
    return References(network, call["ref_latents"], clean=method == CLEAN)


def say_if_mixed(network: Any, call: Call, references: int, method: str) -> None:
    """Tell of a pass whose references all come from other nodes and are shown otherwise than the adapter was trained."""
    shown = call["ref_latents_method"] or network.params.default_ref_method
    if references and shown != method:
        say_once(
            f"references by {shown}",
            f"X2Edit: the references of another node are placed by {shown!r}, the adapter was trained with {method!r}. Use "
            "X2Edit Reference in that node's place.",
        )


def require_method(method: str) -> None:
    """Raise `ModelMismatchError` for an unknown method of an adapter's file, `HostError` for one that newer hosts have."""
    if method not in METHODS:
        raise ModelMismatchError(
            f"The adapter wants references placed by {method!r}; expected one of: {', '.join(METHODS)}. Update the X2Edit "
            "node pack."
        )
    if method == CLEAN and "timestep_zero_index" not in inspect.signature(_flux().forward_orig).parameters:
        raise HostError(
            f"This ComfyUI has no {CLEAN} for FLUX.2, with which the adapter was trained. Update ComfyUI; adapters trained "
            f"with references = {DEFAULT_METHOD!r} run on it."
        )


def for_both_times(network: Any, guidance: Tensor | None) -> Tensor | None:
    """Guidance [B] for the times of target and reference one after the other, as the host has times [2 · B] by then."""
    return torch.cat((guidance, guidance)) if guidance is not None and network.params.guidance_embed else guidance


def filled(context: Tensor) -> Tensor:
    """Context [B, T, C] as the host hands it to FLUX.2."""
    return functional.pad(context, (0, 0, max(TEXT_TOKENS - context.shape[1], 0), 0))


class References:
    """Whether a pass shows all its references, and the clean ones as such: another pack's pass may do it in its own way."""

    def __init__(self, network: Any, references: Sequence[Tensor], clean: bool) -> None:
        self._network, self._clean = network, clean
        self._waiting = list(references)

    @contextlib.contextmanager
    def placing(self) -> Iterator[None]:
        original = self._network.process_img

        def process_img(x: Tensor, *args: Any, **kwargs: Any) -> Any:
            self._waiting = [latent for latent in self._waiting if latent is not x]
            return original(x, *args, **kwargs)

        with overridden([(self._network, "process_img", process_img)]):
            yield

    def required(self) -> list[tuple[nn.Module, Forward]]:
        """A forward of the first block that raises `ModelMismatchError` where a reference is not among its tokens."""
        block = find_module(self._network, "double_blocks.0" if len(self._network.double_blocks) else "single_blocks.0")
        original: Callable[..., Any] = block.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            if self._waiting:
                raise replaced_error(self._network, _LOST)
            if self._clean and not (kwargs.get("modulation_dims_img") or kwargs.get("modulation_dims")):
                raise replaced_error(self._network, _MIXED)
            return original(*args, **kwargs)

        return [(block, forward)]


def _flux() -> Any:
    return comfy.ldm.flux.model.Flux

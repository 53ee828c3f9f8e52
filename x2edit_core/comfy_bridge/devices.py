"""Copies of a patched model on further devices: each with its own copy of the adapters' weights.

The host runs the wrappers of the first model for all of its copies, so the first one's stack knows whose pass it is in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ..adapters.adapter import Adapter
from ..errors import X2EditError
from .host import comfy
from .stack import KEY, AdapterStack

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher

Copied = Callable[["ModelPatcher", "ModelPatcher"], None]


def on_copies(model: ModelPatcher, copied: Copied) -> None:
    """Have the host call `copied(model, copy)` whenever it makes a copy of `model` for another device."""
    callbacks = comfy.patcher_extension.CallbacksMP
    for name in ("ON_DEEPCLONE_MULTIGPU", "ON_MATCH_MULTIGPU_CLONES"):
        kind = getattr(callbacks, name, None)  # older hosts make no copies
        if kind is not None:
            model.remove_callbacks_with_key(kind, KEY)
            model.add_callback_with_key(kind, KEY, copied)


def stack_of_copy(stack: AdapterStack, model: ModelPatcher, copy: ModelPatcher) -> AdapterStack:
    """`stack` of `model` with the weights that the host copied for `copy`; `X2EditError` if an adapter changed meanwhile."""
    copies = {patcher.clone_base_uuid: patcher.model for patcher in copy.get_additional_models_with_key(KEY)}
    own = {id(patcher.model): copies[patcher.clone_base_uuid] for patcher in model.get_additional_models_with_key(KEY)}
    found = [(item, own[id(item.adapter)]) for item in stack.attachments]
    for item, adapter in found:
        _require_same(item.adapter, adapter)
    streams = tuple(replace(item, states=own[id(item.states)]) for item in stack.streams)
    twin = stack.with_parts(tuple(replace(item, adapter=adapter) for item, adapter in found), streams)
    stack.copies[copy.model.diffusion_model] = twin
    return twin


def _require_same(adapter: Adapter, copy: Adapter) -> None:
    if adapter.spec != copy.spec:
        raise X2EditError(
            f"{adapter.source} was {adapter.describe()} when it was loaded and is {copy.describe()} now that another device "
            "needs it. Load the adapter again."
        )

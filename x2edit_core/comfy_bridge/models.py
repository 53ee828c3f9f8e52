"""Adapters on the host's models: loaded into managed memory, and applied to a clone of a MODEL."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.ldm.flux.model as flux_model
from comfy import model_management
from comfy.ldm.flux.layers import DoubleStreamBlock, SingleStreamBlock
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP

from ..adapter import Adapter
from ..attach import Attachment
from ..checkpoint import load_adapter
from ..errors import ModelMismatchError, X2EditError
from ..sites import FluxShape
from ..tasks import Task, TaskBatch, TaskChoice
from .notices import say_once
from .stack import KEY, AdapterStack


@dataclass(frozen=True)
class ManagedAdapter:
    """An adapter and the patcher through which the host counts, moves and frees its weights (X2EDIT_ADAPTER)."""

    adapter: Adapter
    patcher: ModelPatcher


def manage(adapter: Adapter) -> ManagedAdapter:
    """Put `adapter` under the host's memory management."""
    patcher = ModelPatcher(
        adapter, load_device=model_management.get_torch_device(), offload_device=model_management.unet_offload_device()
    )
    patcher.cached_patcher_init = (_reload, (adapter.source,))
    return ManagedAdapter(adapter, patcher)


def load_managed(path: Path) -> ManagedAdapter:
    """The adapter file or folder at `path`, managed; raises `CheckpointError` as `load_adapter` does."""
    return manage(load_adapter(path))


def _reload(source: str, **_: Any) -> ModelPatcher:
    """A fresh patcher with its own weights, for the host's copies on further GPUs."""
    return load_managed(Path(source)).patcher


def attachment_for(
    managed: ManagedAdapter, task: TaskChoice | TaskBatch | None, strength: float, start: float, end: float, offset: int
) -> Attachment:
    """The attachment that a node's inputs describe; a task-aware adapter without a task works as `other`, said once."""
    if start > end:
        raise X2EditError(f"start_percent {start} lies after end_percent {end}; the adapter would never act.")
    tasks = None
    if managed.adapter.task_aware:
        if task is None:
            say_once("no task", "X2Edit: no task is connected, so the adapter works with its task `other`.")
        tasks = TaskBatch.of(task or TaskChoice(Task.OTHER))
    return Attachment(managed.adapter, tasks, strength, start, end, offset)


def apply_adapter(model: ModelPatcher, managed: ManagedAdapter, attachment: Attachment) -> ModelPatcher:
    """A clone of `model` with the adapter applied; `model` itself at strength 0.

    Raises `ModelMismatchError` when the model is no FLUX.1, or not the one that the adapter was made for.
    """
    flux = require_flux(model)
    managed.adapter.require_fit(flux_shape(flux))
    if attachment.strength == 0.0:
        return model
    previous = current_stack(model)
    stack = previous.plus(attachment) if previous else AdapterStack((attachment,))
    patchers = list(model.get_additional_models_with_key(KEY))
    if not any(patcher.model is managed.adapter for patcher in patchers):
        patchers.append(managed.patcher)
    return with_stack(model, stack, patchers)


def with_stack(model: ModelPatcher, stack: AdapterStack, patchers: list[ModelPatcher]) -> ModelPatcher:
    """A clone of `model` that runs `stack` in place of any it had, with the patchers of its adapters."""
    clone = model.clone()
    for kind in (WrappersMP.DIFFUSION_MODEL, WrappersMP.APPLY_MODEL):
        clone.remove_wrappers_with_key(kind, KEY)
    clone.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, KEY, stack.diffusion_model)
    if not all(item.always_on for item in stack.attachments):
        clone.add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, stack.apply_model)
    clone.set_attachments(KEY, stack)
    clone.set_additional_models(KEY, patchers)
    return clone


def current_stack(model: ModelPatcher) -> AdapterStack | None:
    """The adapters already applied to `model`, if any."""
    return model.get_attachment(KEY)


def flux_shape(flux: Any) -> FluxShape:
    return FluxShape(flux.hidden_size, len(flux.double_blocks), len(flux.single_blocks))


def require_flux(model: ModelPatcher) -> Any:
    """The FLUX.1 inside a MODEL; `ModelMismatchError` saying what was found instead."""
    _require_host()
    inner = model.get_model_object("diffusion_model")
    inner = getattr(inner, "_orig_mod", inner)
    name = f"{type(model.model).__name__} ({type(inner).__name__})"
    if not isinstance(inner, flux_model.Flux):
        hint = (
            "It seems to be a fused quantised build; load the model with a loader that keeps ComfyUI's own FLUX layers."
        )
        raise ModelMismatchError(
            f"X2Edit adapters attach to FLUX.1 models; a {name} is connected. "
            + (hint if hasattr(inner, "model") else "Connect a FLUX.1 dev, Krea, schnell, shuttle or Fill model.")
        )
    if inner.params.global_modulation:
        raise ModelMismatchError(
            f"X2Edit adapters were trained on FLUX.1; a FLUX.2 model ({name}) is connected, whose blocks differ. "
            "Connect a FLUX.1 model."
        )
    return inner


def _require_host() -> None:
    """Raise one clear error if a host symbol that this module relies on has changed."""
    needed = {
        DoubleStreamBlock.forward: ("img", "txt", "vec", "modulation_dims_img", "modulation_dims_txt"),
        SingleStreamBlock.forward: ("x", "vec", "modulation_dims"),
        flux_model.Flux.forward: ("x", "timestep", "context", "y", "guidance", "ref_latents", "transformer_options"),
        ModelPatcher.set_additional_models: ("key", "models"),
        ModelPatcher.add_wrapper_with_key: ("wrapper_type", "key", "wrapper"),
    }
    changed = [
        f"{function.__qualname__}({', '.join(missing)})"
        for function, names in needed.items()
        if (missing := [name for name in names if name not in inspect.signature(function).parameters])
    ]
    if changed:
        raise ModelMismatchError(
            f"This ComfyUI lacks what X2Edit builds on: {'; '.join(changed)}. Update the X2Edit node pack, or use the "
            "ComfyUI version named in its pyproject.toml."
        )

"""Adapters on the host's models: loaded into managed memory, and applied to a clone of a MODEL."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..adapter import Adapter
from ..attach import Attachment
from ..checkpoint import load_adapter
from ..errors import ModelMismatchError, X2EditError, name_some
from ..formats.released_icedit import low_rank_parts, static_mean
from ..sites import FluxShape, Site, Slot
from ..tasks import Task, TaskBatch, TaskChoice
from .host import comfy, require_parameters
from .notices import say_once
from .stack import KEY, AdapterStack

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher

LowRank = tuple[Site, Slot, Tensor, Tensor]
"""Where it belongs, down [K, in] and up [out, K]."""


@dataclass(frozen=True)
class ManagedAdapter:
    """An adapter and the patcher through which the host counts, moves and frees its weights (X2EDIT_ADAPTER)."""

    adapter: Adapter
    patcher: ModelPatcher

    @cached_property
    def routed(self) -> ManagedAdapter | None:
        """The part that stays beside the model once the plain sites are merged; None if nothing does."""
        part = self.adapter.routed_part()
        return self if part is self.adapter else part and manage(part)


def manage(adapter: Adapter) -> ManagedAdapter:
    """Put `adapter` under the host's memory management."""
    management = comfy.model_management
    patcher = comfy.model_patcher.ModelPatcher(
        adapter, load_device=management.get_torch_device(), offload_device=management.unet_offload_device()
    )
    whole = adapter.sites == adapter.spec.sites
    patcher.cached_patcher_init = (_reload if whole else _reload_routed, (adapter.source,))
    return ManagedAdapter(adapter, patcher)


def load_managed(path: Path) -> ManagedAdapter:
    """The adapter file or folder at `path`, managed; raises `CheckpointError` as `load_adapter` does."""
    return manage(load_adapter(path))


def _reload(source: str, **_: Any) -> ModelPatcher:
    """A fresh patcher with its own weights, for the host's copies on further GPUs."""
    return load_managed(Path(source)).patcher


def _reload_routed(source: str, **_: Any) -> ModelPatcher:
    """Likewise for the routed part alone."""
    routed = load_managed(Path(source)).routed
    assert routed is not None, "the part that is reloaded was there before"
    return routed.patcher


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

    An adapter that acts throughout puts its plain parts into the weights, as a LoRA loader would: the host counts them,
    applies them to quantised weights its own way, and they cost nothing per step. One that starts later or ends
    earlier cannot, as merged weights do not switch off; nor can one whose layers keep no weights to patch.

    Raises `ModelMismatchError` when the model is no FLUX.1, or not the one that the adapter was made for.
    """
    require_base(model, managed.adapter)
    if attachment.strength == 0.0:
        return model
    plain = list(_plain_parts(managed.adapter))
    if not attachment.always_on or _absent_weights(model, plain):
        return _with_attachment(model, managed, attachment)
    merged = _merged(model, plain, attachment.strength) if plain else model
    routed = managed.routed
    if routed is None:
        return merged
    return _with_attachment(merged, routed, replace(attachment, adapter=routed.adapter))


def apply_static(model: ModelPatcher, managed: ManagedAdapter, strength: float) -> ModelPatcher:
    """A clone of `model` with the mean of the experts merged in place of routing; `model` itself at strength 0.

    Raises `X2EditError` for an adapter whose experts read outputs, which no merged weight can do.
    """
    require_base(model, managed.adapter)
    if managed.adapter.task_aware or any(site.side == "output" for site in managed.adapter.sites):
        raise X2EditError(
            f"{managed.adapter.source} ({managed.adapter.describe()}) has no static form: its experts depend on the task "
            "or read a layer's output. Only ICEdit adapters have one; use Apply X2Edit Adapter for this one."
        )
    parts = list(static_mean(managed.adapter))
    if absent := _absent_weights(model, parts):
        raise ModelMismatchError(
            f"The connected model keeps {len(absent)} of the adapter's layers in a form that cannot be patched: "
            f"{name_some(absent)}. Load it with a loader that keeps ComfyUI's own FLUX layers."
        )
    return model if strength == 0.0 else _merged(model, parts, strength)


def require_base(model: ModelPatcher, adapter: Adapter) -> None:
    """Raise `ModelMismatchError` unless `adapter` was made for a model like this one."""
    flux = require_flux(model)
    adapter.require_fit(flux_shape(flux))
    embedders = [site for site in adapter.sites if site.module == "img_in"]
    if any(site.in_width != flux.in_channels for site in embedders):
        raise ModelMismatchError(
            f"{adapter.source} was made for FLUX.1 Fill, whose tokens are {embedders[0].in_width} wide; those of the "
            f"connected model are {flux.in_channels} wide. Connect FLUX.1 Fill dev."
        )


def _plain_parts(adapter: Adapter) -> Iterable[LowRank]:
    """(site, slot, down, up) of the projections without experts, scaled."""
    for index, site in enumerate(adapter.sites):
        if not site.routed:
            delta = adapter.delta(index)
            for slot, (down, up) in zip(site.slots, low_rank_parts(delta), strict=True):
                yield site, slot, down, up if delta.scale == 1.0 else up * delta.scale


def _weight_key(site: Site) -> str:
    return f"diffusion_model.{site.module}.weight"


def _absent_weights(model: ModelPatcher, parts: list[LowRank]) -> list[str]:
    """Weights that the parts would change and the model does not have."""
    return sorted({_weight_key(site) for site, *_ in parts} - model.model.state_dict().keys()) if parts else []


def _merged(model: ModelPatcher, parts: list[LowRank], strength: float) -> ModelPatcher:
    """A clone of `model` with low-rank parts as the host's own weight patches."""
    patches: dict[Any, Any] = {}
    for site, slot, down, up in parts:
        place = (_weight_key(site), (0, slot.start, slot.width))
        patches[place] = comfy.weight_adapter.lora.LoRAAdapter(set(), (up.data, down.data, None, None, None, None))
    clone = model.clone()
    clone.add_patches(patches, strength)
    return clone


def _with_attachment(model: ModelPatcher, managed: ManagedAdapter, attachment: Attachment) -> ModelPatcher:
    previous = current_stack(model)
    stack = previous.plus(attachment) if previous else AdapterStack((attachment,))
    patchers = list(model.get_additional_models_with_key(KEY))
    if not any(patcher.model is managed.adapter for patcher in patchers):
        patchers.append(managed.patcher)
    return with_stack(model, stack, patchers)


def with_stack(model: ModelPatcher, stack: AdapterStack, patchers: list[ModelPatcher]) -> ModelPatcher:
    """A clone of `model` that runs `stack` in place of any it had, with the patchers of its adapters."""
    clone = model.clone()
    WrappersMP = comfy.patcher_extension.WrappersMP
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
    if not isinstance(inner, comfy.ldm.flux.model.Flux):
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
    """Raise `HostError` if the host changed what an adapter is attached by."""
    layers, patcher = comfy.ldm.flux.layers, comfy.model_patcher.ModelPatcher
    require_parameters({
        layers.DoubleStreamBlock.forward: ("img", "txt", "vec", "modulation_dims_img", "modulation_dims_txt"),
        layers.SingleStreamBlock.forward: ("x", "vec", "modulation_dims"),
        comfy.ldm.flux.model.Flux.forward: (
            "x", "timestep", "context", "y", "guidance", "ref_latents", "transformer_options"
        ),
        patcher.set_additional_models: ("key", "models"),
        patcher.add_wrapper_with_key: ("wrapper_type", "key", "wrapper"),
        patcher.add_patches: ("patches", "strength_patch"),
        comfy.weight_adapter.lora.LoRAAdapter.__init__: ("loaded_keys", "weights"),
    })  # fmt: skip

"""Adapters on the host's models: loaded into managed memory, and applied to a clone of a MODEL."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ..adapters.adapter import Adapter
from ..adapters.attach import Attachment
from ..adapters.checkpoint import load_adapter
from ..adapters.formats.forms import widened
from ..adapters.formats.released_icedit import low_rank_parts, save_static, static_mean
from ..adapters.formats.released_x2edit import UNAPPLIED
from ..errors import ModelMismatchError, X2EditError, name_some
from ..families import FLUX1, Site, Slot
from ..tasks import Task, TaskBatch, TaskChoice
from .devices import on_copies, stack_of_copy
from .families import base_of, is_fused
from .folders import lora_file
from .host import comfy
from .notices import say_once
from .sampled import looked_at
from .stack import KEY, AdapterStack

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher

log = logging.getLogger(__name__)

_MERGED = f"{KEY}_merged"

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
        return self._part(self.adapter.routed_part(), _reload_routed)

    @cached_property
    def read(self) -> ManagedAdapter | None:
        """The plain sites at layers whose output another kind of adapter reads; None if there are none."""
        spec = self.adapter.spec
        modules = spec.made_for.read_outputs(spec.shape)
        return self._part(self.adapter.part(lambda site: not site.routed and site.module in modules), _reload_read)

    def _part(self, part: Adapter | None, reload: Callable[..., ModelPatcher]) -> ManagedAdapter | None:
        return self if part is self.adapter else part and manage(part, reload)


@dataclass(frozen=True)
class Merged:
    """An adapter's plain parts in the weights of layers whose output another adapter may come to read.

    `managed` holds those parts alone, `patches` are the host's objects for them, by which they are found again.
    """

    managed: ManagedAdapter
    strength: float
    patches: tuple[Any, ...]


def manage(
    adapter: Adapter, reload: Callable[..., ModelPatcher] | None = None, disable_dynamic: bool = False
) -> ManagedAdapter:
    """Put `adapter` under the host's memory management; `reload` reads a part of one anew.

    It takes part in the host's dynamic memory as the host's own models do, unless `disable_dynamic`: beside a model that
    does not, the host makes room for all of them at once and unloads what it would have kept.
    """
    management = comfy.model_management
    patcher_class = comfy.model_patcher.ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher
    patcher = patcher_class(
        adapter, load_device=management.get_torch_device(), offload_device=management.unet_offload_device()
    )
    patcher.cached_patcher_init = (reload or _reload, (adapter.source,))
    return ManagedAdapter(adapter, patcher)


def load_managed(path: Path) -> ManagedAdapter:
    """The adapter file or folder at `path`, managed; raises `CheckpointError` as `load_adapter` does."""
    adapter = load_adapter(path)
    if layer := adapter.spec.notes.get(UNAPPLIED):
        say_once(
            f"not applied {path}",
            f"X2Edit: {path} also holds experts at `{layer}` that are not zero. The research code never applies them, and "
            "neither does this pack.",
        )
    return manage(adapter)


def _reload(source: str, disable_dynamic: bool = False) -> ModelPatcher:
    """A fresh patcher with its own weights, for the host's copies on further GPUs."""
    return manage(load_adapter(Path(source)), disable_dynamic=disable_dynamic).patcher


def _reload_routed(source: str, disable_dynamic: bool = False) -> ModelPatcher:
    """Likewise for the routed part alone."""
    routed = load_managed(Path(source)).routed
    assert routed is not None, "the part that is reloaded was there before"
    return manage(routed.adapter, _reload_routed, disable_dynamic).patcher


def _reload_read(source: str, disable_dynamic: bool = False) -> ModelPatcher:
    """Likewise for the plain part at layers whose output is read."""
    read = load_managed(Path(source)).read
    assert read is not None, "the part that is reloaded was there before"
    return manage(read.adapter, _reload_read, disable_dynamic).patcher


def attachment_for(
    managed: ManagedAdapter, task: TaskChoice | TaskBatch | None, strength: float, start: float, end: float, offset: int
) -> Attachment:
    """The attachment that a node's inputs describe; a task-aware adapter without a task works as `other`, said once."""
    family = managed.adapter.spec.made_for
    if offset and not family.row_offsets:
        raise X2EditError(
            f"reference_offset {offset} was given; on {family.title} references stand in frames of their own. Leave it at 0."
        )
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
    earlier cannot, as merged weights do not switch off; nor can one whose layers keep no weights to patch. Where a
    stacked adapter reads a layer's output, merged parts leave that layer and act beside it.

    Raises `ModelMismatchError` when the model is of no known family, or not the one that the adapter was made for.
    """
    require_base(model, managed.adapter)
    if attachment.strength == 0.0:
        return model
    plain = list(_plain_parts(managed.adapter))
    if not attachment.always_on or _absent_weights(model, plain):
        return looked_at(_with_bare_outputs(_with_attachment(model, managed, attachment)))
    applied = _merged(model, managed, plain, attachment.strength) if plain else model
    routed = managed.routed
    if routed is not None:
        applied = _with_attachment(applied, routed, replace(attachment, adapter=routed.adapter))
    return looked_at(_with_bare_outputs(applied))


def apply_static(model: ModelPatcher, managed: ManagedAdapter, strength: float, save_as: str = "") -> ModelPatcher:
    """A clone of `model` with the mean of the experts merged in place of routing; `model` itself at strength 0.

    `save_as` also writes that mean, at full strength, as a LoRA file. A FLUX whose loader fused its layers then passes
    through: its loader's own LoRA node takes the file. Raises `X2EditError` for an adapter whose experts read outputs,
    which no merged weight can do, and for a name or a file that is not to be written.
    """
    require_static_form(managed.adapter)
    file = lora_file(save_as) if save_as.strip() else None
    fused = file is not None and is_fused(model)
    if not fused:
        require_base(model, managed.adapter)
    parts = list(static_mean(managed.adapter))
    absent = [] if fused else _absent_weights(model, parts)
    if absent and file is None:
        raise ModelMismatchError(
            f"The connected model keeps {len(absent)} of the adapter's layers in a form that cannot be patched: "
            f"{name_some(absent)}. Load it with a loader that keeps ComfyUI's own FLUX layers, or save the averaged "
            "adapter with `save_as` and load that file with the loader's own LoRA node."
        )
    if file is not None:
        save_static(managed.adapter, file)
        log.info("The averaged adapter was saved as %s.", file)
    if fused or absent:
        say_once(
            f"static, not patched: {file}",
            f"The connected model cannot be patched and passes through as it is. Load {file} with the LoRA node of the "
            "model's own loader, at the strength you want.",
        )
        return model
    return model if strength == 0.0 else looked_at(_with_bare_outputs(_merged(model, managed, parts, strength)))


def require_static_form(adapter: Adapter) -> None:
    """Raise `X2EditError` for an adapter that no LoRA without routing could stand for."""
    if adapter.task_aware or any(site.side == "output" for site in adapter.sites):
        raise X2EditError(
            f"{adapter.source} ({adapter.describe()}) has no static form: its experts depend on the task or read a "
            "layer's output. Only ICEdit adapters have one; use Apply X2Edit Adapter for this one."
        )


def require_base(model: ModelPatcher, adapter: Adapter) -> None:
    """Raise `ModelMismatchError` unless `adapter` was made for a model like this one."""
    family, network = base_of(model)
    adapter.require_fit(family, family.shape_of(network))
    embedders = [site for site in adapter.sites if site.module == "img_in"]
    if any(site.in_width != network.in_channels for site in embedders):
        raise ModelMismatchError(
            f"{adapter.source} was made for FLUX.1 Fill, whose tokens are {embedders[0].in_width} wide; those of the "
            f"connected model are {network.in_channels} wide. Connect FLUX.1 Fill dev."
        )


def _plain_parts(adapter: Adapter) -> Iterable[LowRank]:
    """(site, slot, down, up) of the projections without experts, scaled."""
    for index, site in enumerate(adapter.sites):
        if not site.routed:
            delta = adapter.delta(index)
            for slot, (down, up) in zip(site.slots, low_rank_parts(delta), strict=True):
                yield site, slot, down, up if delta.scale == 1.0 else widened(up) * delta.scale


def _weight_key(site: Site) -> str:
    return f"diffusion_model.{site.module}.weight"


def _absent_weights(model: ModelPatcher, parts: list[LowRank]) -> list[str]:
    """Weights that the parts would change and the model does not have, or not while it is loaded.

    A compiled block, or one of another pack's, that is put into the place of the host's keeps its weights elsewhere.
    """
    keys = {_weight_key(site) for site, *_ in parts}
    return sorted(_covered(model, keys) | keys - model.model.state_dict().keys()) if keys else []


def _covered(model: ModelPatcher, keys: Iterable[str]) -> set[str]:
    """Those of the weights at `keys` that object patches of `model` take away from the host's weight patches."""
    found: set[str] = set()
    for path, replacement in model.object_patches.items():
        if isinstance(replacement, nn.Module):
            kept = {f"{path}.{name}" for name in replacement.state_dict()}
            found |= {key for key in keys if key.startswith(f"{path}.") and key not in kept}
    return found


def _require_merged(keys: Collection[str], model: ModelPatcher) -> None:
    """Raise `ModelMismatchError` for a model whose layers were covered after parts had been merged at `keys`."""
    covered = _covered(model, [key for key in keys if key in model.patches])
    if covered:
        raise ModelMismatchError(
            f"{len(covered)} weights that the adapter changes lie in blocks that a later node replaces or compiles "
            f"({name_some(sorted(covered))}), where ComfyUI cannot reach them, so they would be lost without a word. Put "
            "that node before Apply X2Edit Adapter."
        )


def _merged(model: ModelPatcher, managed: ManagedAdapter, parts: list[LowRank], strength: float) -> ModelPatcher:
    """A clone of `model` with low-rank parts of an adapter as the host's own weight patches.

    They are taken from main memory: a patch that pointed at the device would keep what the host believes to be free.
    """
    patches: dict[Any, Any] = {}
    for site, slot, down, up in parts:
        place = (_weight_key(site), (0, slot.start, slot.width))
        weights = (up.detach().cpu(), down.detach().cpu(), None, None, None, None)
        patches[place] = comfy.weight_adapter.lora.LoRAAdapter(set(), weights)
    clone = model.clone()
    clone.add_patches(patches, strength)
    on_run = comfy.patcher_extension.CallbacksMP.ON_PRE_RUN
    clone.add_callback_with_key(on_run, _MERGED, partial(_require_merged, [key for key, _ in patches]))
    if (read := managed.read) is not None:
        keys = {_weight_key(site) for site in read.adapter.sites}
        found = tuple(patch for (key, _), patch in patches.items() if key in keys)
        clone.set_attachments(_MERGED, (*_merged_parts(model), Merged(read, strength, found)))
    return clone


def _merged_parts(model: ModelPatcher) -> tuple[Merged, ...]:
    return model.get_attachment(_MERGED) or ()


def _with_bare_outputs(model: ModelPatcher) -> ModelPatcher:
    """`model` with merged parts beside the layers instead, wherever an adapter of its stack reads those layers' output.

    Merged, they would be in what it reads, and the sum would depend on who else is there.
    """
    parts, stack = _merged_parts(model), current_stack(model)
    if not parts or stack is None or not stack.reads_outputs:
        return model
    clone = model.clone()
    ours = {id(patch) for part in parts for patch in part.patches}
    kept = {key: [entry for entry in entries if id(entry[1]) not in ours] for key, entries in clone.patches.items()}
    clone.patches = {key: entries for key, entries in kept.items() if entries}
    clone.add_patches({})  # nothing more, but the host must not take these weights for those before
    clone.set_attachments(_MERGED, ())
    for part in parts:
        clone = _with_attachment(clone, part.managed, Attachment(part.managed.adapter, strength=part.strength))
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
    _install(clone, stack)
    clone.set_additional_models(KEY, patchers)
    on_copies(clone, _copied)
    return clone


def _install(model: ModelPatcher, stack: AdapterStack) -> None:
    """Let `model` itself run `stack` in place of any it had."""
    WrappersMP = comfy.patcher_extension.WrappersMP
    for kind in (WrappersMP.DIFFUSION_MODEL, WrappersMP.APPLY_MODEL):
        model.remove_wrappers_with_key(kind, KEY)
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, KEY, stack.diffusion_model)
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, stack.entrance.apply_model)
    if not stack.always_on:
        model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, stack.apply_model)
    model.set_attachments(KEY, stack)


def _copied(model: ModelPatcher, copy: ModelPatcher) -> None:
    """The host made `copy` of `model` for another device."""
    stack = current_stack(model)
    if stack is not None:
        _install(copy, stack_of_copy(stack, model, copy))


def current_stack(model: ModelPatcher) -> AdapterStack | None:
    """The adapters already applied to `model`, if any."""
    return model.get_attachment(KEY)


def require_flux(model: ModelPatcher) -> Any:
    """The FLUX.1 inside a MODEL; `ModelMismatchError` saying what was found instead."""
    family, network = base_of(model)
    if family is not FLUX1:
        raise ModelMismatchError(f"This node works on FLUX.1; a {family.title} is connected. Connect {FLUX1.models}.")
    return network

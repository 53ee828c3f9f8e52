"""From a configuration to a run: the host's loaders for models, ours for the embedded ones."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...adapters.adapter import Adapter, AdapterSpec
from ...adapters.checkpoint import ICEDIT_FILE, RELEASED_FILE, load_adapter, save_adapter
from ...adapters.formats import released_icedit, released_x2edit
from ...alignnet import save_alignnet
from ...errors import X2EditError
from ...families import FLUX1, FLUX2, QWEN_IMAGE
from ...files import save_atomically, save_pickled
from ...miniature import AUTOENCODER, TEXT, without_fill
from ...miniature.qwen import CONTEXT
from ...miniature.text import TextConfig
from ...train.adapters import new_adapter, spec_for
from ...train.aligned import AlignedText
from ...train.batches import Batches, Ranks
from ...train.checkpoints import NO_START, START
from ...train.config import TrainConfig
from ...train.disk_data import DiskPool, SkippedList, disk_pools
from ...train.embedded import EmbeddedPatches, EmbeddedPictures, EmbeddedText
from ...train.forms import Form, form_of
from ...train.parts import Parts
from ...train.samples import Mode, PictureEncoder
from ...train.scene_data import ScenePool, scene_pools
from ...train.start import begun_from, fingerprint
from ...train.summary import unsuited
from ...train.validation import held_out
from ..families import base_of
from ..host import comfy, load_tensors
from ..miniature import is_demo_clip
from ..unread import unread_remarks
from .bases import new_flux, new_flux2, new_qwen
from .checkpointing import wanted
from .memory import lines_of, planned, work_on
from .models import (
    HostModels,
    HostPictures,
    frozen_base,
    identities,
    load_models,
    require_form,
    require_widths,
)
from .text import StoredText, text_of
from .trainable import PassSettings, blocks_of
from .trainables import TRAINABLE

logger = logging.getLogger(__name__)
RESULT, RELEASED = "adapter.safetensors", "released"
BASE_RESULT, FILL_RESULT, TEXT_RESULT = "base.safetensors", "fill.safetensors", "text.safetensors"
SMALL_WIDTH = 512
"""A base of at most this width is a miniature."""
_UP = re.compile(r"\.(up|lora_B)\.")
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
Poll = Callable[[int, int], None]


def assemble(
    config: TrainConfig,
    ranks: Ranks | None = None,
    poll: Poll = lambda done, total: None,
    models: HostModels | None = None,
) -> Parts:
    """All parts of the run that `config` describes, on `models` if a graph connects some.

    `poll` is told of data being prepared and may raise to stop.
    """
    ranks = ranks or Ranks()
    with torch.inference_mode(False):
        if config.kind == "base":
            device = torch.device(config.device) if config.device else comfy.model_management.get_torch_device()
            make = _small_base_parts if config.qwen.blocks or config.flux2.double else _base_parts
            return make(config, ranks, device, poll)
        if models is None:
            require_device(config.device)
        return _adapter_parts(config, ranks, models or load_models(config.model), poll)


def _base_parts(config: TrainConfig, ranks: Ranks, device: torch.device, poll: Poll) -> Parts:
    """A whole small FLUX from nothing, or from an earlier one."""
    flux = new_flux(config.flux, config.seed).to(device)
    path = Path(config.model.base) if config.model.base else None
    if path:
        flux.load_state_dict(_tensors(path))
    widths = TextConfig(config.flux.context, config.flux.pooled)
    beside = path.with_name(TEXT_RESULT) if path else None
    text = EmbeddedText.of(beside if beside and beside.exists() else None, widths, config.seed).to(device)
    text.requires_grad_(config.model.train_text)
    weights = nn.ModuleDict({"flux": flux, "text": text})
    dtype = _DTYPES[config.model.precision]
    settings = _settings(config, flux, dtype, autocast=dtype != torch.float32)

    def export(folder: Path, step: int) -> Path:
        notes = {"steps": str(step)}
        half = _half(flux)
        if config.flux.fill:
            save_atomically(half, folder / FILL_RESULT, {"kind": "x2edit demo Fill base", **notes})
            half = without_fill(half)
        save_atomically(half, folder / BASE_RESULT, {"kind": "x2edit demo base", **notes})
        save_atomically(_half(text.encoder), folder / TEXT_RESULT, {"kind": "x2edit demo text encoder", **notes})
        return folder / BASE_RESULT

    model = TRAINABLE[FLUX1.name](flux, None, settings)
    encoder = EmbeddedPictures(AUTOENCODER if config.model.vae == "demo" else Path(config.model.vae), device)
    pools = _pools(config, form_of("base"), encoder, poll)
    return Parts(
        model,
        weights,
        text,
        Batches(pools, config, ranks, SkippedList(config.cache)),
        export,
        ranks,
        dtype,
        settings.autocast,
        encoder.decode,
        blocks_of(flux),
        remarks=_memory(config, flux, pools, text, ranks),
    )


def _small_base_parts(config: TrainConfig, ranks: Ranks, device: torch.device, poll: Poll) -> Parts:
    """A whole small Qwen-Image or FLUX.2 from nothing, or from an earlier one; it reads the shipped text encoder, which
    stays."""
    family = QWEN_IMAGE if config.qwen.blocks else FLUX2
    made = new_qwen(config.qwen, config.seed) if config.qwen.blocks else new_flux2(config.flux2, config.seed)
    network = made.to(device)
    if config.model.base:
        network.load_state_dict(_tensors(Path(config.model.base)))
    dtype = _DTYPES[config.model.precision]
    settings = _settings(config, network, dtype, autocast=False)
    text = EmbeddedText.of(TEXT, TextConfig(CONTEXT, CONTEXT), config.seed).to(device).requires_grad_(False)

    def export(folder: Path, step: int) -> Path:
        notes = {"kind": f"x2edit demo {family.title}", "steps": str(step)}
        save_atomically(_half(network), folder / BASE_RESULT, notes)
        return folder / BASE_RESULT

    file = AUTOENCODER if config.model.vae == "demo" else Path(config.model.vae)
    encoder = (EmbeddedPictures if family is QWEN_IMAGE else EmbeddedPatches)(file, device)
    pools = _pools(config, form_of("base"), encoder, poll)
    return Parts(
        TRAINABLE[family.name](network, None, settings),
        nn.ModuleDict({family.name.removesuffix("_image"): network}),
        text,
        Batches(pools, config, ranks, SkippedList(config.cache)),
        export,
        ranks,
        dtype,
        decode=encoder.decode,
        blocks=blocks_of(network),
        remarks=_memory(config, network, pools, text, ranks),
        schedule=family.schedule,
    )


def _adapter_parts(config: TrainConfig, ranks: Ranks, models: HostModels, poll: Poll) -> Parts:
    """An adapter on a base that stays as it is."""
    require_form(models.model, config.kind)
    family, network = base_of(models.model)
    spec = spec_for(config.kind, config.adapter, family.shape_of(network), family)
    require_trainable(spec, config)
    earlier = models.start or (load_adapter(Path(config.adapter.start)) if config.adapter.start else None)
    dtype = _DTYPES[config.model.precision]
    stands_on = identities(models) | {START: fingerprint(earlier) if earlier else NO_START}
    task_aware = config.kind == "x2edit"
    adapter = (
        begun_from(earlier, spec, config.adapter, task_aware, config.seed)
        if earlier
        else new_adapter(spec, task_aware, config.seed)
    )
    spec = adapter.spec
    pictures = HostPictures(models.vae, models.model)
    form = form_of(config.kind, family)
    if form == "named" and is_demo_clip(models.clip):
        form = "reference"  # it reads the instruction alone, as the base that was trained with it
    pools = _pools(config, form, pictures, poll)
    flux, keeper, stream = frozen_base(models.model, dtype, config.model)
    device = next(flux.parameters()).device
    text = text_of(models.clip, config, flux, None if stream else keeper, device)
    remarks = [f"it begins from {earlier.source}, {earlier.describe()}"] if earlier else []
    unsaid: set[str] = set()
    if isinstance(text, StoredText):
        qwen = family is QWEN_IMAGE
        words = {words for pool in pools.values() for words in pool.words}
        if not qwen:
            require_widths(text([""]), flux)
            remarks += unread_remarks(models.clip, words)
        text.prepare(words | (set() if qwen else {""}), poll)
        unsaid = text.broken
    released = has_released_form(spec)
    if not released:
        logger.info(
            "The research code has no layout for this kind on %s with top_k = %d; only %s is written",
            family.title,
            spec.top_k,
            RESULT,
        )
    adapter.to(device)
    if config.optim.state == "bfloat16":
        adapter.to(torch.bfloat16)
    model = TRAINABLE[family.name](flux, adapter, _settings(config, flux, dtype, autocast=False), stream)
    model.keeper = keeper
    learnt = text.net if isinstance(text, AlignedText) else None

    def export(folder: Path, step: int) -> Path:
        del step
        save_adapter(adapter, folder / RESULT)
        if released:
            save_released(adapter, folder / RELEASED)
        if learnt:
            save_alignnet(learnt, folder / RELEASED / released_x2edit.ALIGNNET_FILE)
        return folder / RESULT

    learnt_from, held = pools, None
    if config.validation.share:
        learnt_from, held = held_out(pools, config.validation.share, config.seed)
        held = held.saying(unsaid)
        remarks.append(
            f"{len(held.tasks)} edits are held out and judge the run, {len(learnt_from['edit'].tasks)} are learnt from"
        )
    batches, blocks = Batches(learnt_from, config, ranks, SkippedList(config.cache), unsaid), blocks_of(flux)
    weights = nn.ModuleDict({"adapter": adapter, "alignnet": learnt}) if learnt else adapter
    return Parts(
        model,
        weights,
        text,
        batches,
        export,
        ranks,
        dtype,
        decode=pictures.decode,
        blocks=blocks,
        models=stands_on,
        remarks=[
            *remarks,
            *unsuited(config, spec.shape.hidden <= SMALL_WIDTH),
            *_memory(config, flux, pools, text, ranks),
        ],
        schedule=family.schedule,
        held=held,
    )


def _memory(config: TrainConfig, network: Any, pools: Any, text: Any, ranks: Ranks) -> list[str]:
    """The table of what the run will hold, once; every process has a device of its own, and the first speaks."""
    return [] if ranks.rank else lines_of(lambda: planned(config, network, work_on(config, pools, text, ranks.world)))


def require_trainable(spec: AdapterSpec, config: TrainConfig) -> None:
    """Raise `X2EditError` for a kind of adapter, or a text encoder, that the base's family does not have."""
    _ = spec.sites
    if spec.made_for is not FLUX1 and config.model.alignnet:
        raise X2EditError(
            f"AlignNet makes conditioning for FLUX.1; a {spec.made_for.title} is connected. Leave alignnet empty."
        )
    if spec.made_for is not FLUX2 and config.adapter.references != "index":
        raise X2EditError(
            f"references = {config.adapter.references!r} found; only on FLUX.2 can they be chosen, a {spec.made_for.title} has "
            "one way to show them. Leave it out."
        )
    if spec.made_for is QWEN_IMAGE and config.data.drop_text:
        raise X2EditError(
            f"drop_text = {config.data.drop_text} found; X2Edit was trained on Qwen-Image with all texts; a dropped one "
            "would name no size. Set drop_text to 0."
        )


def require_device(wanted: str) -> None:
    """Raise where a configuration asks for another device than ComfyUI computes on."""
    found = comfy.model_management.get_torch_device()
    device = torch.device(wanted) if wanted else found
    if device.type != found.type or device.index not in (None, found.index or 0):
        raise X2EditError(
            f"device = {wanted!r}, but ComfyUI computes on {found} here. Leave device empty, or choose among several GPUs with "
            "CUDA_VISIBLE_DEVICES."
        )


def has_released_form(spec: AdapterSpec) -> bool:
    """Whether the research code has a layout for such an adapter.

    It knows no FLUX.2. It does not store top-k, which must be what that code takes it for. X2Edit's holds experts only: a
    plain LoRA on its sites has no common form either, as its part on the attention's output reads that output.
    """
    if spec.made_for is FLUX2:
        return False
    if spec.kind == "x2edit":
        return bool(spec.experts) and spec.top_k == min(released_x2edit.TOP_K, spec.experts)
    return not spec.experts or spec.top_k == 1


def save_released(adapter: Adapter, folder: Path) -> None:
    """The adapter in the research code's own layout, for use there.

    X2Edit: lora.safetensors and task_embeddings.bin. ICEdit: pytorch_lora_weights.safetensors, whose plain kind is a LoRA
    as diffusers reads it. Neither stores alpha, so the scale goes into the up-projections.
    """
    icedit, scale = adapter.spec.kind != "x2edit", adapter.spec.scale
    unpacked = (released_icedit if icedit else released_x2edit).unpack(adapter)
    scaled = ((name, tensor * scale if _UP.search(name) else tensor) for name, tensor in unpacked)
    tensors = {name: tensor.detach().to("cpu", torch.bfloat16) for name, tensor in scaled}
    save_atomically(tensors, folder / (ICEDIT_FILE if icedit else RELEASED_FILE), {})
    if adapter.task_table is not None:
        table = {"weight": adapter.task_table.detach().to("cpu", torch.bfloat16)}
        save_pickled(table, folder / released_x2edit.TASK_FILE)


def _settings(config: TrainConfig, network: nn.Module, dtype: torch.dtype, autocast: bool) -> PassSettings:
    offsets, model = (config.adapter.offset_512, config.adapter.offset_1024), config.model
    checkpointing = wanted(model.gradient_checkpointing, network)
    return PassSettings(dtype, autocast, checkpointing, model.guidance, offsets, model.offload_checkpoints)


def _pools(config: TrainConfig, form: Form, encoder: PictureEncoder, poll: Poll) -> Mapping[Mode, ScenePool | DiskPool]:
    make = scene_pools if config.data.kind == "scenes" else disk_pools
    return make(config.data, form, config.cache, encoder, poll)


def _half(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", torch.bfloat16) for name, tensor in module.state_dict().items()}


def _tensors(path: Path) -> dict[str, Tensor]:
    if not path.exists():
        raise X2EditError(f"The base model {path} was not found.")
    return {name: tensor.float() for name, tensor in load_tensors(path).items()}

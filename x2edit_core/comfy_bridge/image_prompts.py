"""Picture prompts on the host: adapters loaded into managed memory, tokens of an encoded picture, streams on a MODEL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .. import admit
from ..adapters.decoupled import require_strength
from ..adapters.formats.ip_adapter_flux import SUFFIXES, load_image_adapter
from ..adapters.image_adapter import PATCHES, ImageAdapter
from ..adapters.pooling import PoolingHead, has_head, load_head
from ..errors import ModelMismatchError, X2EditError
from . import listing
from .families import base_of
from .folders import FOLDER
from .host import comfy, device_context, require_parameters
from .models import current_stack, with_stack
from .notices import say, say_once
from .stack import KEY, AdapterStack
from .streams import Stream, StreamStates

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher

CATEGORIES = (FOLDER, "ipadapter", "ipadapter-flux", "xlabs_ipadapters")
"""Folders of models in which picture-prompt adapters lie: the pack's own, and those of other packs."""
ENCODERS = "clip_vision"
AUTOMATIC = "automatic"
_OTHER_FILES = (
    "lora.safetensors",
    "task_embeddings.bin",
    "pytorch_lora_weights.safetensors",
    "diffusion_pytorch_model.bin",
)


@dataclass(frozen=True)
class ManagedImageAdapter:
    """An adapter, the patcher through which the host counts, moves and frees it, and SigLIP's pooling head if it needs
    one and a file has it (X2EDIT_IMAGE_ADAPTER)."""

    adapter: ImageAdapter
    patcher: ModelPatcher
    head: PoolingHead | None


@dataclass(frozen=True)
class PicturePrompt:
    """Streams of pictures, each with the patcher of its keys and values (X2EDIT_IMAGE_TOKENS)."""

    streams: tuple[Stream, ...]
    patchers: tuple[ModelPatcher, ...]


def adapter_names() -> list[str]:
    """Entries of the loader: files that may be picture-prompt adapters, `category/file` but for the pack's own folder."""
    return list(_entries())


def _entries() -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for category in CATEGORIES:
        for file in listing.files(category, SUFFIXES):
            if file.rsplit("/", 1)[-1] not in _OTHER_FILES:
                found.setdefault(file if category == FOLDER else f"{category}/{file}", (category, file))
    return found


def adapter_path(name: str) -> Path:
    """The file behind an entry of `adapter_names`; raises `X2EditError` for anything else."""
    place = _entries().get(name)
    path = listing.full_path(*place) if place else None
    if path is None:
        places = ", ".join(str(Path(root)) for category in CATEGORIES for root in listing.roots(category))
        raise X2EditError(
            f"Picture-prompt adapter {name!r} was not found. Put it into one of {places} and refresh the page. InstantX's "
            "ip-adapter.bin is at https://huggingface.co/InstantX/FLUX.1-dev-IP-Adapter (non-commercial)."
        )
    return path


def encoder_names() -> list[str]:
    """`automatic`, and the safetensors files of picture encoders."""
    return [AUTOMATIC, *listing.listed(ENCODERS, (".safetensors", ".sft"))]


def load_managed(path: Path, encoder: str = AUTOMATIC) -> ManagedImageAdapter:
    """The adapter at `path`, managed; `encoder` names the file that holds SigLIP's pooling head, if it needs one.

    Raises `CheckpointError` for either file, `X2EditError` for an encoder that is not there.
    """
    adapter = load_image_adapter(path)
    head = None
    if adapter.spec.acts.pooled:
        found = _encoder_path(encoder, adapter.spec.features)
        head = None if found is None else load_head(found)
        if head is not None and head.width != adapter.spec.features:
            raise ModelMismatchError(
                f"{found} pools states of width {head.width}; {adapter.source} reads vectors of {adapter.spec.features}. "
                "Choose the file of the picture encoder that the adapter was trained with."
            )
    return ManagedImageAdapter(adapter, _managed(adapter), head)


def _encoder_path(name: str, width: int) -> Path | None:
    if name != AUTOMATIC:
        path = listing.full_path(ENCODERS, name) if name in encoder_names() else None
        if path is None:
            raise X2EditError(
                f"The picture encoder {name!r} was not found. Refresh the page and choose one that is there."
            )
        return path
    files = (listing.full_path(ENCODERS, file) for file in encoder_names()[1:])
    return next((path for path in files if path is not None and has_head(path, width)), None)


def _managed(module: Any, disable_dynamic: bool = False) -> ModelPatcher:
    management = comfy.model_management
    patcher_class = comfy.model_patcher.ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher
    return patcher_class(
        module, load_device=management.get_torch_device(), offload_device=management.unet_offload_device()
    )


def managed_states(states: StreamStates, disable_dynamic: bool = False) -> ModelPatcher:
    """Keys and values under the host's memory management; copies for further devices have memory of their own."""
    patcher = _managed(states, disable_dynamic)
    patcher.cached_patcher_init = (_copied, (states,))
    return patcher


def _copied(states: StreamStates, disable_dynamic: bool = False) -> ModelPatcher:
    return managed_states(states.copied(), disable_dynamic)


def vectors_of(managed: ManagedImageAdapter, encoded: Any) -> Tensor:
    """The vectors [pictures, F] that the adapter reads, of core's CLIP_VISION_OUTPUT; `ModelMismatchError` for others."""
    spec = managed.adapter.spec
    states = _part(encoded, "last_hidden_state", 3)
    patches, encoder = PATCHES.get(spec.features, (states.shape[1], ""))
    vectors = states if spec.acts.pooled else _part(encoded, "image_embeds", 2)
    if vectors.shape[-1] != spec.features or states.shape[1] != patches:
        raise ModelMismatchError(
            f"{managed.adapter.source} reads a vector of {spec.features} numbers{f' of {encoder}' if encoder else ''}; "
            f"the picture was encoded as {states.shape[1]} states and {vectors.shape[-1]} numbers by another encoder. Load "
            f"{encoder or 'the encoder that the adapter was trained with'} with Load CLIP Vision."
        )
    if not spec.acts.pooled:
        return vectors.float()
    if managed.head is None:
        raise ModelMismatchError(
            f"{managed.adapter.source} reads SigLIP's pooled vector, which ComfyUI's encoder leaves out, and no file in "
            "models/clip_vision holds its pooling head (vision_model.head.*). Put sigclip_vision_patch14_384.safetensors "
            "there (https://huggingface.co/Comfy-Org/sigclip_vision_384), and load this adapter again."
        )
    return managed.head(states)


def _part(encoded: Any, name: str, dimensions: int) -> Tensor:
    try:
        found: Any = encoded[name]
    except (AttributeError, KeyError, TypeError, IndexError):
        found = None
    if not isinstance(found, Tensor) or found.ndim != dimensions or not found.numel():
        shown = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise X2EditError(
            f"`clip_vision_output` has {name} = {shown}; {dimensions} dimensions were expected. Connect CLIP Vision Encode "
            "with the encoder that the adapter was trained with."
        )
    if not bool(found.float().isfinite().all()):
        raise X2EditError(f"`clip_vision_output` holds values in {name} that are no numbers: the encoder failed.")
    return found


def prompt_of(
    managed: ManagedImageAdapter,
    vectors: Tensor,
    strength: float = 1.0,
    start: float = 0.0,
    end: float = 1.0,
    mask: Any = None,
    before: PicturePrompt | None = None,
) -> PicturePrompt:
    """The stream of pictures given by `vectors` [pictures, F], behind those of `before`; `mask` says where it acts.

    Their keys and values are computed here, on the host's device, by weights that it counts and may then take away.
    """
    require_strength(strength, start, end)
    area = None if mask is None else _area(mask)
    adapter, patcher = managed.adapter, managed.patcher
    comfy.model_management.load_models_gpu([patcher])
    with torch.no_grad(), device_context(patcher.load_device):
        tokens = adapter.tokens(vectors.to(patcher.load_device))
        found = [tuple(state.cpu() for state in pair) for pair in adapter.states(tokens)]
    states = StreamStates(adapter.spec, found, adapter.source)
    stream = Stream(states, strength, start, end, area)
    streams, patchers = (before.streams, before.patchers) if before else ((), ())
    return PicturePrompt((*streams, stream), (*patchers, managed_states(states)))


def _area(mask: Any) -> Tensor | None:
    found = admit.mask(mask, say)
    if bool(found.any()):
        return found
    say(
        "`mask` is black everywhere, as LoadImage gives for a picture without transparency. It counts as no mask: the "
        "picture prompt acts everywhere."
    )
    return None


def apply_prompt(model: ModelPatcher, prompt: PicturePrompt, strength: float) -> ModelPatcher:
    """A clone of `model` on which the streams act, each λ times `strength`; `model` itself where nothing would.

    Raises `ModelMismatchError` for a model that an adapter was not made for.
    """
    family, network = base_of(model)
    for stream in prompt.streams:
        stream.states.spec.require_fit(family, family.shape_of(network), stream.states.source)
    require_parameters({comfy.ldm.flux.layers.QKNorm.forward: ("q", "k", "v")})
    scaled = [replace(stream, strength=stream.strength * strength) for stream in prompt.streams]
    acting = [index for index, stream in enumerate(scaled) if stream.strength]
    if not acting:
        return model
    return _with_streams(model, [scaled[index] for index in acting], [prompt.patchers[index] for index in acting])


def _with_streams(model: ModelPatcher, streams: Sequence[Stream], patchers: Sequence[ModelPatcher]) -> ModelPatcher:
    previous = current_stack(model) or AdapterStack(())
    stack = previous.with_parts(previous.attachments, (*previous.streams, *streams))
    known = list(model.get_additional_models_with_key(KEY))
    known += [each for each in patchers if not any(other.model is each.model for other in known)]
    return with_stack(model, stack, known)


def tell_licence(managed: ManagedImageAdapter) -> None:
    """Says on the node whose weights these are, and on what terms."""
    say_once(
        f"licence {managed.adapter.spec.kind}",
        f"{managed.adapter.spec.acts.title} for FLUX.1 dev is under a non-commercial licence, as the model is: see its page "
        "before pictures made with it are sold.",
    )


def fingerprint(name: str, encoder: str = AUTOMATIC) -> str:
    """Changes when the file behind `name` does, and with what `automatic` chooses an encoder's file from."""
    status = adapter_path(name).stat()
    choices = encoder_names() if encoder == AUTOMATIC else [encoder]
    return "|".join((f"{status.st_mtime_ns}:{status.st_size}", *choices))

"""X2Edit's own text conditioning on the host: its Qwen2.5-VL encoder read as the research code reads it, then AlignNet.

The host runs the same model for Qwen-Image, but with its own positions, mask and template, and returns one state. Here
its layers are called one by one with transformers' positions and mask, so the pad rows come out as FLUX saw them in
training. Weights, patches, quantisation and offloading stay the host's: only its modules compute.
Letters: B prompts, N states (28 layers + 1), S = 512 tokens, H = 3584.
"""

from __future__ import annotations

import hashlib
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..adapters.formats.released_x2edit import ALIGNNET_FILE
from ..alignnet import (
    IMAGE_SIDE_PX,
    AlignNet,
    PaddedTokens,
    chat_text,
    load_alignnet,
    reference_mask,
    reference_positions,
)
from ..errors import ModelMismatchError, X2EditError
from . import listing
from .folders import FOLDER
from .host import comfy, device_context, require_ordered_vision, text_rotary
from .notices import say_once

CACHED_PROMPTS = 8
IMAGE_TOKEN = 151655
_SUFFIXES = (".bin", ".pt", ".pth", ".safetensors")
_OTHER_FILES = {"lora.safetensors", "task_embeddings.bin"}


def alignnet_names() -> list[str]:
    """Entries of the AlignNet loader: files under models/x2edit that are none of X2Edit's other ones.

    A folder with the released file in it is one entry, under the folder's name, as in the adapter loader.
    """
    names: dict[str, None] = {}
    for file in listing.files(FOLDER, _SUFFIXES):
        folder, _, name = file.rpartition("/")
        if name not in _OTHER_FILES:
            names[folder if folder and name == ALIGNNET_FILE else file] = None
    return list(names)


def alignnet_path(name: str) -> Path:
    """The file behind an entry of `alignnet_names`; raises `X2EditError` for anything else."""
    candidates = (name, f"{name}/{ALIGNNET_FILE}") if name in alignnet_names() else ()
    for candidate in candidates:
        found = listing.full_path(FOLDER, candidate)
        if found is not None:
            return found
    places = ", ".join(listing.roots(FOLDER))
    raise X2EditError(f"AlignNet file {name!r} was not found. Put it into {places} and refresh the page.")


@dataclass(frozen=True)
class _Encoder:
    """The parts of the host's text encoder that are used here."""

    model: Any
    tokenizer: Any

    @property
    def states(self) -> int:
        return len(self.model.model.layers) + 1

    @property
    def width(self) -> int:
        return self.model.model.config.hidden_size


def find_encoder(clip: Any) -> _Encoder:
    """The Qwen2.5-VL inside `clip`; raises `ModelMismatchError` for another text encoder."""
    stage = clip.cond_stage_model
    name = getattr(stage, "clip", "")
    model = getattr(getattr(stage, name, None), "transformer", None) if isinstance(name, str) else None
    tokenizer = getattr(getattr(clip.tokenizer, name, None), "tokenizer", None) if isinstance(name, str) else None
    if not isinstance(model, comfy.text_encoders.llama.Qwen25_7BVLI) or tokenizer is None:
        found = type(model if model is not None else stage).__name__
        raise ModelMismatchError(
            f"The text encoder is {found}; X2Edit's conditioning needs Qwen2.5-VL-7B. Load "
            "qwen_2.5_vl_7b.safetensors (or its fp8 file) with a CLIPLoader of type qwen_image."
        )
    return _Encoder(model, tokenizer)


class ManagedAlignNet:
    """AlignNet under the host's memory management, with its latest results (X2EDIT_ALIGNNET).

    Results are kept per encoder, its patches, prompt and image; they go when this object goes.
    """

    def __init__(self, net: AlignNet, name: str) -> None:
        self.name = name
        self.net = net
        comfy.model_management.archive_model_dtypes(net)
        self.patcher = comfy.model_patcher.CoreModelPatcher(
            net,
            load_device=comfy.model_management.text_encoder_device(),
            offload_device=comfy.model_management.text_encoder_offload_device(),
        )
        self._results: OrderedDict[tuple[Any, ...], tuple[Tensor, Tensor]] = OrderedDict()

    def encode(self, clip: Any, prompts: Sequence[str], images: Sequence[Tensor] = ()) -> tuple[Tensor, Tensor]:
        """Context (B, S, C) and pooled (B, P) of the user turns `prompts`, on the host's intermediate device.

        `images` (H, W, 3) in [0, 1]: none, one for all prompts, or one each. Raises `ModelMismatchError` when `clip`
        and AlignNet do not belong together.
        """
        encoder = find_encoder(clip)
        self._check(encoder)
        if len(images) not in (0, 1, len(prompts)):
            raise X2EditError(f"There are {len(images)} images for {len(prompts)} instructions; give one, or one each.")
        progress = comfy.utils.ProgressBar(len(prompts))
        results = []
        for index, prompt in enumerate(prompts):
            image = images[index % len(images)] if images else None
            results.append(self._encode_one(clip, encoder, chat_text(prompt, images=int(bool(images))), image))
            progress.update(1)
        contexts, pooled = zip(*results, strict=True)
        return torch.cat(contexts), torch.cat(pooled)

    def clear(self) -> None:
        """Forget all results."""
        self._results.clear()

    def _check(self, encoder: _Encoder) -> None:
        if (encoder.states, encoder.width) != (self.net.states, self.net.width):
            raise ModelMismatchError(
                f"{self.name} reads {self.net.states} states of width {self.net.width}; this text encoder gives "
                f"{encoder.states} of width {encoder.width}. Expected Qwen2.5-VL-7B and X2Edit's own AlignNet."
            )

    def _encode_one(self, clip: Any, encoder: _Encoder, text: str, image: Tensor | None) -> tuple[Tensor, Tensor]:
        key = (weakref.ref(encoder.model), clip.patcher.patches_uuid, text, _digest(image))
        if key not in self._results:
            self._results[key] = self._compute(clip, encoder, text, image)
        self._results.move_to_end(key)
        while len(self._results) > CACHED_PROMPTS:
            self._results.popitem(last=False)
        return self._results[key]

    def _compute(self, clip: Any, encoder: _Encoder, text: str, image: Tensor | None) -> tuple[Tensor, Tensor]:
        comfy.model_management.throw_exception_if_processing_interrupted()
        states = hidden_states(clip, encoder, text, image, also_load=self.patcher)
        with torch.no_grad(), device_context(self.patcher.load_device):
            context, pooled = self.net(states.to(self.patcher.load_device))
        device = comfy.model_management.intermediate_device()
        return context.to(device), pooled.to(device)


def load_managed_alignnet(path: Path) -> ManagedAlignNet:
    """AlignNet from `path`, built of the host's own operations; raises `CheckpointError` as `load_alignnet` does."""
    return ManagedAlignNet(load_alignnet(path, comfy.ops.manual_cast), path.name)


def hidden_states(
    clip: Any, encoder: _Encoder, text: str, image: Tensor | None = None, also_load: Any = None
) -> Tensor:
    """All states (1, N, S, H) of `text`, float32 on the encoder's device; `also_load` joins it in memory."""
    config = encoder.model.model.config
    length = 512 if image is None else 1024
    memory = 4 * length * (encoder.states + 8) * config.hidden_size + 4 * length * length * config.num_attention_heads
    comfy.model_management.load_models_gpu([clip.patcher, *([also_load] if also_load else [])], memory_required=memory)
    device = clip.patcher.load_device
    with torch.no_grad(), device_context(device):
        embeds, positions, pads = _embed(encoder, text, image, device)
        states = embeds.new_empty(1, encoder.states, *embeds.shape[1:])
        for index, state in enumerate(layer_states(encoder.model.model, embeds, positions, pads)):
            states[:, index] = state
        return states


def _embed(encoder: _Encoder, text: str, image: Tensor | None, device: torch.device) -> tuple[Tensor, Tensor, int]:
    """Input embeddings (1, S, H), rotary positions (1 or 3, S) and the number of pad rows."""
    ids = list(encoder.tokenizer(text)["input_ids"])
    features, real_positions = None, None
    if image is not None:
        require_ordered_vision()
        features, grid = encoder.model.preprocess_embed({"type": "image", "data": _shrink(image)}, device=device)
        start, size = ids.index(IMAGE_TOKEN), features.shape[0]
        ids[start : start + 1] = [IMAGE_TOKEN] * size
        info = [{"type": "image", "index": start, "size": size, "extra": grid}]
        real_positions = comfy.text_encoders.qwen_vl.qwen2vl_mrope_position_ids(info, len(ids), device)
    tokens = PaddedTokens.of(ids)
    if tokens.cut:
        say_once(f"cut: {hash(tuple(ids))}", f"The instruction is too long: its last {tokens.cut} tokens were cut off.")
    row = torch.tensor([tokens.ids], device=device, dtype=torch.long)
    embeds = encoder.model.get_input_embeddings()(row, out_dtype=torch.float32)
    if features is not None:
        slots = row[0] == IMAGE_TOKEN
        if int(slots.sum()) != features.shape[0]:
            raise X2EditError("The instruction is too long to leave room for the image. Shorten it or leave one out.")
        embeds[0, slots] = features.to(embeds)
    if real_positions is not None:
        real_positions = real_positions[:, : len(tokens.ids) - tokens.pads]
    return embeds, reference_positions(tokens.pads, len(tokens.ids), real_positions).to(device), tokens.pads


def layer_states(model: Any, embeds: Tensor, positions: Tensor, pads: int) -> Iterator[Tensor]:
    """The input (1, S, H) of every layer and the output after the final norm, as transformers' `hidden_states`."""
    visible = reference_mask(pads, embeds.shape[1]).to(embeds.device)
    mask = torch.zeros(visible.shape, dtype=embeds.dtype, device=embeds.device)
    mask.masked_fill_(~visible, torch.finfo(embeds.dtype).min)
    rotary = text_rotary(model, positions)
    attention = comfy.ldm.modules.attention.optimized_attention_for_device(embeds.device, mask=True, small_input=True)
    x = embeds
    for layer in model.layers:
        yield x
        x, _ = layer(x=x, attention_mask=mask[None, None], freqs_cis=rotary, optimized_attention=attention)
    yield model.norm(x)


def _shrink(image: Tensor) -> Tensor:
    """(H, W, 3) → (1, 256, 256, 3): the size of upstream's multimodal branch, aspect not kept there either."""
    pixels = image[None, ..., :3].movedim(-1, 1).float()
    size = (IMAGE_SIDE_PX, IMAGE_SIDE_PX)
    resized = torch.nn.functional.interpolate(pixels, size=size, mode="bicubic", antialias=True)
    return resized.clamp(0, 1).movedim(1, -1)


def _digest(image: Tensor | None) -> str:
    if image is None:
        return ""
    data = image.detach().float().cpu().contiguous().numpy().tobytes()
    return f"{tuple(image.shape)} {hashlib.sha256(data).hexdigest()}"

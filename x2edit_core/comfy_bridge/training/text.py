"""The texts of a training run: through the embedded encoder, the host's CLIP, or Qwen2.5-VL and AlignNet."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ...alignnet import chat_text, prompt_text
from ...errors import ModelMismatchError
from ...families import FLUX2, QWEN_IMAGE, family_of
from ...files import save_atomically
from ...train.aligned import AlignedText, alignnet_for
from ...train.batches import SampleError
from ...train.config import TrainConfig
from ...train.embedded import EmbeddedText
from ...train.forms import form_of
from ..diptych import T5_TOKENS, encode_sentence
from ..miniature import DemoTextModel
from ..qwen_text import encode_prompt
from ..text import find_encoder, hidden_states
from .models import clip_fingerprint, fingerprint

OneText = Callable[[str], tuple[Tensor, Tensor]]
"""A text → its context [T, C] and pooled [P]."""
TrainingText = EmbeddedText | AlignedText


class StoredText:
    """Texts that are encoded once and kept in files under `name`, so that the encoder can be freed.

    `broken` holds those whose encoding is no numbers, as happens to long texts in half precision. Shorter texts of a batch
    are filled with zeros behind, or `before` their own tokens.
    """

    def __init__(self, encode: OneText, name: str, cache: Path, device: torch.device, before: bool = False) -> None:
        self._encode, self._device, self._before = encode, device, before
        self._folder = cache / "text" / name
        self.broken: set[str] = set()

    def prepare(self, texts: Iterable[str], poll: Callable[[int, int], None]) -> None:
        """Encode what the cache lacks."""
        missing = [text for text in sorted(set(texts)) if not self._file(text).exists()]
        for number, text in enumerate(missing):
            poll(number, len(missing))
            try:
                self._store(text)
            except SampleError:
                self.broken.add(text)

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        found = [self._read(text) for text in texts]
        length = max(context.shape[0] for context, _ in found)
        filled = [
            nn.functional.pad(part, (0, 0, *((length - len(part), 0) if self._before else (0, length - len(part)))))
            for part, _ in found
        ]
        context = torch.stack(filled)
        return context.to(self._device), torch.stack([pooled for _, pooled in found]).to(self._device)

    def _read(self, text: str) -> tuple[Tensor, Tensor]:
        if not self._file(text).exists():
            self._store(text)
        stored = load_file(self._file(text))
        return stored["context"], stored["pooled"]

    @torch.no_grad()
    def _store(self, text: str) -> None:
        context, pooled = self._encode(text)
        if not bool(torch.isfinite(context).all() and torch.isfinite(pooled).all()):
            raise SampleError(
                f"The text encoder gives values that are no numbers for {text[:80]!r}. If it fails so for many, use its "
                "bfloat16 or float32 file, or start ComfyUI with --fp32-text-enc."
            )
        save_atomically({"context": context.cpu(), "pooled": pooled.cpu()}, self._file(text), {"text": text})

    def _file(self, text: str) -> Path:
        return self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.safetensors"


def text_of(clip: Any, config: TrainConfig, flux: Any, keeper: Any, device: torch.device) -> TrainingText | StoredText:
    """Texts through `clip`, for a `flux` that `keeper` holds on the device, if anything does.

    The embedded encoder and an AlignNet that learns run on whole batches, all else once per text.
    """
    if config.model.alignnet:
        return _aligned(clip, config, flux, keeper, device)
    inner = clip.cond_stage_model
    if isinstance(inner, DemoTextModel):
        return EmbeddedText(copy.deepcopy(inner.encoder).to(device, torch.float32)).requires_grad_(False)

    def encode(text: str) -> tuple[Tensor, Tensor]:
        context, pooled = clip.encode_from_tokens(clip.tokenize(text), return_pooled=True)
        return context[0], pooled[0]

    def encode_literally(text: str) -> tuple[Tensor, Tensor]:
        ((context, rest),) = encode_sentence(clip, text, T5_TOKENS, config.model.guidance)
        return context[0], rest["pooled_output"][0]

    if family_of(flux) is QWEN_IMAGE:
        return StoredText(lambda prompt: _of_prompt(clip, prompt), clip_fingerprint(clip), config.cache, device)
    if family_of(flux) is FLUX2:
        return StoredText(
            lambda text: _without_pooled(clip, text), clip_fingerprint(clip), config.cache, device, before=True
        )
    if form_of(config.kind) == "diptych":
        return StoredText(encode_literally, f"{clip_fingerprint(clip)}-{T5_TOKENS}", config.cache, device)
    return StoredText(encode, clip_fingerprint(clip), config.cache, device)


def _without_pooled(clip: Any, text: str) -> tuple[Tensor, Tensor]:
    """A text for FLUX.2, which has no pooled one, as CLIP Text Encode gives it."""
    context = clip.encode_from_tokens(clip.tokenize(text))[0]
    return context, context.new_zeros(0)


def _of_prompt(clip: Any, prompt: str) -> tuple[Tensor, Tensor]:
    """A whole prompt for Qwen-Image, which has no pooled text."""
    context = encode_prompt(clip, prompt)
    return context, context.new_zeros(0)


def _aligned(clip: Any, config: TrainConfig, flux: Any, keeper: Any, device: torch.device) -> AlignedText | StoredText:
    """As X2Edit trains: the bare instruction in Qwen2.5-VL's template, all its states through AlignNet."""
    encoder, params = find_encoder(clip), flux.params
    widths = (encoder.states, encoder.width, params.context_in_dim, params.vec_in_dim)
    net = alignnet_for(config.model.alignnet, *widths, config.seed).to(device)
    found = (net.states, net.width, net.context_width, net.pooled_width)
    if found != widths:
        raise ModelMismatchError(
            f"{config.model.alignnet} makes {found[2]} and {found[3]} channels of {found[0]} states of width {found[1]}; "
            f"this text encoder gives {widths[0]} of width {widths[1]}, and the base reads {widths[2]} and {widths[3]}."
        )

    def states(text: str) -> Tensor:
        return hidden_states(clip, encoder, chat_text(prompt_text(text, "train")), also_load=keeper)

    text = AlignedText(net, states)
    if config.model.train_alignnet:
        net.train().requires_grad_(True)
        return text

    def encode(words: str) -> tuple[Tensor, Tensor]:
        context, pooled = text([words])
        return context[0], pooled[0]

    name = f"{clip_fingerprint(clip)}-{fingerprint(net)}"
    return StoredText(encode, name, config.cache, device)

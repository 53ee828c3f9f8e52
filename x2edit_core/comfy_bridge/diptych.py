"""A diptych into the conditioning of FLUX Fill, and the noise that a seed of the reference stands for."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ..diptych import Fill, assemble, greyed, layout_for, mask_of, sentence, side_of, whole_tokens
from ..errors import X2EditError
from ..geometry import DiptychLayout, Side
from . import admitted
from .host import comfy
from .notices import say
from .unread import warn_if_unread

Conditioning = list[list[Any]]
NoiseMode = Literal["host", "diffusers 0.32", "diffusers 0.33"]
T5_TOKENS = 512
"""What T5 pads the sentence to, in training and in editing, as in the reference."""
NOISE_MODES: tuple[NoiseMode, ...] = ("host", "diffusers 0.32", "diffusers 0.33")


def encode_sentence(clip: Any, text: str, t5_min_length: int, guidance: float) -> Conditioning:
    """The sentence through both text encoders, word for word: brackets are brackets and no weights, `embedding:` a word."""
    clip = clip.clone()
    clip.tokenizer = _literal(clip.tokenizer)
    if t5_min_length:
        clip.set_tokenizer_option("t5xxl_min_length", t5_min_length)
    literal = text.replace("(", "\\(").replace(")", "\\)")
    return clip.encode_from_tokens_scheduled(clip.tokenize(literal), add_dict={"guidance": guidance})


_NO_EMBEDDING = "\0embedding"


def _literal(tokenizer: Any) -> Any:
    """A copy of the host's tokenizers that looks for no embeddings: it would load, or drop, what follows `embedding:`."""
    literal = copy.copy(tokenizer)
    for name, part in vars(tokenizer).items():
        if hasattr(part, "embedding_identifier"):
            part = copy.copy(part)
            part.embedding_identifier = _NO_EMBEDDING
            setattr(literal, name, part)
    return literal


def assembled(image: Any, width: int, fill: Fill, side: Side) -> tuple[Tensor, Tensor, DiptychLayout]:
    """(diptych, mask, layout) of the pictures to edit."""
    source = admitted.picture(image)
    layout = layout_for(source, width, side)
    admitted.doubted(layout, width)
    canvas, area = assemble(source, layout, fill), mask_of(layout, len(source)).to(source)
    return admitted.given_back(canvas, image), admitted.given_back(area, image), layout


def condition(
    clip: Any,
    vae: Any,
    instruction: str,
    diptych: Tensor,
    mask: Tensor,
    template: str = "",
    guidance: float = 50.0,
    t5_min_length: int = T5_TOKENS,
    keep_source_panel: bool = False,
) -> tuple[Conditioning, Conditioning, dict[str, Tensor]]:
    """(positive, negative, latent) of one diptych or a batch of them.

    The model is shown the source's panel and mid-grey beside it. The negative is the same with the text zeroed, as
    ICEdit needs none. With `keep_source_panel` the host puts the source's panel back at every step.
    """
    pixels, mask = whole_tokens(*_to_paint(diptych, mask))
    text = sentence(instruction, side_of(mask), template)
    warn_if_unread(clip, instruction)
    shown = vae.encode(greyed(pixels, mask))
    latent = {"samples": vae.encode(pixels)}
    if keep_source_panel:
        latent["noise_mask"] = mask.unsqueeze(1)
    concat = {"concat_latent_image": shown, "concat_mask": mask.unsqueeze(1)}
    positive = [[embedding, {**options, **concat}] for embedding, options in encode_sentence(
        clip, text, t5_min_length, guidance
    )]  # fmt: skip
    return positive, [_without_text(*entry) for entry in positive], latent


def _to_paint(diptych: Any, mask: Any) -> tuple[Tensor, Tensor]:
    """Diptych and mask of other nodes; raises `X2EditError` for a mask that leaves the model nothing to paint."""
    canvas = admitted.picture(diptych, "diptych")
    area = admitted.mask(canvas, mask)
    if area is None or not bool((area >= 0.5).any()):
        raise X2EditError(
            "`mask` is black everywhere, so the model would paint nothing. Connect the mask of ICEdit Diptych, or one of your "
            "own that is white where the edit belongs."
        )
    if bool((area >= 0.5).all()):
        say("`mask` is white everywhere, so the model does not see the source. Connect the mask of ICEdit Diptych.")
    return canvas, area


def _without_text(embedding: Tensor, options: dict[str, Any]) -> list[Any]:
    pooled = options.get("pooled_output")
    return [torch.zeros_like(embedding), {**options, "pooled_output": pooled if pooled is None else pooled * 0.0}]


@dataclass(frozen=True)
class SeededNoise:
    """NOISE for a seed: the host's own, or what the reference's pipeline starts from.

    The reference draws in bfloat16. That is not the host's float32 draw rounded: torch fills tensors of either precision
    by different routines. Up to diffusers 0.32 the initial latent is a seed's first draw; from 0.33 on the autoencoder
    draws first, an equal shape, so it is the second.
    """

    seed: int
    mode: NoiseMode = "host"

    def generate_noise(self, latent: dict[str, Any]) -> Tensor:
        """Noise like the latent's samples [B, C, h, w], float32 on the CPU."""
        samples, rows = latent["samples"], latent.get("batch_index")
        if self.mode == "host":
            return comfy.sample.prepare_noise(samples, self.seed, rows)
        generator = torch.Generator("cpu").manual_seed(self.seed)
        count = samples.shape[0] if rows is None else max(rows) + 1
        shape = (count, *samples.shape[1:])
        draws = 2 if self.mode == "diffusers 0.33" else 1
        noise = [torch.randn(shape, generator=generator, dtype=torch.bfloat16) for _ in range(draws)][-1].float()
        return noise if rows is None else noise[list(rows)]

"""How an edit is shown to the model: beside the target as reference tokens (X2Edit), or within it as a diptych (ICEdit).

A form says which pictures of a sample are encoded, and how their latents become an example.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..diptych import sentence
from ..families import FAMILIES, FLUX1, QWEN_IMAGE, Family
from ..geometry import Size
from ..qwen_prompt import around_instruction
from .samples import Example, Mode, Picture

Form = Literal["reference", "named", "diptych"]
"""`named` is `reference` with the whole prompt of Qwen-Image around the instruction, which names the picture's size."""
TOKEN_PX = 16
"""Side of the pixels that a token of any family stands for."""
MASK_CHANNELS = FLUX1.latent_px**2
_PX = {family.channels: family.latent_px for family in FAMILIES.values()}
GREY = 128
"""What FLUX Fill sees in place of the pixels it is to paint: the middle of −1…1."""


DIPTYCHS: dict[Mode, Mode] = {"diptych": "edit", "diptych_copy": "copy"}
"""The modes of a base that learns both forms, and what they are within the form `diptych`."""


def form_of(kind: str, family: Family = FLUX1) -> Form:
    """ICEdit's kinds work on diptychs."""
    if kind.startswith("icedit"):
        return "diptych"
    return "named" if family is QWEN_IMAGE else "reference"


def pictures_of(form: Form, source: Picture | None, target: Picture) -> dict[str, Picture]:
    """The pictures to encode, by name; uint8 [B, H, W, 3] in and out."""
    if form != "diptych":
        return {"target": target} | ({} if source is None else {"source": source})
    if source is None:
        return {"target": target, "blank": np.full_like(target, GREY)}
    panels = {"target": (source, target), "copy": (source, source), "masked": (source, np.full_like(source, GREY))}
    return {name: np.concatenate(pair, axis=-2) for name, pair in panels.items()}


def said(form: Form, mode: Mode, instruction: str, size: Size) -> str:
    """What the text encoder reads of a picture of `size`: nothing for a copy; for an edit in a diptych ICEdit's sentence
    around it."""
    if mode == "copy":
        instruction = ""
    if form == "named":
        return instruction.join(around_instruction(size))
    return sentence(instruction) if form == "diptych" and mode == "edit" else instruction


def example_of(form: Form, mode: Mode, latents: Mapping[str, Tensor], instruction: str, task: int) -> Example:
    """The example of one row's latents [C, h, w], named as `pictures_of` names them."""
    instruction = said(form, mode, instruction, pixels_of(next(iter(latents.values()))))
    if form != "diptych":
        source = latents.get("source")
        if mode == "copy":
            assert source is not None, "copying needs a source"
            return Example(source, instruction, task, source)
        return Example(latents["target"], instruction, task, source)
    if mode == "picture":
        return Example(latents["target"], instruction, task, concat=_concat(latents["blank"], 0))
    masked = latents["masked"]
    target = latents["copy" if mode == "copy" else "target"]
    return Example(target, instruction, task, concat=_concat(masked, masked.shape[-1] // 2))


def pixels_of(latent: Tensor) -> Size:
    """The size of the picture that a latent [..., C, h, w] is of, told by its channels."""
    side = _PX.get(latent.shape[-3], FLUX1.latent_px)
    return Size(latent.shape[-2] * side, latent.shape[-1] * side)


def tokens_of(latent: Tensor) -> int:
    """How many tokens a latent [..., C, h, w] is for a model of any family."""
    size = pixels_of(latent)
    return size.width * size.height // TOKEN_PX**2


def _concat(masked: Tensor, first: int) -> Tensor:
    """FLUX Fill's channels [80, h, w]: the masked picture's latent, and the mask, 1 from column `first` on."""
    mask = torch.zeros(MASK_CHANNELS, *masked.shape[-2:])
    mask[..., first:] = 1.0
    return torch.cat((masked.float(), mask))

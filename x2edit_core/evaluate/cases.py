"""One edit to try: what is given, what is known about the answer, and how pictures come in and go out."""

from __future__ import annotations

import io
from typing import TypeAlias

import numpy as np
from PIL import Image
from torch import Tensor

from ..data.pairs import Pair, Read, SampleError
from ..data.picture_files import opened
from ..errors import X2EditError
from ..pixels import from_bytes

__all__ = ["Case", "CaseError", "Read", "decoded", "decoded_mask", "png"]

Case: TypeAlias = Pair
CaseError: TypeAlias = SampleError
"""In an evaluation a pair is a case: it may lack its target."""


def decoded(data: bytes, what: str) -> Tensor:
    """A picture file as float [1, H, W, 3] in 0–1; raises `CaseError`."""
    return from_bytes(np.asarray(_opened(data, what).convert("RGB")))


def decoded_mask(data: bytes, what: str) -> Tensor:
    """A mask file as float [1, H, W], 1 where the edit belongs; raises `CaseError`.

    That is where it is transparent; without transparency, where a grey picture is white, or where a coloured one has
    been painted purely white.
    """
    picture = _opened(data, what)
    if "A" in picture.getbands() and picture.getchannel("A").getextrema()[0] < 255:
        return 1 - from_bytes(np.asarray(picture.getchannel("A")))
    colours = from_bytes(np.asarray(picture.convert("RGB")))
    if bool((colours == colours[..., :1]).all()):
        return colours[..., 0]
    return (colours == 1).all(-1).float()


def png(pixels: np.ndarray) -> bytes:
    """A PNG of uint8 [H, W, 3] or [H, W]."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _opened(data: bytes, what: str) -> Image.Image:
    try:
        return opened(data)
    except X2EditError as error:
        raise CaseError(f"{what} is no picture that can be read: {error}.") from error

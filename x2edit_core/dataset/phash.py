"""A picture's perceptual hash: 64 bits that survive blur, scaling and compression. It does not see crops."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE, KEPT = 32, 8
THUMBNAIL, PRINT = 8, 4


def _cosines() -> NDArray[np.float64]:
    """The first rows of the discrete cosine transform (type II) of `SIDE` values."""
    places = np.arange(SIDE) + 0.5
    return np.cos(np.pi / SIDE * np.outer(np.arange(KEPT), places))


_DCT = _cosines()


def phash(picture: Image.Image) -> int:
    """Which of the 64 lowest frequencies of the grey picture lie above their median, the mean brightness left out of it."""
    grey = np.asarray(picture.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS), np.float64)
    low = (_DCT @ grey @ _DCT.T).flatten()
    bits = low > np.median(low[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def thumbnail(picture: Image.Image) -> bytes:
    """8 × 8 colours: pictures of one hash that differ here are different ones, such as flat colours."""
    return picture.convert("RGB").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX).tobytes()


def distance(one: int, other: int) -> int:
    """Bits that differ."""
    return (one ^ other).bit_count()


def unlike(one: bytes, other: bytes) -> float:
    """Mean difference of two thumbnails, 0 to 255."""
    first, second = (np.frombuffer(data, np.uint8).astype(np.int64) for data in (one, other))
    return float(np.abs(first - second).mean())


def fingerprint(picture: Image.Image) -> str:
    """4 × 4 colours in hexadecimal digits: enough to tell the two pictures of a pair apart."""
    return picture.convert("RGB").resize((PRINT, PRINT), Image.Resampling.BOX).tobytes().hex()

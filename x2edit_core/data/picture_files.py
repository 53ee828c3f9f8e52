"""Picture files of others, decoded by Pillow's own decoders alone: for some formats it would start another program.

What comes out is what the host's LoadImage makes of the file, whose colours Pillow's own conversions miss for several kinds.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import X2EditError

logger = logging.getLogger(__name__)

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
READING = "as LoadImage"
"""Names how files are read, for what is kept of them: latents of another reading are stale."""
_BITS, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0
"""TIFF's tags for the bits of a value and for what its least value means."""


def opened(data: bytes) -> Image.Image:
    """The first picture in a file's bytes, whole and upright, in 8 bits: mode L, LA, RGB or RGBA.

    An alpha channel is there where the file has transparency of any kind. Raises `X2EditError` for what is none, damaged,
    or larger than Pillow allows.
    """
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
        # Pillow only warns up to twice its limit; a few bytes can ask for gigabytes there.
        if picture.width * picture.height > (Image.MAX_IMAGE_PIXELS or math.inf):
            raise X2EditError(f"{picture.width} × {picture.height} pixels are more than {Image.MAX_IMAGE_PIXELS}")
        if getattr(picture, "default_image", False):  # an animated PNG's stand-in for viewers that cannot animate
            picture.seek(1)
        picture.load()
        sixteen = _is_sixteen_bits(picture)
        with contextlib.suppress(Exception):  # damaged EXIF, on which Pillow raises nearly anything, turns nothing
            ImageOps.exif_transpose(picture, in_place=True)
        return _of_sixteen_bits(picture) if sixteen else _of_few_bits(picture)
    except UnidentifiedImageError as error:
        raise X2EditError(
            f"it is of no kind that is known here; whole files of {', '.join(FORMATS)} are read"
        ) from error
    except Exception as error:  # Pillow raises nearly anything on damaged data
        raise X2EditError(f"{error}; whole files of {', '.join(FORMATS)} are read") from error


def as_png(data: bytes) -> bytes:
    """The same picture, with its transparency, as a plain PNG, which every host reads alike. Raises as `opened` does."""
    buffer = io.BytesIO()
    picture = opened(data)
    Image.frombytes(picture.mode, picture.size, picture.tobytes()).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _is_sixteen_bits(picture: Image.Image) -> bool:
    """Whether it is grey in 16 bits, which Pillow holds as I;16 or, by its version and the sign, as I."""
    if picture.mode.startswith("I;16"):
        return True
    return picture.mode == "I" and (picture.format == "PNG" or _tags(picture).get(_BITS) == (16,))


def _tags(picture: Image.Image) -> Any:
    return getattr(picture, "tag_v2", {})


def _of_sixteen_bits(picture: Image.Image) -> Image.Image:
    values = np.asarray(picture).astype(np.int64) & 0xFFFF
    grey = ((values + 128) // 257).astype(np.uint8)
    if _tags(picture).get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = 255 - grey
    clear = picture.info.get("transparency")
    if clear is None:
        return Image.fromarray(grey)
    alpha = np.where(values == clear, 0, 255).astype(np.uint8)
    return Image.merge("LA", (Image.fromarray(grey), Image.fromarray(alpha)))


def _of_few_bits(picture: Image.Image) -> Image.Image:
    if picture.mode in ("I", "F"):
        return _of_numbers(picture)
    if picture.mode == "CMYK":
        return _of_cmyk(picture)
    clear = "transparency" in picture.info or picture.getbands()[-1] in ("A", "a")
    if picture.mode in ("1", "L", "LA", "La"):
        return picture.convert("LA" if clear else "L")
    if not clear:
        return picture.convert("RGB")
    _shorten_transparency(picture)
    full = picture.convert("RGBA")
    return _on_white(full) if picture.format == "GIF" else full


def _of_numbers(picture: Image.Image) -> Image.Image:
    """Numbers of any range, which LoadImage takes as 0 to 255 and cuts off; said where little is left of them so."""
    values: NDArray[np.float64] = np.nan_to_num(np.asarray(picture, np.float64))
    if values.max() <= 1.0 or values.max() > 255.0:
        logger.warning(
            "A picture file holds values from %g to %g, which are read as 0 to 255 here and by ComfyUI's LoadImage. Save it "
            "with 8 or 16 bits to keep what is in it.", values.min(), values.max(),
        )  # fmt: skip
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def _of_cmyk(picture: Image.Image) -> Image.Image:
    """Without a colour profile, by the host's decoder's own integers."""
    paper = 255 - np.asarray(picture).astype(np.uint32)
    return Image.fromarray((paper[..., :3] * paper[..., 3:] * 257 >> 16).astype(np.uint8))


def _shorten_transparency(picture: Image.Image) -> None:
    """The colour that is transparent, in as many bits as Pillow kept of the others."""
    clear = picture.info.get("transparency")
    if isinstance(clear, tuple) and max(clear) > 255:
        picture.info["transparency"] = tuple(value >> 8 for value in clear)


def _on_white(picture: Image.Image) -> Image.Image:
    """White where nothing is to be seen, as the host shows a GIF."""
    white = Image.new("RGBA", picture.size, (255, 255, 255, 0))
    return Image.composite(picture, white, picture.getchannel("A"))

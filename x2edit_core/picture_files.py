"""Picture files of others, decoded by Pillow's own decoders alone: for some formats it would start another program."""

from __future__ import annotations

import contextlib
import io
import math

from PIL import Image, ImageOps

from .errors import X2EditError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")


def opened(data: bytes) -> Image.Image:
    """The whole picture in a file's bytes, upright as the host's LoadImage has it.

    Raises `X2EditError` for what is none, damaged, or larger than Pillow allows.
    """
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
        # Pillow only warns up to twice its limit; a few bytes can ask for gigabytes there.
        if picture.width * picture.height > (Image.MAX_IMAGE_PIXELS or math.inf):
            raise X2EditError(f"{picture.width} × {picture.height} pixels are more than {Image.MAX_IMAGE_PIXELS}")
        picture.load()
    except Exception as error:  # Pillow raises nearly anything on damaged data
        raise X2EditError(f"{error}; whole files of {', '.join(FORMATS)} are read") from error
    with contextlib.suppress(Exception):  # damaged EXIF, on which Pillow raises nearly anything, turns nothing
        ImageOps.exif_transpose(picture, in_place=True)
    return picture

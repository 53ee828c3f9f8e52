"""Pictures for language models: one form in, a limited size out."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..errors import X2EditError

SHEET_NOTE = (
    "The pictures stand on one sheet, each with its number: picture 1 at the top left, then from left to right and from "
    "top to bottom."
)
"""What a model is told that is shown a `contact_sheet` in place of several pictures."""
SHEET_GAP_PX = 8
SHEET_CAPTION_PX = 18
PNG_LIMIT_BYTES = 256 * 1024
JPEG_QUALITY = 92


def to_pil(image: Any, longest_px: int) -> Image.Image:
    """RGB, with neither side longer than `longest_px`; takes a PIL image or a float tensor (H, W, C) in [0, 1]."""
    picture = _pixels_alone(image) if isinstance(image, Image.Image) else _tensor_to_pil(image)
    scale = longest_px / max(picture.size)
    if scale >= 1:
        return picture
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def contact_sheet(images: Sequence[Any], longest_px: int) -> Image.Image:
    """All pictures numbered on one, in rows from the top left, for servers that take one picture a question."""
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    side = max(1, (longest_px - SHEET_GAP_PX * (columns - 1)) // columns - SHEET_CAPTION_PX)
    cells = [to_pil(image, side) for image in images]
    wide, high = max(cell.width for cell in cells), max(cell.height for cell in cells) + SHEET_CAPTION_PX
    size = (columns * (wide + SHEET_GAP_PX) - SHEET_GAP_PX, rows * (high + SHEET_GAP_PX) - SHEET_GAP_PX)
    sheet = Image.new("RGB", size, "white")
    for index, cell in enumerate(cells):
        left, top = index % columns * (wide + SHEET_GAP_PX), index // columns * (high + SHEET_GAP_PX)
        ImageDraw.Draw(sheet).text((left, top), f"picture {index + 1}", fill="black", font=ImageFont.load_default())
        sheet.paste(cell, (left, top + SHEET_CAPTION_PX))
    return sheet


def to_tensor(image: Any, longest_px: int) -> Tensor:
    """The same picture as a float tensor (1, H, W, 3) in [0, 1]."""
    pixels = np.asarray(to_pil(image, longest_px), dtype=np.float32) / 255
    return torch.from_numpy(pixels).unsqueeze(0)


def to_data_url(image: Any, longest_px: int) -> str:
    """The picture as a `data:` URL: PNG while that is small, so that edges stay sharp; JPEG otherwise."""
    picture = to_pil(image, longest_px)
    data, kind = _encode(picture, "PNG"), "png"
    if len(data) > PNG_LIMIT_BYTES:
        data, kind = _encode(picture, "JPEG", quality=JPEG_QUALITY), "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _encode(picture: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _pixels_alone(picture: Image.Image) -> Image.Image:
    """Without what a file says beside its pixels: Pillow would send a colour profile along."""
    return Image.fromarray(np.asarray(picture.convert("RGB")))


def _tensor_to_pil(image: Any) -> Image.Image:
    if not isinstance(image, Tensor) or image.ndim != 3 or image.shape[-1] not in (1, 3, 4):
        found = list(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise X2EditError(f"An image in a message is {found}; expected a PIL image or a tensor (H, W, 3).")
    pixels = image[..., :3].detach().float().cpu().clamp(0, 1).mul(255).round().byte().numpy()
    return Image.fromarray(np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels, "RGB")

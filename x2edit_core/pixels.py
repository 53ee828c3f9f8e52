"""Operations on pictures as the host holds them: float tensors [B, H, W, C] in 0–1, masks [B, H, W]."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from .errors import X2EditError
from .geometry import Size


def size_of(image: Tensor) -> Size:
    return Size(image.shape[1], image.shape[2])


def to_rgb(image: Tensor) -> Tensor:
    """Three channels: grey is repeated; what is transparent shows mid-grey."""
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4):
        raise X2EditError(
            f"A picture tensor of shape {list(image.shape)} found; [batch, height, width, 1, 3 or 4] expected."
        )
    if image.shape[-1] == 1:
        return image.expand(-1, -1, -1, 3)
    if image.shape[-1] == 4:
        alpha = image[..., 3:]
        return image[..., :3] * alpha + 0.5 * (1 - alpha)
    return image


def from_bytes(picture: NDArray[np.uint8]) -> Tensor:
    """A uint8 picture [H, W, C] as the host holds it: float32 [1, H, W, C] in 0–1."""
    return torch.from_numpy(picture.astype(np.float32) / 255)[None]


def resize(image: Tensor, size: Size) -> Tensor:
    """[B, H, W, C] at another size, bicubic with antialiasing, clamped to 0–1; untouched when the size fits."""
    if size_of(image) == size:
        return image
    moved = image.movedim(-1, 1)
    moved = functional.interpolate(
        moved, (size.height, size.width), mode="bicubic", antialias=True, align_corners=False
    )
    return moved.movedim(1, -1).clamp(0.0, 1.0)


def resize_mask(mask: Tensor, size: Size) -> Tensor:
    """A mask [B, H, W] or [H, W] as [B, H', W'], bilinear with antialiasing."""
    flat = mask.reshape(-1, *mask.shape[-2:])
    if flat.shape[-2:] == (size.height, size.width):
        return flat
    shape = (size.height, size.width)
    return functional.interpolate(flat.unsqueeze(1), shape, mode="bilinear", antialias=True, align_corners=False)[:, 0]


def paste(edited: Tensor, source: Tensor, mask: Tensor) -> Tensor:
    """`edited` where the mask is 1, `source` elsewhere; all of one size, rows cycled to the largest batch."""
    rows = max(edited.shape[0], source.shape[0], mask.shape[0])
    edited, source, mask = (cycle(part, rows) for part in (edited, source, mask))
    return torch.lerp(source, edited, mask.clamp(0.0, 1.0).unsqueeze(-1).to(edited))


def cycle(batch: Tensor, rows: int) -> Tensor:
    """Row i of the result is row i modulo the batch's own number of rows."""
    if batch.shape[0] == rows:
        return batch
    return batch[torch.arange(rows, device=batch.device) % batch.shape[0]]

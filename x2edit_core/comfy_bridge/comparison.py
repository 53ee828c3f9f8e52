"""Pictures before and after an edit, as temporary files that the page shows under one slider."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import folder_paths
import numpy as np
from PIL import Image
from torch import Tensor

from ..pixels import cycle, to_rgb

KEY = "x2edit_compare"
"""What the page's widget reads from the node's output, web/compare.js."""
_TINT = (51, 204, 153)
_TINT_ALPHA = 120

Entry = dict[str, dict[str, str]]


def comparison(before: Tensor, after: Tensor, target: Tensor | None, mask: Tensor | None) -> dict[str, list[Entry]]:
    """The node's output for the page: an entry for each picture of the longer batch, the shorter one cycled.

    `before`, `after` and `target` are admitted pictures [B, H, W, C], each of any size; `mask` [B, H, W] is drawn as a tint.
    Files lie in the host's temporary folder, which it empties at its next start.
    """
    pictures = {"before": before, "after": after, **({} if target is None else {"target": target})}
    rows = max(map(len, pictures.values()))
    layers = {name: [_rgb(row) for row in cycle(to_rgb(picture), rows)] for name, picture in pictures.items()}
    if mask is not None:
        layers["mask"] = [_tinted(row) for row in cycle(mask, rows)]
    run = secrets.token_hex(6)
    return {KEY: [{name: _saved(layers[name][row], f"{run}_{row}_{name}") for name in layers} for row in range(rows)]}


def _rgb(picture: Tensor) -> Image.Image:
    return Image.fromarray(_bytes(picture), "RGB")


def _tinted(mask: Tensor) -> Image.Image:
    """White of a mask [H, W] as a tint, black as nothing."""
    alpha = Image.fromarray(_bytes(mask), "L").point(lambda value: value * _TINT_ALPHA // 255)
    tint = Image.new("RGBA", alpha.size, _TINT)
    tint.putalpha(alpha)
    return tint


def _bytes(values: Tensor) -> Any:
    return (values.clamp(0, 1) * 255).round().to("cpu").numpy().astype(np.uint8)


def _saved(picture: Image.Image, name: str) -> dict[str, str]:
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    file = f"x2edit_compare_{name}.png"
    picture.save(folder / file, compress_level=1)
    return {"filename": file, "subfolder": "", "type": "temp"}

"""ICEdit's canvas: the source in one panel, its edit in the other, and the sentence that says so.

Pictures are float [B, H, W, C] in 0–1, masks [B, H, W] with 1 where the model paints. The layout (`geometry`) holds all
sizes; upstream is `scripts/inference.py` and the Fill pipeline it calls.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from .errors import X2EditError
from .geometry import PATCH_PX, DiptychLayout, Side, Size, bounded_panel
from .pixels import cycle, paste, resize, resize_mask, size_of, to_rgb

SENTENCE = (
    "A diptych with two side-by-side images of the same scene. On the right, the scene is exactly the same as on the "
    "left but {instruction}"
)
"""What both released adapters were trained with, word for word."""

Fill = Literal["grey", "copy"]
FILLS: tuple[Fill, ...] = ("grey", "copy")
GREY = 0.5

_CHANGED, _GRAIN = 0.06, 2
"""A difference between the panels above this counts as an edit, averaged over pixels this far away so that grain does not."""

_FEATHER = 1 / 64
"""Width of the soft seam as a share of the picture's longer side."""


def sentence(instruction: str, side: Side = "right", template: str = "") -> str:
    """The prompt for an instruction. ICEdit's own sentence, given or left empty, is mirrored for an edit on the left.

    Any other template is taken as it is; raises `X2EditError` for one without `{instruction}`.
    """
    if template.strip() in ("", SENTENCE):
        template = SENTENCE if side == "right" else _mirrored(SENTENCE)
    if "{instruction}" not in template:
        raise X2EditError(
            f"The template {template!r} has no {{instruction}} in it, so the instruction would be lost. Put "
            "{instruction} where it belongs, or leave the template empty for ICEdit's own sentence."
        )
    return template.replace("{instruction}", instruction.strip())


def _mirrored(text: str) -> str:
    return text.replace("right", "\0").replace("left", "right").replace("\0", "left")


def layout_for(image: Tensor, width: int, side: Side) -> DiptychLayout:
    """The layout of a source picture on panels of this width, narrower where it is very tall."""
    return DiptychLayout(size_of(image), bounded_panel(size_of(image), width), side)


def assemble(image: Tensor, layout: DiptychLayout, fill: Fill) -> Tensor:
    """The canvas [B, h, 2w, 3]: the source in its panel, grey or a copy of it in the other."""
    panel = resize(to_rgb(image), layout.panel)
    other = panel if fill == "copy" else torch.full_like(panel, GREY)
    return torch.cat((panel, other) if layout.side == "right" else (other, panel), dim=2)


def mask_of(layout: DiptychLayout, rows: int) -> Tensor:
    """The mask [rows, h, 2w]: 1 over the edit's panel, 0 over the source's."""
    mask = torch.zeros(rows, layout.canvas.height, layout.canvas.width)
    mask[:, :, layout.edit_columns] = 1.0
    return mask


def side_of(mask: Tensor) -> Side:
    """The half of the canvas that a mask [B, H, W] leaves to the model, by weight."""
    left, right = mask[..., : mask.shape[-1] // 2], mask[..., mask.shape[-1] // 2 :]
    return "left" if float(left.sum()) > float(right.sum()) else "right"


def whole_tokens(diptych: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Diptych [B, H, W, 3] and mask [B, H, W] resized down to whole tokens, one mask row per picture, 0 or 1."""
    rgb = to_rgb(diptych)
    size = Size(*(max(PATCH_PX, pixels // PATCH_PX * PATCH_PX) for pixels in rgb.shape[1:3]))
    sized = resize_mask(mask, size)
    return resize(rgb, size), (cycle(sized, rgb.shape[0]) >= 0.5).to(rgb)


def greyed(diptych: Tensor, mask: Tensor) -> Tensor:
    """The diptych with mid-grey where the mask is 1: what the model is shown, whatever lay there."""
    return torch.where(mask.unsqueeze(-1) > 0.5, torch.full_like(diptych, GREY), diptych)


def panels(image: Tensor, layout: DiptychLayout) -> tuple[Tensor, Tensor]:
    """(edit, source) panels of a finished canvas, which may have been enlarged meanwhile."""
    canvas, found = layout.canvas, size_of(image)
    if abs(found.aspect / canvas.aspect - 1) > 0.02:
        raise X2EditError(
            f"A diptych of {canvas}, or an enlargement of it, was expected; a picture of {found} is connected."
        )
    if found.width % 2:
        raise X2EditError(
            f"A diptych enlarged to {found} is connected, whose two panels would differ by a pixel column; its width must "
            "be even. Enlarge it by another factor, or crop first and enlarge the edit alone."
        )
    half = found.width // 2
    left, right = image[:, :, :half], image[:, :, half:]
    return (right, left) if layout.side == "right" else (left, right)


def crop(image: Tensor, layout: DiptychLayout) -> Tensor:
    """The edit [B, H, W, 3] at the source's size, out of a finished canvas."""
    return resize(panels(to_rgb(image), layout)[0], layout.source)


def finish(image: Tensor, layout: object, source: Tensor | None, stitched: bool, area: Tensor | None) -> Tensor:
    """The edit at the source's size, cropped or stitched; `X2EditError` for another node's layout or without a source."""
    if not isinstance(layout, DiptychLayout):
        raise X2EditError("This layout is not a diptych's; connect the one of ICEdit Diptych, or use X2Edit Restore.")
    if not stitched:
        return crop(image, layout)
    if source is None:
        raise X2EditError("Stitching needs the source picture to stitch into; connect `source`, or switch stitch off.")
    return stitch(image, layout, source, area)


def stitch(image: Tensor, layout: DiptychLayout, source: Tensor, area: Tensor | None = None) -> Tensor:
    """The edit within `area` [B, H, W], softly joined to the source, which is kept bit for bit elsewhere.

    Without an area it is where the two panels differ: both went through the same decoder, so its loss cancels out.
    """
    edited = crop(image, layout)
    if area is None:
        area = changed_area(*panels(to_rgb(image), layout))
    return paste(edited, resize(to_rgb(source), layout.source), feathered(resize_mask(area, layout.source)))


def changed_area(one: Tensor, two: Tensor) -> Tensor:
    """Mask [B, H, W] of where two pictures [B, H, W, 3] differ by more than grain."""
    difference = _blurred((one - two).movedim(-1, 1).flatten(0, 1), _GRAIN).unflatten(0, (-1, one.shape[-1]))
    return (difference.abs().amax(1) > _CHANGED).to(one)


def feathered(mask: Tensor) -> Tensor:
    """A mask [B, H, W] grown by the seam's width and faded out over it: 1 wherever it was 1, 0 beyond the seam."""
    reach = _reach(mask)
    grown = functional.max_pool2d((mask > 0.5).to(mask).unsqueeze(1), 2 * reach + 1, stride=1, padding=reach)[:, 0]
    return _blurred(grown, reach).clamp(0.0, 1.0)


def _reach(mask: Tensor) -> int:
    return max(1, round(max(mask.shape[-2:]) * _FEATHER))


def _blurred(mask: Tensor, reach: int) -> Tensor:
    """Mean over a square of 2·reach + 1, the border's own values continuing outwards."""
    padded = functional.pad(mask.unsqueeze(1), (reach,) * 4, mode="replicate")
    return functional.avg_pool2d(padded, 2 * reach + 1, stride=1)[:, 0]

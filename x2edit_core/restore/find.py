"""An edit of any editor given back to its source: aligned, its colours matched, only what changed taken from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from ..geometry import Size
from ..pixels import paste, resize, resize_mask, size_of
from .changed import Change, change
from .colour import Tone, fitted
from .registration import Alignment, grid, register, sized_for

Kept = Literal["", "camera", "tone", "detail", "all", "nothing"]
"""Why an edit is left as it is: it concerns the whole picture in this way. Empty where it does not."""

LARGEST = 1_500_000
"""Pixels at which an edit is looked at; a larger one is looked at smaller."""
_SHIFTED, _ZOOMED, _TURNED = 0.05, 0.06, 3.0
"""Share of the longer side, zoom and degrees beyond which it is the camera that was to move."""
_AGREES = 0.5
"""Share of the texture that must agree for a map to be one."""
_TONED, _TONED_ALONE, _ALONE = 8.0, 2.0, 0.001
"""Mean ΔE00 beyond which a tone is the edit; the second where no more than that share changed besides."""
_TONED_WIDE, _WIDE = 4.0, 0.3
"""The same where so large a share is not explained by the tone: it is no drift then but a bent tone."""
_GAIN, _OFFSET = 0.12, 0.08
"""Beyond which a channel's gain, from 1, and offset are no drift, however little they show in this picture."""
_SHARPER, _SOFTER = 1.25, 0.3
"""Share of the source's fine detail beyond which sharpness is the edit; an autoencoder leaves a half and more."""
_REST = 0.035
"""Root mean square difference beyond which an edit without a place did something all the same, such as taking noise away."""
_MOST = 0.7
"""Share of the picture that may change before it is the whole of it."""
_BEYOND = 0.7
"""How much of the edit there is at most beyond the change."""
_STRIP = 2_000_000
"""Pixels that are sampled at once."""


@dataclass(frozen=True)
class Found:
    """What is known of one edit against its source; `kept` says why it is left alone, if it is."""

    alignment: Alignment
    tone: Tone
    change: Change
    kept: Kept
    size: Size
    """Of the edit, as it was looked at."""


def find(source: Tensor, edit: Tensor, area: Tensor | None = None) -> Found:
    """What the editor did to the `source` [1, H, W, 3] besides the edit [1, h, w, 3].

    With an `area` [1, H, W] the change is there, and nothing else has a say.
    """
    edit = _looked_at(edit)
    alignment = register(source, edit, area)
    size = size_of(edit)
    at = sized_for(size_of(source), size, alignment.view)
    seen, (aligned, shown) = resize(source, at), sampled(edit, alignment, at)
    open_ = shown if area is None else shown * (1 - resize_mask(area, at))
    tone = fitted(seen, aligned, open_)
    found = change(seen, aligned, shown, tone)
    if area is not None:
        found = Change(resize_mask(area, at), found.detail, found.rest)
    return Found(alignment, tone, found, _kept(alignment, tone, found, seen, size, area is not None), size)


def _looked_at(edit: Tensor) -> Tensor:
    size = size_of(edit)
    share = min(1.0, (LARGEST / (size.width * size.height)) ** 0.5)
    return edit if share == 1 else resize(edit, _scaled(size, share))


def _scaled(size: Size, share: float) -> Size:
    return Size(max(1, round(size.height * share)), max(1, round(size.width * share)))


def _kept(alignment: Alignment, tone: Tone, found: Change, seen: Tensor, size: Size, given: bool) -> Kept:
    moved, side = alignment.moved(size), max(size.width, size.height)
    if max(abs(moved.right), abs(moved.down)) > _SHIFTED * side or abs(moved.zoom - 1) > _ZOOMED:
        return "camera"
    if abs(moved.degrees) > _TURNED:
        return "camera"
    if alignment.agreement < _AGREES:
        return "all"
    toned = tone.strength(seen)
    if toned > _TONED or _strong(tone):
        return "tone"
    if given:
        return ""
    if found.share > _MOST:
        return "all"
    if found.share > _WIDE and toned > _TONED_WIDE:
        return "tone"
    if not _SOFTER < found.detail < _SHARPER:
        return "detail"
    if found.share < _ALONE and toned > _TONED_ALONE:
        return "tone"
    if found.share:
        return ""
    return "detail" if found.rest > _REST else "nothing"


def _strong(tone: Tone) -> bool:
    return bool(((tone.gain - 1).abs() > _GAIN).any() | (tone.offset.abs() > _OFFSET).any())


def sampled(
    edit: Tensor, alignment: Alignment, size: Size, window: tuple[slice, slice] | None = None
) -> tuple[Tensor, Tensor]:
    """The edit as the source [1, H, W, 3] of `size` sees it, and where it shows anything [1, H, W]."""
    x, y = grid(size, edit)
    rows, columns = window or (slice(None), slice(None))
    places = alignment.places(x[rows, columns], y[rows, columns])
    picture = functional.grid_sample(edit.movedim(-1, 1), places[None], "bicubic", "border", False)
    return picture.movedim(1, -1).clamp(0.0, 1.0), (places.abs().amax(-1) <= 1)[None].to(edit)


def given_back(source: Tensor, edit: Tensor, area: Tensor | None = None) -> tuple[Tensor, Tensor, Found]:
    """The `source` [1, H, W, 3] with what the `edit` [1, h, w, 3] changed in it, the soft mask [1, H, W], and what was found.

    Where the mask is 0 the picture is the source, bit for bit. An edit of the whole picture is resized and left alone but
    for an `area` [1, H, W] that it is kept within.
    """
    edit = _no_larger(edit, size_of(source))
    found, size = find(source, edit, area), size_of(source)
    if found.kept == "nothing":
        return source.clone(), torch.zeros_like(source[..., 0]), found
    if area is not None:
        mask = resize_mask(area, size)
    elif found.kept:
        mask = torch.ones_like(source[..., 0])
    else:
        mask = resize_mask(seamed(found.change.region), size)
    if found.kept:
        return paste(resize(edit, size), source, mask), mask, found
    return _pasted(source, edit, found, mask)


def _no_larger(edit: Tensor, source: Size) -> Tensor:
    """The edit, at most as finely as the source: what is sampled without filtering must not be finer."""
    size = size_of(edit)
    share = max(source.height / size.height, source.width / size.width)
    return edit if share >= 1 else resize(edit, _scaled(size, share))


def _pasted(source: Tensor, edit: Tensor, found: Found, mask: Tensor) -> tuple[Tensor, Tensor, Found]:
    """In strips, and only where the mask is not 0, so that large pictures take little more than their own memory."""
    picture, mask = source.clone(), mask.clone()
    size = size_of(source)
    columns = _extent(mask[0].amax(0))
    rows = _extent(mask[0].amax(1))
    step = max(1, _STRIP // max(1, columns.stop - columns.start))
    for top in range(rows.start, rows.stop, step):
        window = slice(top, min(top + step, rows.stop)), columns
        there, shown = sampled(edit, found.alignment, size, window)
        mask[0][window] *= shown[0]
        part = torch.lerp(source[0][window], found.tone.applied(there)[0], mask[0][window][..., None])
        picture[0][window] = torch.where(mask[0][window][..., None] > 0, part, source[0][window])
    return picture, mask, found


def _extent(line: Tensor) -> slice:
    """From the first to the last place that is not 0."""
    places = line.nonzero()
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)


def seamed(region: Tensor) -> Tensor:
    """The region [1, H, W] with its border faded out: 1 within it, below a half beyond and 0 from three pixels on."""
    grown = functional.max_pool2d(region[:, None], 3, stride=1, padding=1)
    padded = functional.pad(grown, (1,) * 4, mode="replicate")
    return torch.maximum(region, _BEYOND * functional.avg_pool2d(padded, 3, stride=1)[:, 0])

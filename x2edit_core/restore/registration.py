"""Where the source's pixels lie in an edit of it: a smooth map, found on what did not change, to a fraction of a pixel.

Robust Gauss–Newton on a pyramid (Lucas and Kanade 1981; Baker and Matthews 2004), begun from a search over shifts and
zooms. Residuals are counted in pixels of displacement, so that an edit, which no shift explains, has no say.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

from ..geometry import Size
from ..pixels import resize, size_of
from .smooth import luma, slope, slopes, smooth

TERMS = 6
"""1, x, y and, for a slight warp, x², xy, y² of a place in -1…1."""
AFFINE = 3
_COARSEST, _FINEST = 48, 768
"""The longer side in pixels of the pyramid's ends."""
_REACH, _ZOOMS = 0.06, (0.96, 1.0, 1.04)
"""The search: shifts as a share of the longer side, and zooms."""
_ROUNDS = 8
_GRAIN = 0.02
"""A residual that grain, compression and an autoencoder leave, as a share of full range."""
_OUTLIER = 3.0
"""From this many times the expected residual on, a pixel has no say (Tukey's biweight)."""
_STILL = 0.02
"""Pixels; a step below it ends a level."""
_PRIOR = {"zoom": 0.05, "stretch": 0.004, "warp": 0.003}
"""What is expected of an editor, as shares of half a side: where the picture does not tell, the map stays near a shift."""
_PRIOR_PIXELS = 20.0
"""How many pixels with texture the expectation weighs as much as."""
_TEXTURED = 0.02
"""Slope per pixel from which on a pixel can tell where it lies."""


@dataclass(frozen=True)
class Alignment:
    """`terms` [2, 6]: a place of the source in -1…1 → its place (x, y) in the edit in -1…1; half pixels as in PyTorch.

    `view` is the part (across, down) of the source's middle that the edit was first thought to show, and the terms are of
    places within it; `agreement` is the share of the pixels with texture that agree with the map, 0–1.
    """

    terms: Tensor
    view: tuple[float, float] = (1.0, 1.0)
    agreement: float = 1.0

    def places(self, x: Tensor, y: Tensor) -> Tensor:
        """[..., 2] of the edit for source places `x` and `y` of one shape."""
        return basis(x / self.view[0], y / self.view[1]) @ self.terms.T.to(x)

    def moved(self, size: Size) -> Moved:
        """How the map moves an edit of `size` against the view it was thought to show."""
        half = torch.tensor((size.width / 2, size.height / 2), dtype=self.terms.dtype)
        pixels = self.terms * half[:, None]
        linear = pixels[:, 1:AFFINE] / half
        zoom, turn = (linear[0, 0] + linear[1, 1]) / 2, (linear[1, 0] - linear[0, 1]) / 2
        stretched = (linear - zoom * torch.eye(2).to(linear) - turn * torch.tensor([[0, -1], [1, 0]]).to(linear)) * half
        warp = pixels[:, AFFINE:].abs().sum(1).norm() + stretched.abs().max()
        return Moved(float(pixels[0, 0]), float(pixels[1, 0]), float(zoom), float(turn) * 180 / torch.pi, float(warp))


@dataclass(frozen=True)
class Moved:
    """Pixels of the edit to the right and down, zoom about the middle, degrees clockwise, and pixels of warp at most."""

    right: float
    down: float
    zoom: float
    degrees: float
    warp: float


def basis(x: Tensor, y: Tensor) -> Tensor:
    """[..., 6] for places of one shape."""
    return torch.stack((torch.ones_like(x), x, y, x * x, x * y, y * y), dim=-1)


def grid(size: Size, like: Tensor) -> tuple[Tensor, Tensor]:
    """x and y [H, W] of the pixels' middles in -1…1."""
    x = (torch.arange(size.width).to(like) * 2 + 1) / size.width - 1
    y = (torch.arange(size.height).to(like) * 2 + 1) / size.height - 1
    return x.expand(size.height, -1), y[:, None].expand(-1, size.width)


def identity() -> Tensor:
    """The terms of an edit that shows just its view."""
    terms = torch.zeros(2, TERMS, dtype=torch.float64)
    terms[0, 1] = terms[1, 2] = 1
    return terms


def views(source: Size, edit: Size) -> list[tuple[float, float]]:
    """What an edit of that shape may show: all of the source, squashed, or as much of its middle as fits the shape."""
    ratio = edit.aspect / source.aspect
    cut = (min(1.0, 1 / ratio), min(1.0, ratio))
    return [(1.0, 1.0)] if abs(ratio - 1) < 0.002 else [(1.0, 1.0), cut]


def sized_for(source: Size, edit: Size, view: tuple[float, float]) -> Size:
    """The source's size at which its pixels are as large as the edit's."""
    return Size(max(1, round(edit.height / view[1])), max(1, round(edit.width / view[0])))


def register(source: Tensor, edit: Tensor, known: Tensor | None = None) -> Alignment:
    """How the `edit` [1, h, w, 3] shows the `source` [1, H, W, 3]; `known` [1, H, W] is 1 where it is known to have changed.

    The two may differ in size and, by a cut of the middle, in shape.
    """
    found = [_followed(source, edit, view, known) for view in views(size_of(source), size_of(edit))]
    return max(found, key=lambda alignment: alignment.agreement)


def _followed(source: Tensor, edit: Tensor, view: tuple[float, float], known: Tensor | None) -> Alignment:
    levels = [_level(source, edit, view, known, side) for side in _sides(size_of(edit))]
    terms = _searched(levels[0])
    for number, level in enumerate(levels):
        terms = level.refined(terms, AFFINE)
        if number == len(levels) - 1:
            terms = level.refined(terms, TERMS)
    return Alignment(terms, view, levels[-1].agreement(terms))


def _sides(edit: Size) -> list[int]:
    """The longer side at each level, coarse to fine."""
    sides = [min(_FINEST, max(edit.height, edit.width))]
    while sides[-1] >= 2 * _COARSEST:
        sides.append(sides[-1] // 2)
    return sides[::-1]


def _level(source: Tensor, edit: Tensor, view: tuple[float, float], known: Tensor | None, side: int) -> _Level:
    full = size_of(edit)
    share = side / max(full.height, full.width)
    size = Size(max(1, round(full.height * share)), max(1, round(full.width * share)))
    beside = sized_for(size_of(source), size, view)
    one, other = (smooth(luma(resize(image, at)), 1.0) for image, at in ((source, beside), (edit, size)))
    open_ = torch.ones_like(one)
    if known is not None:
        open_ = 1 - functional.interpolate(known[:, None], one.shape[-2:], mode="area").clamp(0, 1)
    return _Level(one, other, open_, view)


@dataclass(frozen=True)
class _Level:
    """One level: smoothed luma of source [1, 1, H, W] and edit [1, 1, h, w], and where the source may have a say."""

    source: Tensor
    edit: Tensor
    may: Tensor
    view: tuple[float, float]

    @property
    def _size(self) -> Size:
        return Size(*self.source.shape[-2:])

    def basis(self) -> Tensor:
        x, y = grid(self._size, self.source)
        return basis(x / self.view[0], y / self.view[1])

    def warped(self, terms: Tensor, terms_at: Tensor) -> tuple[Tensor, Tensor]:
        """The edit [H, W] at the source's pixels, and 1 where the edit shows them."""
        places = terms_at @ terms.T.to(terms_at)
        picture = functional.grid_sample(self.edit, places[None], "bilinear", "border", False)[0, 0]
        return picture, (places.abs().amax(-1) < 1).to(picture)

    def expected(self, warped: Tensor, tolerance: float) -> Tensor:
        """The residual that `tolerance` pixels of displacement explain: of slopes that both pictures have."""
        steep = torch.minimum(self._steep, smooth(slope(warped[None, None]), 2.0))
        return (_GRAIN + tolerance * steep)[0, 0]

    def cost(self, terms: Tensor, terms_at: Tensor, tolerance: float) -> float:
        warped, shown = self.warped(terms, terms_at)
        shown = shown * self.may[0, 0]
        rest = warped - self.source[0, 0]
        rest = rest - rest[shown > 0.5].median() if bool((shown > 0.5).any()) else rest
        weight = self.textured * shown
        loss = 1 - _biweight(rest / self.expected(warped, tolerance))
        return float((loss * weight).sum() / weight.sum().clamp_min(1e-6))

    @cached_property
    def textured(self) -> Tensor:
        """[H, W]: how well a pixel of the source can tell where it lies, 0–1."""
        steep = slope(self.source)[0, 0]
        return steep / (steep + _TEXTURED)

    @cached_property
    def _steep(self) -> Tensor:
        return smooth(slope(self.source), 2.0)

    def agreement(self, terms: Tensor) -> float:
        return 1 - self.cost(terms, self.basis(), 0.5)

    def refined(self, terms: Tensor, count: int) -> Tensor:
        """`terms` after Gauss–Newton steps on the first `count` of them, with brightness and contrast."""
        terms_at, gain, offset = self.basis(), 1.0, 0.0
        for number in range(_ROUNDS):
            tolerance = max(0.5, 1.5 * 0.7**number)
            step, gain, offset = self._step(terms, terms_at, count, tolerance, gain, offset)
            terms = terms.clone()
            terms[:, :count] += step
            if float(step.abs().max()) * max(self._size.width, self._size.height) / 2 < _STILL:
                break
        return terms

    def _step(
        self, terms: Tensor, terms_at: Tensor, count: int, tolerance: float, gain: float, offset: float
    ) -> tuple[Tensor, float, float]:
        warped, shown = self.warped(terms, terms_at)
        toned = gain * warped + offset
        rest = (self.source[0, 0] - toned).flatten()
        sure = 1 / self.expected(toned, tolerance).flatten()
        weight = _biweight(rest * sure) * sure * sure * (shown * self.may[0, 0]).flatten()
        across, down = ((a + b) / 2 for a, b in zip(slopes(self.source), slopes(toned[None, None]), strict=True))
        at = terms_at[..., :count].flatten(0, 1)
        height, width = self.edit.shape[-2:]
        columns = (across.flatten()[:, None] * at * (width / 2), down.flatten()[:, None] * at * (height / 2))
        jacobian = torch.cat((*columns, warped.flatten()[:, None], torch.ones_like(at[:, :1])), dim=1)
        weighted = jacobian * weight[:, None]
        normal, right = ((weighted.T @ part).cpu().double() for part in (jacobian, rest))
        known = _expectation(Size(height, width), count)
        state = (terms - identity())[:, :count].flatten()
        normal[:-2, :-2] += known
        right[:-2] -= known @ state
        normal.diagonal()[-2:] += _PRIOR_PIXELS
        right[-2:] -= _PRIOR_PIXELS * torch.tensor((gain - 1, offset), dtype=right.dtype)
        found = torch.linalg.solve(normal, right)
        return found[:-2].reshape(2, count), gain + float(found[-2]), offset + float(found[-1])


def _expectation(size: Size, count: int) -> Tensor:
    """The normal matrix [2·count, 2·count] of what is expected of an editor's map, in pixels."""
    half = (size.width / 2, size.height / 2)
    rows = torch.zeros(4 + 2 * (count - AFFINE) + 2, 2 * count, dtype=torch.float64)
    rows[0, 1], rows[0, count + 2] = 0.5 / _PRIOR["zoom"], 0.5 / _PRIOR["zoom"]
    rows[1, 2], rows[1, count + 1] = -0.5 * half[0] / half[1] / _PRIOR["zoom"], 0.5 * half[1] / half[0] / _PRIOR["zoom"]
    rows[2, 1], rows[2, count + 2] = 0.5 / _PRIOR["stretch"], -0.5 / _PRIOR["stretch"]
    rows[3, 2], rows[3, count + 1] = (
        0.5 * half[0] / half[1] / _PRIOR["stretch"],
        0.5 * half[1] / half[0] / _PRIOR["stretch"],
    )
    rows[4, 0] = rows[5, count] = 1.0
    for number in range(count - AFFINE):
        rows[6 + 2 * number, AFFINE + number] = rows[7 + 2 * number, count + AFFINE + number] = 1 / _PRIOR["warp"]
    return _PRIOR_PIXELS * rows.T @ rows


def _biweight(ratio: Tensor) -> Tensor:
    """Tukey's weight of a residual over its expected size."""
    return (1 - (ratio / _OUTLIER).square()).clamp_min(0).square()


def _searched(level: _Level) -> Tensor:
    """The best of a lattice of shifts and zooms, by the robust cost on the coarsest level."""
    height, width = level.edit.shape[-2:]
    reach = max(1, round(_REACH * max(height, width)))
    terms_at, best, least = level.basis(), identity(), float("inf")
    for zoom, right, down in product(_ZOOMS, range(-reach, reach + 1), range(-reach, reach + 1)):
        terms = identity() * zoom
        terms[:, 0] += torch.tensor((2 * right / width, 2 * down / height), dtype=terms.dtype)
        cost = level.cost(terms, terms_at, 1.0)
        if cost < least:
            best, least = terms, cost
    return best

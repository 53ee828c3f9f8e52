"""Sizes as values: buckets, snapping, and the way back from the edited size to the source's. Pixels unless `_lat`, `_tok`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .errors import X2EditError

PATCH_PX = 16
"""One token covers 16 × 16 pixels: the autoencoder's 8 times FLUX's 2 × 2 patch."""


@dataclass(frozen=True)
class Size:
    """Height and width in pixels."""

    height: int
    width: int

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise X2EditError(f"A picture of {self.width} × {self.height} pixels was given; both must be at least 1.")

    def __str__(self) -> str:
        return f"{self.width} × {self.height}"

    @property
    def aspect(self) -> float:
        return self.height / self.width

    @property
    def tokens(self) -> int:
        """Tokens of this size once snapped to whole patches."""
        return snap(self.height) * snap(self.width) // PATCH_PX**2


def _with_transposes(*sizes: tuple[int, int]) -> tuple[Size, ...]:
    pairs = dict.fromkeys([*sizes, *((width, height) for height, width in sizes)])
    return tuple(Size(height, width) for height, width in sorted(pairs))


BUCKETS_1024 = _with_transposes(
    (720, 1456), (752, 1392), (784, 1312), (832, 1248), (880, 1184), (944, 1104), (1024, 1024)
)
"""The thirteen sizes of X2Edit's 1024 stage (upstream `custom_dataset_1024.py`)."""

BUCKETS_512 = _with_transposes((352, 720), (368, 688), (384, 656), (416, 624), (432, 592), (464, 560), (512, 512))
"""The same aspects at a quarter of the area. Upstream's 512 stage was trained on 512 × 512 alone."""

MOST_TOKENS = 16_384
"""A picture with what stands beside it in one sequence: more costs hours and memory, and no FLUX.1 was trained on it."""
_TALL, _SQUASHED = 4.0, 1.5
"""From this aspect on a diptych is kept within `MOST_TOKENS`; from this change of aspect on an edit is said to be squashed."""

SizeRule = Literal["1024 buckets", "512 buckets", "keep"]
SIZE_RULES: tuple[SizeRule, ...] = ("1024 buckets", "512 buckets", "keep")


def snap(pixels: int, multiple: int = PATCH_PX) -> int:
    """The nearest multiple, at least one of it; halves go up."""
    return max(multiple, (pixels + multiple // 2) // multiple * multiple)


def nearest_bucket(source: Size, buckets: tuple[Size, ...]) -> Size:
    """The bucket whose aspect differs least, as upstream chooses (`infer.py:74-105`)."""
    return min(buckets, key=lambda bucket: abs(bucket.aspect - source.aspect))


def target_size(source: Size, rule: SizeRule, width: int = 0, height: int = 0) -> Size:
    """The size to edit at. An explicit width and height win; one of them alone keeps the source's aspect."""
    if width or height:
        wide = width or round(height / source.aspect)
        high = height or round(width * source.aspect)
        return Size(snap(high), snap(wide))
    if rule == "keep":
        return Size(snap(source.height), snap(source.width))
    return nearest_bucket(source, BUCKETS_1024 if rule == "1024 buckets" else BUCKETS_512)


@dataclass(frozen=True)
class EditLayout:
    """How a source picture was sized for editing, and so how its edit goes back (X2EDIT_LAYOUT).

    The source is squashed to the target as in upstream's inference, so every pixel has a place on both sides.
    """

    source: Size
    target: Size


Side = Literal["left", "right"]


@dataclass(frozen=True)
class DiptychLayout:
    """How a source stands beside its edit on one canvas of two equal panels (X2EDIT_LAYOUT).

    `side` is the edit's. Split, mask, paste and crop all follow from these three values.
    """

    source: Size
    panel: Size
    side: Side = "right"

    @property
    def canvas(self) -> Size:
        return Size(self.panel.height, 2 * self.panel.width)

    @property
    def edit_columns(self) -> slice:
        return self._columns(self.side == "right")

    @property
    def source_columns(self) -> slice:
        return self._columns(self.side == "left")

    def _columns(self, second: bool) -> slice:
        return slice(second * self.panel.width, (1 + second) * self.panel.width)


def diptych_panel(source: Size, width: int) -> Size:
    """The panel for a source at this width: whole tokens, the height rounded down as ICEdit's pipeline does.

    Upstream scales to the width, cuts the height to a multiple of 8 and then to one of 16; the last cut decides. Here
    as there the picture is squashed to that size, by less than a token.
    """
    wide = snap(width)
    return Size(max(PATCH_PX, source.height * wide // source.width // PATCH_PX * PATCH_PX), wide)


def bounded_panel(source: Size, width: int) -> Size:
    """The panel at this width, or of a very tall picture a narrower one, so that two of them stay within `MOST_TOKENS`."""
    panel = diptych_panel(source, width)
    if panel.aspect <= _TALL or 2 * panel.tokens <= MOST_TOKENS:
        return panel
    room = MOST_TOKENS // 2 * PATCH_PX**2
    narrow = max(PATCH_PX, int((room / source.aspect) ** 0.5) // PATCH_PX * PATCH_PX)
    return Size(min(diptych_panel(source, narrow).height, room // narrow // PATCH_PX * PATCH_PX), narrow)


def doubt_about(layout: EditLayout | DiptychLayout, width: int = 0) -> str:
    """What a person should know about a size before hours are spent on it; empty where nothing is unusual.

    `width` is the one that was asked for a diptych's panel.
    """
    if isinstance(layout, DiptychLayout):
        return _doubt_about_diptych(layout, snap(width))
    source, target = layout.source, layout.target
    if 2 * target.tokens > MOST_TOKENS:
        return (
            f"Editing at {target} takes {2 * target.tokens:,} tokens with the reference; above {MOST_TOKENS:,} it gets very "
            "slow and may not fit into memory. Choose a size of the buckets, or edit a part of the picture."
        )
    ratio = source.aspect / target.aspect
    if max(ratio, 1 / ratio) > _SQUASHED:
        return (
            f"The picture of {source} is squashed to {target}, the nearest size to it: {max(ratio, 1 / ratio):.1f} times in "
            "one direction. Edit a part of it, or choose size keep."
        )
    return ""


def _doubt_about_diptych(layout: DiptychLayout, wide: int) -> str:
    tokens = layout.canvas.tokens
    if layout.panel.width != wide:
        asked = 2 * diptych_panel(layout.source, wide).tokens
        return (
            f"At a width of {wide} the diptych of this very tall picture ({layout.source}) would take {asked:,} tokens; its "
            f"panels are {layout.panel} instead, {tokens:,} tokens. Edit parts of the picture to keep its detail."
        )
    if tokens > MOST_TOKENS:
        return (
            f"The diptych of {layout.canvas} takes {tokens:,} tokens; above {MOST_TOKENS:,} it gets very slow and may not fit "
            "into memory. Choose a smaller width."
        )
    return ""

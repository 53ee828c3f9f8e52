"""The one table of where adapters attach in FLUX; loader, patcher and trainer iterate the same rows.

A site is a Linear of the host's FLUX. Its slots are the columns of that Linear's output that a file's projections
belong to: the released files name q, k and v apart, the host fuses them into one `qkv` or `linear1` (BFL layout).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .errors import X2EditError


@dataclass(frozen=True)
class FluxShape:
    """Width and depth of a FLUX: hidden size, number of double-stream and of single-stream blocks."""

    hidden: int
    double: int
    single: int

    def __post_init__(self) -> None:
        limits = {"hidden": (1, 1 << 16), "double": (0, 512), "single": (0, 512)}
        for name, (least, most) in limits.items():
            value = getattr(self, name)
            if not isinstance(value, int) or not least <= value <= most:
                raise X2EditError(f"FLUX {name} = {value!r} found; a whole number from {least} to {most} was expected.")

    def __str__(self) -> str:
        return f"hidden {self.hidden}, {self.double} double and {self.single} single blocks"


@dataclass(frozen=True)
class Slot:
    """One projection of a site: its key prefix in upstream's file, and its columns in the Linear's output."""

    key: str
    start: int
    width: int


@dataclass(frozen=True)
class Site:
    """A Linear of the host's FLUX that experts attach to.

    `side`: what the experts read: the Linear's `input`, or its `output` (serial, y + MoE(y)). `stream`: tokens that pass
    through it: `image` = target and reference tokens, `all` = text too. Every token that passes is routed.
    """

    module: str
    side: Literal["input", "output"]
    stream: Literal["image", "all"]
    in_width: int
    slots: tuple[Slot, ...]

    @property
    def starts(self) -> tuple[int, ...]:
        return tuple(slot.start for slot in self.slots)


def x2edit_sites(shape: FluxShape) -> tuple[Site, ...]:
    """X2Edit's table: q, k, v and the attention output in double blocks (image stream), q, k, v in single blocks.

    190 slots on 76 Linears at FLUX's own depth (upstream `src/layers.py:291-349`). `proj` reads the output of the
    attention projection, not its input, and single blocks carry no `proj`.
    """
    hidden = shape.hidden
    sites: list[Site] = []
    for block in range(shape.double):
        key, host = f"transformer_blocks.{block}.attn.processor", f"double_blocks.{block}.img_attn"
        qkv = _slots(key, ("q", "k", "v"), hidden)
        sites.append(Site(f"{host}.qkv", "input", "image", hidden, qkv))
        sites.append(Site(f"{host}.proj", "output", "image", hidden, _slots(key, ("proj",), hidden)))
    for block in range(shape.single):
        key = f"single_transformer_blocks.{block}.attn.processor"
        sites.append(
            Site(f"single_blocks.{block}.linear1", "input", "all", hidden, _slots(key, ("q", "k", "v"), hidden))
        )
    return tuple(sites)


SITE_TABLES = {"x2edit": x2edit_sites}
"""Adapter kind → the function that lists its sites for a FLUX of a given shape."""


def sites_for(kind: str, shape: FluxShape) -> tuple[Site, ...]:
    """The sites of an adapter kind; raises `X2EditError` for a kind this version does not know."""
    if kind not in SITE_TABLES:
        raise X2EditError(f"Adapter kind {kind!r} is not known; expected one of: {', '.join(SITE_TABLES)}.")
    return SITE_TABLES[kind](shape)


def _slots(key: str, names: tuple[str, ...], width: int) -> tuple[Slot, ...]:
    return tuple(Slot(f"{key}.{name}_moe_lora", index * width, width) for index, name in enumerate(names))

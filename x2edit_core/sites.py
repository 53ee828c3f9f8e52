"""The one table of where adapters attach in FLUX; loader, patcher and trainer iterate the same rows.

A site is a Linear of the host's FLUX. Its slots are the columns of that Linear's output that a file's projections
belong to: the released files name q, k and v apart, the host fuses them into one `qkv` or `linear1` (BFL layout).
"""

from __future__ import annotations

from collections.abc import Callable
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
    """A Linear of the host's FLUX that low-rank parts attach to; all its slots are of one width.

    `side`: what they read: the Linear's `input`, or its `output` (serial, y + MoE(y)). `stream`: tokens that pass
    through it: `image` = target and reference tokens, `all` = text too, `vector` = the modulation vector alone.
    `routed`: experts chosen token by token; else one plain LoRA. `part` tells sites of the same Linear apart.
    """

    module: str
    side: Literal["input", "output"]
    stream: Literal["image", "all", "vector"]
    in_width: int
    slots: tuple[Slot, ...]
    routed: bool = True
    part: str = ""

    @property
    def name(self) -> str:
        """Unlike `module`, different for each site of an adapter."""
        return f"{self.module}.{self.part}" if self.part else self.module

    @property
    def width(self) -> int:
        """Output columns of one slot."""
        return self.slots[0].width

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


FILL_TOKEN_WIDTH = 384
"""What one token of FLUX.1 Fill holds: 2 × 2 pixels of 16 noisy, 16 masked-image and 64 mask channels."""


def icedit_sites(shape: FluxShape, routed: bool = False) -> tuple[Site, ...]:
    """ICEdit's table: every Linear of the image stream and of the single blocks, 343 projections at FLUX's own depth.

    In the MoE file (`routed`) the second MLP layer of double blocks and the output layer of single blocks hold experts,
    57 Linears; the other 286 projections are plain in both files (upstream `train/config/moe_lora.yaml`).
    """
    hidden = shape.hidden
    attention = ("attn.to_q", "attn.to_k", "attn.to_v")
    sites = [_plain("img_in", "image", FILL_TOKEN_WIDTH, "x_embedder", hidden)]
    for block in range(shape.double):
        key, host = f"transformer_blocks.{block}", f"double_blocks.{block}"
        qkv = tuple(Slot(f"{key}.{name}", index * hidden, hidden) for index, name in enumerate(attention))
        sites += [
            _plain(f"{host}.img_mod.lin", "vector", hidden, f"{key}.norm1.linear", 6 * hidden),
            Site(f"{host}.img_attn.qkv", "input", "image", hidden, qkv, routed=False),
            _plain(f"{host}.img_attn.proj", "image", hidden, f"{key}.attn.to_out.0", hidden),
            Site(f"{host}.img_mlp.2", "input", "image", 4 * hidden, (Slot(f"{key}.ff.net.2", 0, hidden),), routed),
        ]
    for block in range(shape.single):
        key, host = f"single_transformer_blocks.{block}", f"single_blocks.{block}"
        qkv = tuple(Slot(f"{key}.{name}", index * hidden, hidden) for index, name in enumerate(attention))
        mlp = (Slot(f"{key}.proj_mlp", 3 * hidden, 4 * hidden),)
        sites += [
            _plain(f"{host}.modulation.lin", "vector", hidden, f"{key}.norm.linear", 3 * hidden),
            Site(f"{host}.linear1", "input", "all", hidden, qkv, routed=False),
            Site(f"{host}.linear1", "input", "all", hidden, mlp, routed=False, part="mlp"),
            Site(f"{host}.linear2", "input", "all", 5 * hidden, (Slot(f"{key}.proj_out", 0, hidden),), routed),
        ]
    return tuple(sites)


def icedit_moe_sites(shape: FluxShape) -> tuple[Site, ...]:
    """`icedit_sites` with its 57 routed Linears."""
    return icedit_sites(shape, routed=True)


SITE_TABLES: dict[str, Callable[[FluxShape], tuple[Site, ...]]] = {
    "x2edit": x2edit_sites,
    "icedit": icedit_sites,
    "icedit_moe": icedit_moe_sites,
}
"""Adapter kind → the function that lists its sites for a FLUX of a given shape."""


def sites_for(kind: str, shape: FluxShape) -> tuple[Site, ...]:
    """The sites of an adapter kind; raises `X2EditError` for a kind this version does not know."""
    if kind not in SITE_TABLES:
        raise X2EditError(f"Adapter kind {kind!r} is not known; expected one of: {', '.join(SITE_TABLES)}.")
    return SITE_TABLES[kind](shape)


def read_outputs(shape: FluxShape) -> frozenset[str]:
    """Modules whose output some kind of adapter reads; what another adds there must not be in it by then."""
    tables = (sites(shape) for sites in SITE_TABLES.values())
    return frozenset(site.module for table in tables for site in table if site.side == "output")


def _plain(module: str, stream: Literal["image", "vector"], in_width: int, key: str, width: int) -> Site:
    return Site(module, "input", stream, in_width, (Slot(key, 0, width),), routed=False)


def _slots(key: str, names: tuple[str, ...], width: int) -> tuple[Slot, ...]:
    return tuple(Slot(f"{key}.{name}_moe_lora", index * width, width) for index, name in enumerate(names))

"""FLUX.1: where adapters attach in it; loader, patcher and trainer iterate the same rows.

The host fuses q, k and v of a block into one `qkv`, or with the MLP into one `linear1` (BFL layout).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ..shift import FLUX_SCHEDULE
from .family import Family, require_whole
from .sites import AttentionSite, Site, Slot


@dataclass(frozen=True)
class FluxShape:
    """Width and depth of a FLUX: hidden size, number of double-stream and of single-stream blocks."""

    hidden: int
    double: int
    single: int

    def __post_init__(self) -> None:
        require_whole("FLUX", self, {"hidden": (1, 1 << 16), "double": (0, 512), "single": (0, 512)})

    def __str__(self) -> str:
        return f"hidden {self.hidden}, {self.double} double and {self.single} single blocks"


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


HEAD_WIDTH = 128
"""Of every attention head of FLUX.1, whatever its hidden size."""


def attention_sites(shape: FluxShape) -> tuple[AttentionSite, ...]:
    """Every attention in the order of its blocks, double ones first; there of the image stream."""
    double = (f"double_blocks.{block}" for block in range(shape.double))
    single = (f"single_blocks.{block}" for block in range(shape.single))
    return (
        *(AttentionSite(block, f"{block}.img_attn.norm", f"{block}.img_attn.proj", "image") for block in double),
        *(AttentionSite(block, f"{block}.norm", f"{block}.linear2", "all") for block in single),
    )


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


def _plain(module: str, stream: Literal["image", "vector"], in_width: int, key: str, width: int) -> Site:
    return Site(module, "input", stream, in_width, (Slot(key, 0, width),), routed=False)


def _slots(key: str, names: tuple[str, ...], width: int) -> tuple[Slot, ...]:
    return tuple(Slot(f"{key}.{name}_moe_lora", index * width, width) for index, name in enumerate(names))


def _looks_like(module: Any) -> bool:
    """Whether a module has FLUX.1's blocks: modulation of their own, which FLUX.2's lack, and a pooled text."""
    parts = ("double_blocks", "single_blocks", "img_in", "time_in", "vector_in")
    return all(hasattr(module, part) for part in parts) and not module.params.global_modulation


def _shape_of(module: Any) -> FluxShape:
    return FluxShape(module.hidden_size, len(module.double_blocks), len(module.single_blocks))


FLUX1 = Family(
    name="flux1",
    title="FLUX.1",
    models="a FLUX.1 dev, Krea, schnell, shuttle or Fill model",
    shape=FluxShape,
    tables={"x2edit": x2edit_sites, "icedit": icedit_sites, "icedit_moe": icedit_moe_sites},
    looks_like=_looks_like,
    shape_of=_shape_of,
    schedule=FLUX_SCHEDULE,
    row_offsets=True,
)

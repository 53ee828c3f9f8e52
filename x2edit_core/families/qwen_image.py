"""Qwen-Image: where X2Edit's adapter for it attaches. Its layers are the host's by name; nothing is fused.

Upstream `src/layers_qwen.py:273-275`: experts on q, k and v of the image stream alone. `proj` lies in the released file as
well and is never applied there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..shift import Schedule
from .family import Family, require_whole
from .sites import Site, Slot


@dataclass(frozen=True)
class QwenShape:
    """Width and depth of a Qwen-Image: hidden size and number of blocks."""

    hidden: int
    blocks: int

    def __post_init__(self) -> None:
        require_whole("Qwen-Image", self, {"hidden": (1, 1 << 16), "blocks": (1, 512)})

    def __str__(self) -> str:
        return f"hidden {self.hidden} and {self.blocks} blocks"


def x2edit_sites(shape: QwenShape) -> tuple[Site, ...]:
    """X2Edit's table: q, k and v of every block, three Linears that read the same tokens; 180 slots at its own depth."""
    return tuple(
        Site(
            f"transformer_blocks.{block}.attn.to_{name}",
            "input",
            "image",
            shape.hidden,
            (Slot(_key(block, name), 0, shape.hidden),),
        )
        for block in range(shape.blocks)
        for name in ("q", "k", "v")
    )


def stored_slots(shape: QwenShape) -> tuple[Slot, ...]:
    """What the released file holds beside the sites: experts on the attention's output, which nobody applies."""
    return tuple(Slot(_key(block, "proj"), 0, shape.hidden) for block in range(shape.blocks))


def _key(block: int, projection: str) -> str:
    return f"transformer_blocks.{block}.attn.processor.{projection}_moe_lora"


def _looks_like(module: Any) -> bool:
    parts = ("transformer_blocks", "txt_norm", "time_text_embed", "pe_embedder")
    return all(hasattr(module, part) for part in parts) and len(module.transformer_blocks) > 0


def _shape_of(module: Any) -> QwenShape:
    return QwenShape(module.inner_dim, len(module.transformer_blocks))


QWEN_IMAGE = Family(
    name="qwen_image",
    title="Qwen-Image",
    models="a Qwen-Image model",
    shape=QwenShape,
    tables={"x2edit": x2edit_sites},
    looks_like=_looks_like,
    shape_of=_shape_of,
    schedule=Schedule(256, 0.5, 8192, 0.9, terminal=0.02),
)

"""What an adapter attaches to: a Linear of the host's model, and the columns of its output that a file's projections own.

The released files name q, k and v apart; where the host fuses them into one Linear they are slots of one site.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Slot:
    """One projection of a site: its key prefix in upstream's file, and its columns in the Linear's output."""

    key: str
    start: int
    width: int


@dataclass(frozen=True)
class Site:
    """A Linear of the host's model that low-rank parts attach to; all its slots are of one width.

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


@dataclass(frozen=True)
class AttentionSite:
    """One of a model's attentions, as a second stream reads and adds to it.

    `query` is the module whose first result is the normed query [B, H, T, D] before positions; the attention's output is
    the first H·D columns of what `sink` is given. `block` gives the image tokens first. `stream` as of a `Site`.
    """

    block: str
    query: str
    sink: str
    stream: Literal["image", "all"]

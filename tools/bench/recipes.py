"""How X2Edit's adapter, full size (12 experts of rank 64 at all sites), is trained on cards of several sizes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

HIDDEN, DEPTH, CONTEXT, POOLED = 3072, (19, 38), 4096, 768
"""FLUX.1's own size."""
_LEAN = {"state": "bfloat16", "moments": "8bit", "fused_backward": True, "clip": 0.0}


@dataclass(frozen=True)
class Recipe:
    """A card of `card` GiB, the side of pictures in pixels, and what differs from the defaults."""

    card: int
    pixels: int
    model: dict[str, Any] = field(default_factory=dict)
    optim: dict[str, Any] = field(default_factory=dict)
    batch: int = 1

    @property
    def name(self) -> str:
        return f"{self.card} GB, {self.pixels} px" + (f", batch {self.batch}" if self.batch > 1 else "")

    @property
    def words(self) -> str:
        """The entries of a configuration."""
        tables = {"model": self.model, "optim": self.optim}
        entries = [
            f"{table}.{name} = {_toml(value)}" for table, found in tables.items() for name, value in found.items()
        ]
        return ", ".join(entries) or "the defaults"

    def config(self, size: int | None = None, **adapter: int) -> Any:
        from x2edit_core.train.config import parse_config

        return parse_config(
            {
                "kind": "x2edit",
                "output": "run",
                "steps": 1,
                "batch": self.batch,
                "model": {"base": "flux", "gradient_checkpointing": True, **self.model},
                "data": {"kind": "folder", "path": "pairs", "size": size or self.pixels},
                "optim": self.optim,
                "adapter": adapter,
            }
        )


RECIPES = (
    Recipe(12, 512, {"weights": "fp8", "offload": True}, _LEAN),
    Recipe(12, 1024, {"weights": "fp8", "offload": True, "offload_checkpoints": True}, _LEAN),
    Recipe(16, 512, {"weights": "nf4"}, _LEAN),
    Recipe(16, 1024, {"weights": "fp8", "offload": True}, _LEAN),
    Recipe(24, 512, {"weights": "fp8"}, _LEAN),
    Recipe(24, 1024, {"weights": "fp8"}, _LEAN),
    Recipe(24, 1024, {"weights": "int8"}, _LEAN),
    Recipe(48, 512, {}, {}, 4),
    Recipe(48, 1024),
    Recipe(80, 1024, {}, {}, 8),
)


def _toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else f"{value:g}"

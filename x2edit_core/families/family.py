"""A model family as one value: how its models are known, their width and depth, and where adapters attach in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import X2EditError
from ..shift import Spread
from .sites import Site


class Shape(Protocol):
    """Width and depth of a model; each family has a dataclass of its own for it, which says them in words."""

    @property
    def hidden(self) -> int: ...


@dataclass(frozen=True)
class Family:
    """What the core knows of a kind of model. Nothing of the host is needed: models are recognised by their parts.

    `name` stands in this project's own files, `title` and `models` in messages. `tables` give the sites of an adapter
    kind for a `shape`. `looks_like` and `shape_of` read a model's module tree. `schedule`: its pipelines' sigmas.
    `channels` of its latents, each of which stands for `latent_px` pixels a side. `row_offsets`: whether references stand
    in the target's own frame, rows further down.
    """

    name: str
    title: str
    models: str
    shape: type[Any]
    tables: Mapping[str, Callable[[Any], tuple[Site, ...]]]
    looks_like: Callable[[Any], bool]
    shape_of: Callable[[Any], Shape]
    schedule: Spread
    channels: int = 16
    latent_px: int = 8
    row_offsets: bool = False

    def sites(self, kind: str, shape: Shape) -> tuple[Site, ...]:
        """The sites of an adapter kind; raises `X2EditError` for a kind that this family does not have."""
        if kind not in self.tables:
            raise X2EditError(
                f"Adapter kind {kind!r} is not known for {self.title}; expected one of: {', '.join(self.tables)}."
            )
        return self.tables[kind](shape)

    def read_outputs(self, shape: Shape) -> frozenset[str]:
        """Modules whose output some kind of adapter reads; what another adds there must not be in it by then."""
        tables = (sites(shape) for sites in self.tables.values())
        return frozenset(site.module for table in tables for site in table if site.side == "output")


def require_whole(title: str, shape: Any, limits: Mapping[str, tuple[int, int]]) -> None:
    """Raise `X2EditError` unless each named field of a shape is a whole number within its limits."""
    for name, (least, most) in limits.items():
        value = getattr(shape, name)
        if not isinstance(value, int) or not least <= value <= most:
            raise X2EditError(f"{title} {name} = {value!r} found; a whole number from {least} to {most} was expected.")

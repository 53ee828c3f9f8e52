"""Random choices that are the same on every machine and in every version: only `random.random` is drawn from."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal, TypeVar

Split = Literal["train", "heldout"]
Language = Literal["en", "zh"]
Choice = TypeVar("Choice")

GRID = 256
"""Items stand on grid columns: even ones in training scenes, odd ones in held-out scenes, so no scene is in both."""


class Draw:
    """A stream of choices for one case; equal arguments give equal streams."""

    def __init__(self, seed: int, split: Split, purpose: str) -> None:
        self.split: Split = split
        self._random = random.Random(f"{split}/{purpose}/{seed}")

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self._random.random()

    def integer(self, count: int) -> int:
        """0 … count − 1."""
        return int(self._random.random() * count)

    def chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def choice(self, options: Sequence[Choice]) -> Choice:
        return options[self.integer(len(options))]

    def sample(self, options: Sequence[Choice], count: int) -> list[Choice]:
        """`count` different entries in random order."""
        left = list(options)
        return [left.pop(self.integer(len(left))) for _ in range(count)]

    def column(self, low: float, high: float) -> float:
        """An x coordinate on a grid column of this split, between `low` and `high`."""
        return column(self.uniform(low, high), self.split)


def column(x: float, split: Split) -> float:
    """The grid column of `split` nearest to `x`."""
    odd = int(split == "heldout")
    return (2 * round((x * GRID - odd) / 2) + odd) / GRID

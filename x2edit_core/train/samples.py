"""Edits before and after encoding, and where encoded ones come from.

Pictures are uint8 [H, W, 3]; latents are in model space, [16, H/8, W/8].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Picture = NDArray[np.uint8]
Mode = Literal["edit", "copy", "picture", "diptych", "diptych_copy"]
MODES: tuple[Mode, ...] = get_args(Mode)
"""What a step teaches: an edit, the source as its own edit, a picture from its caption; and, to a base that learns both
forms, edits and copies as diptychs."""


@dataclass(frozen=True)
class Example:
    """One edit as the network learns it: where it should arrive, what it is shown, what it is told."""

    target: Tensor
    instruction: str
    task: int
    reference: Tensor | None = None
    concat: Tensor | None = None


class PictureEncoder(Protocol):
    """An autoencoder's first half. `fingerprint` changes whenever its latents would."""

    @property
    def fingerprint(self) -> str: ...

    def encode(self, pictures: Tensor) -> Tensor:
        """uint8 [B, H, W, 3] → model-space latents float32 [B, 16, H/8, W/8]."""
        ...


class TextEncoder(Protocol):
    """Texts → context [B, T, C] and pooled [B, P], on the training device; differentiable where it is trained."""

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]: ...


class Pool(Protocol):
    """Encoded examples of one mode, by index. Examples of one bucket have equal shapes."""

    @property
    def tasks(self) -> Sequence[int]: ...

    @property
    def buckets(self) -> Sequence[int]: ...

    def example(self, index: int) -> Example:
        """Raises `SampleError` for a sample that turns out to be broken."""
        ...


@dataclass(frozen=True)
class Batch:
    """Examples of one step's share, stacked, and the noise and σ that they meet."""

    mode: Mode
    target: Tensor
    noise: Tensor
    sigma: Tensor
    instructions: tuple[str, ...]
    tasks: tuple[int, ...]
    reference: Tensor | None = None
    concat: Tensor | None = None

    @property
    def source(self) -> Tensor | None:
        """What the target would be without its edit, if that is known and of the target's size."""
        if self.concat is not None and self.mode != "picture":
            left = self.target[..., : self.target.shape[-1] // 2]
            return torch.cat((left, left), -1)
        same = self.reference is not None and self.reference.shape == self.target.shape
        return self.reference if same else None

    def first(self, rows: int) -> Batch:
        """The first `rows` samples."""
        reference, concat = (None if part is None else part[:rows] for part in (self.reference, self.concat))
        target, noise, sigma = self.target[:rows], self.noise[:rows], self.sigma[:rows]
        return Batch(self.mode, target, noise, sigma, self.instructions[:rows], self.tasks[:rows], reference, concat)

    @classmethod
    def of(cls, mode: Mode, examples: Sequence[Example], noise: Tensor, sigma: Tensor) -> Batch:
        def stacked(parts: Sequence[Tensor | None]) -> Tensor | None:
            kept = [part.float() for part in parts if part is not None]
            return torch.stack(kept) if kept else None

        target = torch.stack([example.target.float() for example in examples])
        return cls(
            mode,
            target,
            noise,
            sigma,
            tuple(example.instruction for example in examples),
            tuple(example.task for example in examples),
            stacked([example.reference for example in examples]),
            stacked([example.concat for example in examples]),
        )

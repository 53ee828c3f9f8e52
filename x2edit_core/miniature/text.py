"""A small text encoder that needs no vocabulary file: words and Chinese characters are hashed into one table.

Each token carries two hashes: the word or character itself, and a context that generalises (a word's stem, a
character with the one before it). A short transformer turns them into FLUX's context and pooled vector.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOTS = 24
"""Context length in tokens; longer texts take the next multiple, so that prompts of one batch rarely differ."""
LONGEST = 20 * SLOTS
STEM = 4
"""Letters of a word that its inflected forms share."""
HEAD = 32
"""Width of an attention head."""

Token = tuple[int, int]
"""Rows of the hash table: the piece itself, and its context."""
PAD: Token = (0, 0)

_PIECES = re.compile(r"[a-z]+|[0-9]|[^\sa-z0-9]")


@dataclass(frozen=True)
class TextConfig:
    """Widths of the outputs (FLUX's `context_in_dim` and `vec_in_dim`) and of the encoder itself."""

    context_width: int
    pooled_width: int
    width: int = 192
    layers: int = 2
    table: int = 4096

    @classmethod
    def of(cls, weights: dict[str, Tensor]) -> TextConfig:
        """The configuration a state dict of `TextEncoder` was made with, read from its shapes."""
        table, width = weights["embedding.weight"].shape
        layers = sum(name.endswith(".qkv.weight") for name in weights)
        outputs = (weights[f"{name}.weight"].shape[0] for name in ("context", "pooled"))
        return cls(*outputs, width=width, layers=layers, table=table)


def pieces(text: str) -> list[str]:
    """Lower-case words, single digits, and every other visible character by itself."""
    return _PIECES.findall(text.lower())


def tokenize(text: str, table: int = TextConfig.table) -> list[Token]:
    """One token per piece, not padded, at most `LONGEST`."""
    found = pieces(text)[:LONGEST]
    before = ["", *found]
    return [
        (_row(piece, table), _row(_context(piece, last), table)) for piece, last in zip(found, before, strict=False)
    ]


def pad(tokens: list[Token]) -> list[Token]:
    """Padded to the next multiple of `SLOTS`, at least one."""
    length = SLOTS * max(1, math.ceil(len(tokens) / SLOTS))
    return tokens + [PAD] * (length - len(tokens))


def batch(texts: Sequence[str], table: int = TextConfig.table) -> Tensor:
    """The encoder's input for several texts, [B, T, 2]: all padded like the longest."""
    rows = [tokenize(text, table) for text in texts]
    length = len(pad(max(rows, key=len)))
    return torch.tensor([row + [PAD] * (length - len(row)) for row in rows])


def _context(piece: str, last: str) -> str:
    return f"{piece[:STEM]}-" if piece[0].isascii() else f"{last}+{piece}"


def _row(name: str, table: int) -> int:
    return 1 + zlib.crc32(name.encode()) % (table - 1)


class TextEncoder(nn.Module):
    """Tokens [B, T, 2] → context [B, T, context_width] of unit variance and pooled [B, pooled_width]."""

    def __init__(self, config: TextConfig, operations: ModuleType | type[Any] = nn) -> None:
        super().__init__()
        self.config = config
        self.embedding = operations.Embedding(config.table, config.width)
        self.blocks = nn.ModuleList(_Block(config.width, operations) for _ in range(config.layers))
        self.norm = operations.LayerNorm(config.width)
        self.context = operations.Linear(config.width, config.context_width)
        self.pooled = operations.Linear(config.width, config.pooled_width)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        x = self.embedding(tokens).sum(-2)
        x = x + _positions(x)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        said = (tokens[..., :1] != 0).to(x.dtype)
        mean = (x * said).sum(-2) / said.sum(-2).clamp(min=1)
        return self.context(x), self.pooled(mean)


class _Block(nn.Module):
    """A pre-norm transformer layer without biases in its attention."""

    def __init__(self, width: int, operations: ModuleType | type[Any]) -> None:
        super().__init__()
        self.norm1 = operations.LayerNorm(width)
        self.qkv = operations.Linear(width, 3 * width, bias=False)
        self.out = operations.Linear(width, width, bias=False)
        self.norm2 = operations.LayerNorm(width)
        self.up = operations.Linear(width, 4 * width)
        self.down = operations.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, -1, HEAD)).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


def _positions(x: Tensor) -> Tensor:
    """Sines and cosines of the token index, [T, width], so that any length has a position."""
    length, width = x.shape[-2:]
    rate = torch.exp(-math.log(1000.0) * torch.arange(width // 2, device=x.device) / (width // 2))
    angle = torch.arange(length, device=x.device)[:, None] * rate
    return torch.cat((angle.sin(), angle.cos()), -1).to(x.dtype)


def initial_weights(config: TextConfig, seed: int) -> dict[str, Tensor]:
    """A state dict drawn from `seed` alone: weights by fan-in, norms at identity, biases zero, embedding at unit scale.

    The rows of the embedding's padding entry are zero.
    """
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in TextEncoder(config).state_dict().items()}
    generator = torch.Generator().manual_seed(seed)
    weights = {name: _initial(name, shape, generator) for name, shape in shapes.items()}
    weights["embedding.weight"][0] = 0
    return weights


def _initial(name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
    if len(shape) == 1:
        return torch.ones(shape) if "norm" in name and name.endswith("weight") else torch.zeros(shape)
    drawn = torch.randn(shape, generator=generator)
    return drawn / math.sqrt(2 if name.startswith("embedding") else shape[1])

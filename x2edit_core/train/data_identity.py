"""Whether a run that goes on learns from what it began with: the samples are compared, not the paths to them.

A sample is known by its words, task and bucket, and by means of its latents over four quarters. An autoencoder that
encodes the same picture again on a GPU differs in the last bits; another picture differs by far more than `TOLERANCE`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .batches import SampleError
from .samples import Example, Mode, Pool

MOST = 2048
"""Samples of one mode whose latents are compared, spread evenly; words, tasks and buckets are compared of all."""
TOLERANCE = 0.1
"""Between means of latents, whose channels have about unit variance."""
_CHANNELS = 16


def identify(pools: Mapping[Mode, Pool]) -> dict[str, dict[str, Any]]:
    """What `changes` compares, as plain values and tensors that a state can hold."""
    return {mode: _identified(pool) for mode, pool in pools.items()}


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """How the data of a run has changed, one line a mode; empty where it has not, or where a state does not say."""
    found = {mode: _changed(before[mode], now[mode]) for mode in now if mode in before}
    return [f"{mode}: {text}" for mode, text in found.items() if text]


def _identified(pool: Pool) -> dict[str, Any]:
    count = len(pool.tasks)
    step = -(-count // MOST)
    words = getattr(pool, "words", None) or [""] * count
    told = [f"{word}\n{task}\n{bucket}" for word, task, bucket in zip(words, pool.tasks, pool.buckets, strict=True)]
    digests = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16] for text in told]
    latents = [_summary(pool, index) for index in range(0, count, step)]
    width = max(map(len, latents))
    rows = torch.stack([functional.pad(row, (0, width - len(row)), value=torch.nan) for row in latents])
    return {"count": count, "told": digests, "latents": rows.half()}


def _summary(pool: Pool, index: int) -> Tensor:
    try:
        example: Example = pool.example(index)
    except SampleError:
        return torch.full((1,), torch.nan)
    parts = [example.target, *(part for part in (example.reference, example.concat) if part is not None)]
    return torch.cat([functional.adaptive_avg_pool2d(part[:_CHANNELS].float(), 2).flatten() for part in parts])


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    if before["count"] != now["count"]:
        return f"{before['count']} samples then, {now['count']} now"
    if before["told"] != now["told"]:
        told = sum(a != b for a, b in zip(before["told"], now["told"], strict=True))
        same = sorted(before["told"]) == sorted(now["told"])
        return "the same samples in another order" if same else f"{told} samples have other words, tasks or sizes"
    old, new = before["latents"].float(), now["latents"].float()
    if old.shape != new.shape:
        return "its pictures are encoded otherwise"
    apart = ((old - new).abs() > TOLERANCE) | (old.isnan() != new.isnan())
    pictures = int(apart.any(1).sum())
    return f"{pictures} of {len(new)} compared samples have other pictures" if pictures else ""

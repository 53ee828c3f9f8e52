"""What a run is about to do, in a few lines, before its first step: what it learns from, and how."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ..data.summary import DataSummary
from ..tasks import Task
from .batches import Batches, SampleError
from .config import TrainConfig
from .forms import pixels_of
from .samples import Mode, Pool

_SHOWN_SIZES = 6


def summary_lines(config: TrainConfig, batches: Batches, true_rate: float) -> list[str]:
    """Samples, sizes and tasks of each mode, steps an epoch, optimiser and the rate as it takes effect at first."""
    lines = [line for mode, pool in batches.pools.items() for line in _pool_lines(mode, pool)]
    lines += _epoch_lines(config, batches)
    optim = config.optim
    found = f", which prodigy begins at {true_rate:.3g} and adapts" if optim.name == "prodigy" else ""
    lines.append(f"{optim.name}, rate {optim.rate:g}{found}; batch {config.batch} × {config.accumulate}")
    return lines + warnings(config, batches.pools)


def warnings(config: TrainConfig, pools: Mapping[Mode, Pool]) -> list[str]:
    """Settings that are possible and cannot do what they are for."""
    found = []
    if config.loss.contrast and "edit" in pools and not _can_pair(config, pools["edit"]):
        found.append(
            f"loss.contrast = {config.loss.contrast:g} teaches nothing here: it compares samples of one task in a batch, and "
            f"no batch of {config.batch} can hold two. Take a larger batch, or set it to 0"
        )
    if config.optim.warmup >= config.steps:
        found.append(
            f"optim.warmup = {config.optim.warmup} is no shorter than the run: the rate never reaches its height"
        )
    if config.optim.name != "prodigy" and config.optim.rate > 0.1:
        found.append(
            f"optim.rate = {config.optim.rate:g} suits prodigy; {config.optim.name} rarely bears more than 0.01"
        )
    return [f"Warning: {text}." for text in found]


MINIATURE_SIDE, FLUX_SIDE = 128, 512


def unsuited(config: TrainConfig, miniature: bool) -> list[str]:
    """Settings that fit a base of the other size: those of full size and the miniatures have little in common."""
    found = []
    adamw = config.optim.name == "adamw"
    if miniature and config.data.size > 2 * MINIATURE_SIDE:
        found.append(
            f"size = {config.data.size} on a miniature, which was made for {MINIATURE_SIDE} px: set size = 128"
        )
    if miniature and adamw and config.optim.rate < 5e-4:
        found.append(f"a rate of {config.optim.rate:g} suits a base of full size; a miniature learns at 0.001 to 0.002")
    if miniature and config.adapter.rank > 48:
        found.append(f"rank = {config.adapter.rank} is a quarter of a miniature's width or more: 16 is plenty")
    if not miniature and config.data.size < FLUX_SIDE // 2:
        found.append(
            f"size = {config.data.size} on a base of full size, which was made for 512 and 1024 px: set size = 512"
        )
    if not miniature and adamw and config.optim.rate >= 1e-3:
        found.append(f"a rate of {config.optim.rate:g} suits a miniature; a base of full size bears about 0.0001")
    return [f"Warning: {text}." for text in found]


def _can_pair(config: TrainConfig, pool: Pool) -> bool:
    pairs = Counter(zip(pool.buckets, pool.tasks, strict=True))
    return config.batch > 1 and (bool(config.data.tasks) or max(pairs.values()) > 1)


def _pool_lines(mode: Mode, pool: Pool) -> list[str]:
    """What a pool says of its data, once for the modes that share it; else what its samples show."""
    summary: DataSummary | None = getattr(pool, "summary", None)
    if summary is None or not summary.buckets:
        return [_pool_line(mode, pool)]
    return summary.lines() if mode == "edit" else [f"{mode}: the same data"]


def _pool_line(mode: Mode, pool: Pool) -> str:
    tasks = Counter(Task.from_id(task).english for task in pool.tasks)
    told = ", ".join(f"{name} {count}" for name, count in tasks.most_common())
    return f"{mode}: {len(pool.tasks)} samples, {_sizes(pool)}; tasks: {told}"


def _sizes(pool: Pool) -> str:
    """Width × height in pixels of each bucket with its samples, the fullest first; a diptych is as wide as two panels."""
    buckets = Counter(pool.buckets)
    first: dict[int, int] = {}
    for index, bucket in enumerate(pool.buckets):
        first.setdefault(bucket, index)
    shown = [f"{_side(pool, first[bucket])} ({count})" for bucket, count in buckets.most_common(_SHOWN_SIZES)]
    more = f" and {len(buckets) - _SHOWN_SIZES} more" if len(buckets) > _SHOWN_SIZES else ""
    return f"{len(buckets)} size{'s' * (len(buckets) > 1)}: {', '.join(shown)}{more}"


def _side(pool: Pool, index: int) -> str:
    try:
        size = pixels_of(pool.example(index).target)
    except SampleError:
        return "unreadable"
    return f"{size.width} × {size.height}"


def _epoch_lines(config: TrainConfig, batches: Batches) -> Sequence[str]:
    whole = sum(config.data.mix[mode] for mode in batches.pools)
    lines = []
    for mode in batches.pools:
        share = config.data.mix[mode]
        per_epoch = batches.per_epoch(mode)
        if per_epoch is None:
            lines.append(f"{mode}: drawn by the weights of tasks, without epochs")
            continue
        steps = per_epoch / config.accumulate * whole / share
        lines.append(f"{mode}: {steps:.4g} steps an epoch, {config.steps / steps:.3g} epochs in {config.steps} steps")
    return lines

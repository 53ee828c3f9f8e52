"""What takes less memory, and with what it does not go together."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .config import TrainConfig


def memory_faults(config: TrainConfig) -> list[str]:
    """Settings that save memory beside others that rule them out, each with what to do."""
    return [*_base_faults(config), *_moment_faults(config), *_fused_faults(config)]


def without_savings(config: TrainConfig) -> TrainConfig:
    """The same run without what changes its memory alone, and none of its numbers."""
    weights = "default" if config.model.weights == "offload" else config.model.weights
    neutral = {"gradient_checkpointing": False, "offload": False, "offload_checkpoints": False}
    model = dataclasses.replace(config.model, weights=weights, **neutral)
    return dataclasses.replace(config, model=model, optim=dataclasses.replace(config.optim, fused_backward=False))


def _base_faults(config: TrainConfig) -> list[str]:
    model, faults = config.model, []
    if model.offload and model.weights in ("int8", "nf4"):
        faults.append(
            f"model.offload = true with weights = {model.weights!r}: blocks that visit the device are plain or in fp8. Set "
            "weights to fp8, or offload to false"
        )
    if model.offload_checkpoints and model.gradient_checkpointing is False:
        faults.append(
            "model.offload_checkpoints = true moves what gradient_checkpointing keeps, which is false: set that to true"
        )
    return faults


def _moment_faults(config: TrainConfig) -> list[str]:
    if config.optim.moments == "8bit" and config.optim.name != "adamw":
        return [f"optim.moments = '8bit' is for adamw; {config.optim.name} keeps its own: set moments to state"]
    return []


def _fused_faults(config: TrainConfig) -> list[str]:
    """What needs the gradients of all weights, batches or processes at once."""
    optim = config.optim
    if not optim.fused_backward:
        return []
    needs = {
        f"optim.clip = {optim.clip:g} limits the norm of all gradients together: set it to 0": optim.clip > 0,
        f"accumulate = {config.accumulate} averages the gradients of several batches: set it to 1": config.accumulate
        > 1,
        f"optim.name = {optim.name!r} looks at all weights together: take adamw": optim.name != "adamw",
    }
    return [f"optim.fused_backward = true frees each gradient at once. {why}" for why, found in needs.items() if found]

"""What makes a run the same run: all that must be equal for it to go on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ..errors import X2EditError
from ..settings import parse_toml, to_toml
from .config import GoOn, OptimConfig, TrainConfig, ValidationConfig, parse_config
from .leaner import without_savings
from .records import CONFIG_FILE

_FREE = ("steps", "save_every", "keep", "log_every", "sample_every", "sample_steps", "tensorboard", "device", "output",
         "shard", "go_on", "save_minutes")  # fmt: skip
_RATES = ("rate", "warmup", "final")


def identity_of(config: TrainConfig) -> str:
    """What must be equal for a run to go on: all that shapes its steps, and not what shapes its memory alone.

    Not where its data lies: the samples themselves are compared, see `data_identity`.
    """
    default: dict[str, Any] = {item.name: item.default for item in dataclasses.fields(TrainConfig)}
    data = dataclasses.replace(config.data, path="data", cache="", workers=0)
    config = without_savings(config)
    adapter = dataclasses.replace(config.adapter, start="")
    free = {name: default[name] for name in _FREE if default[name] is not dataclasses.MISSING}
    judged = ValidationConfig(share=config.validation.share)
    parts = {"data": data, "adapter": adapter, "validation": judged}
    return to_toml(dataclasses.replace(config, **parts, **{**free, "steps": 1, "output": "run"}))


def relaxed(identity: str, go_on: GoOn) -> str:
    """A run's identity without what may differ where it goes on."""
    if go_on == "same":
        return identity
    try:
        config = parse_config(parse_toml(identity, Path(CONFIG_FILE)))
    except X2EditError:
        return identity
    fresh = OptimConfig()
    rates = dataclasses.replace(config.optim, **{name: getattr(fresh, name) for name in _RATES})
    if config.optim.name == "prodigy":
        rates = dataclasses.replace(rates, rate=1.0)
    return identity_of(dataclasses.replace(config, optim=fresh if go_on == "fresh" else rates))


def renewed(saved: str) -> str:
    """A saved identity with entries that are newer than it at their defaults."""
    try:
        return identity_of(parse_config(parse_toml(saved, Path(CONFIG_FILE))))
    except X2EditError:
        return saved

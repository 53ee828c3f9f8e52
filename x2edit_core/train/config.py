"""What a training run is: one TOML file, checked as a whole before anything is loaded, and saved beside the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from ..flow import TimeLaw
from ..settings import ConfigError, parse_settings, read_toml
from .forms import DIPTYCHS
from .parallel import Shard
from .samples import MODES

Kind = Literal["x2edit", "moe", "lora", "icedit", "icedit_moe", "base"]
KINDS: tuple[Kind, ...] = get_args(Kind)
DatasetKind = Literal["scenes", "folder", "jsonl", "webdataset", "magicbrush", "omniedit"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class ModelConfig:
    """What is trained on.

    `base`: a FLUX file, or `demo:x2edit` / `demo:fill`; for kind `base` the file to start from, empty for random
    weights. `clip` lists text encoder files (CLIP-L and T5), or names one embedded encoder's file, or `demo` for the
    shipped one; `vae` is a file or `demo`. `weights` holds an adapter's base as it is, in 8 bits, or in host memory, from
    where block after block visits the device. `train_text` trains the embedded text encoder along with a base.
    `alignnet` is a file of AlignNet, or `new` for random weights: texts then go through it and the Qwen2.5-VL that `clip`
    names. `train_alignnet` trains it along with an adapter, the first stage of X2Edit's recipe.
    """

    base: str = ""
    clip: list[str] = field(default_factory=lambda: ["demo"])
    vae: str = "demo"
    precision: Precision = "bfloat16"
    weights: Literal["default", "fp8", "offload"] = "default"
    gradient_checkpointing: bool = False
    guidance: float = 1.0
    train_text: bool = False
    alignnet: str = ""
    train_alignnet: bool = False


@dataclass(frozen=True)
class FluxConfig:
    """Size of a new FLUX (kind `base`). `hidden` is a multiple of 128; `fill` adds FLUX Fill's input channels."""

    hidden: int = 256
    double: int = 2
    single: int = 4
    context: int = 192
    pooled: int = 192
    guidance: bool = False
    fill: bool = False


@dataclass(frozen=True)
class AdapterConfig:
    """A new adapter. `alpha` 0 means the rank, so that the scale is 1; `plain_rank` is for ICEdit's plain sites."""

    experts: int = 12
    rank: int = 64
    top_k: int = 2
    shared: bool = True
    alpha: float = 0.0
    plain_rank: int = 0
    offset_512: int = 64
    offset_1024: int = 128


@dataclass(frozen=True)
class DataConfig:
    """What is learnt from.

    `mix`: shares of `edit`, `copy` (the source as its own edit), `picture` (text to image), and for a base with FLUX
    Fill's channels also of `diptych` and `diptych_copy`, the first two side by side in one picture. `size`: side of scenes; for
    other kinds `512` or `1024` chooses the buckets. `tasks`: relative weight by task name, 1 where not named; `{}` takes
    every sample once per epoch. `cache` keeps what is drawn and encoded; empty: beside the run.
    """

    kind: DatasetKind = "scenes"
    path: str = ""
    cache: str = ""
    size: int = 128
    cases: int = 20000
    pictures: int = 4000
    first_seed: int = 0
    language: Literal["any", "en", "zh"] = "any"
    mix: dict[str, float] = field(default_factory=lambda: {"edit": 1.0})
    tasks: dict[str, float] = field(default_factory=dict)
    workers: int = 2
    drop_text: float = 0.0


@dataclass(frozen=True)
class LossConfig:
    """`time_law` and its mean and spread; `edited` is what cells that the edit changes count beyond 1, 0 as upstream;
    `contrast` is λ and `temperature` τ of the task contrast; `balance` the weight of the gate balance, 0 as in the
    released recipe."""

    time_law: TimeLaw = "uniform"
    time_mean: float = 0.0
    time_spread: float = 1.0
    edited: float = 0.0
    contrast: float = 0.0
    temperature: float = 0.5
    balance: float = 0.0


@dataclass(frozen=True)
class OptimConfig:
    """`muon` orthogonalises the momentum of the matrices within blocks and leaves the rest to AdamW; it is for bases.
    `state`: `float32` master weights and moments, or for AdamW `bfloat16` with stochastic rounding at a third of the
    memory; the average that `ema` keeps is float32 either way.
    `rate` falls along a half cosine to `final` of itself after `warmup` steps; `final` 1 keeps it constant."""

    name: Literal["adamw", "prodigy", "muon"] = "adamw"
    rate: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.999
    decay: float = 1e-4
    clip: float = 1.0
    warmup: int = 0
    final: float = 1.0
    ema: float = 0.0
    state: Precision = "float32"


@dataclass(frozen=True)
class TrainConfig:
    """A run. `steps` are optimiser steps of `accumulate` batches of `batch` samples, over all processes together.

    `shard`: of what each of several processes holds a share only: `none`, what is `trained` with its optimiser's state,
    or `all`, the base's blocks too.
    """

    kind: Kind
    output: str
    steps: int
    batch: int = 1
    accumulate: int = 1
    seed: int = 0
    save_every: int = 500
    keep: int = 2
    log_every: int = 10
    sample_every: int = 0
    sample_steps: int = 12
    tensorboard: bool = False
    device: str = ""
    shard: Shard = "none"
    model: ModelConfig = field(default_factory=ModelConfig)
    flux: FluxConfig = field(default_factory=FluxConfig)
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)

    def __post_init__(self) -> None:
        problems = list(_faults(self))
        if problems:
            raise ConfigError(problems)

    @property
    def folder(self) -> Path:
        return Path(self.output)

    @property
    def cache(self) -> Path:
        return Path(self.data.cache) if self.data.cache else self.folder / "cache"


def _faults(config: TrainConfig) -> list[str]:
    """What is wrong with values that have the right types."""
    least = {"steps": 1, "batch": 1, "accumulate": 1, "save_every": 1, "keep": 1, "log_every": 1, "sample_steps": 1}
    faults = [
        f"{name} = {getattr(config, name)}: at least {low} is needed"
        for name, low in least.items()
        if getattr(config, name) < low
    ]
    if not config.output:
        faults.append("output is empty: name the folder that the run is written to")
    if config.flux.hidden % 128:
        faults.append(
            f"flux.hidden = {config.flux.hidden}: a multiple of 128, the width of an attention head, is needed"
        )
    if unknown := set(config.data.mix) - set(MODES):
        faults.append(f"data.mix names {', '.join(sorted(unknown))}; there are: {', '.join(MODES)}")
    diptychs = [mode for mode in DIPTYCHS if config.data.mix.get(mode)]
    if diptychs and not (config.kind == "base" and config.flux.fill and config.data.kind == "scenes"):
        faults.append(
            f"data.mix.{diptychs[0]} is for kind base with flux.fill = true on scenes; ICEdit's kinds need edit"
        )
    if not sum(config.data.mix.values()) > 0 or min(config.data.mix.values()) < 0:
        faults.append("data.mix needs shares that are not negative, at least one above zero")
    faults += _model_faults(config)
    if config.shard != "none":
        faults += _sharding_faults(config)
    if config.data.kind != "scenes" and not config.data.path:
        faults.append(f"data.path is empty: where does the {config.data.kind} data lie?")
    if config.data.kind != "scenes" and config.data.mix.get("picture"):
        faults.append("data.mix.picture works with kind scenes only")
    if not 0.0 <= config.optim.ema < 1.0:
        faults.append(f"optim.ema = {config.optim.ema}: a value from 0 (off) to below 1 is needed")
    if config.optim.state == "bfloat16" and config.optim.name != "adamw":
        faults.append(
            f"optim.state = 'bfloat16' is for adamw, which rounds at random; {config.optim.name} rounds to nearest and "
            "would lose small steps: choose float32"
        )
    return faults


def _model_faults(config: TrainConfig) -> list[str]:
    model, trains_base = config.model, config.kind == "base"
    found = {
        f"model.base is empty: kind {config.kind} adapts a FLUX that must be named": not trains_base and not model.base,
        f"model.weights = {model.weights!r} is for a base that stays as it is; kind base trains it": trains_base
        and model.weights != "default",
        "model.alignnet is for adapters; kind base has a text encoder of its own": trains_base and bool(model.alignnet),
        "model.train_alignnet needs model.alignnet: a file of AlignNet, or new": model.train_alignnet
        and not model.alignnet,
    }
    return [fault for fault, applies in found.items() if applies]


def _sharding_faults(config: TrainConfig) -> list[str]:
    """What needs all of a tensor, or of the base, in one process."""
    needs = {
        f"optim.name = {config.optim.name!r}": config.optim.name != "adamw",
        f"model.weights = {config.model.weights!r}": config.shard == "all" and config.model.weights != "default",
        f"sample_every = {config.sample_every}": config.sample_every > 0,
    }
    return [f"{entry} does not work with shard = {config.shard!r}" for entry, found in needs.items() if found]


def load_config(path: Path, **overrides: Any) -> TrainConfig:
    """The configuration in a TOML file, with `overrides` of its outermost values; raises `ConfigError`."""
    return parse_config({**read_toml(path), **overrides})


def parse_config(values: Mapping[str, Any]) -> TrainConfig:
    """A configuration from nested dictionaries; raises `ConfigError` with all of its faults."""
    return parse_settings(TrainConfig, values)

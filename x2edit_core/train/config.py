"""What a training run is: one TOML file, checked as a whole before anything is loaded, and saved beside the run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from ..errors import X2EditError
from ..flow import TimeLaw
from ..miniature.lessons import LESSONS
from ..miniature.qwen import HEAD
from ..settings import ConfigError, FilePath, Range, parse_settings, range_faults, read_toml
from ..tasks import TASK_COUNT, Task
from .forms import DIPTYCHS
from .leaner import memory_faults
from .parallel import Shard
from .samples import MODES

Kind = Literal["x2edit", "moe", "lora", "icedit", "icedit_moe", "base"]
KINDS: tuple[Kind, ...] = get_args(Kind)
DatasetKind = Literal["scenes", "folder", "jsonl", "webdataset", "magicbrush", "omniedit"]
Precision = Literal["float32", "bfloat16"]
GoOn = Literal["same", "rates", "fresh"]
Place = Annotated[str, FilePath]
Count = Annotated[int, Range(1, 10**9)]
Share = Annotated[float, Range(0, 1)]
Weight = Annotated[float, Range(0, 10**6)]
DEVICE = re.compile(r"(cpu|(cuda|xpu|mps)(:\d{1,3})?)?")
MOST_BATCHES = 10**8
"""Of a whole run: the kinds of all of them are drawn at its start."""


@dataclass(frozen=True)
class ModelConfig:
    """What is trained on.

    `base`: a model file, or `demo:` and a name of `miniature.BASES`; for kind `base` the file to start from, empty for random
    weights. `clip` lists text encoder files (CLIP-L and T5), or names one embedded encoder's file, or `demo` for the
    shipped one; `vae` is a file or `demo`. `weights` holds an adapter's base as it is, or in 8 or 4 bits; `offload` keeps
    its blocks in host memory, from where one after another visits the device. `gradient_checkpointing` is on by itself for
    a base of FLUX's size; `offload_checkpoints` puts what it keeps into host memory. `train_text` trains the embedded
    text encoder along with a base.
    `alignnet` is a file of AlignNet, or `new` for random weights: texts then go through it and the Qwen2.5-VL that `clip`
    names. `train_alignnet` trains it along with an adapter, the first stage of X2Edit's recipe.
    """

    base: Place = ""
    clip: Annotated[list[str], FilePath] = field(default_factory=lambda: ["demo"])
    vae: Place = "demo"
    precision: Precision = "bfloat16"
    weights: Literal["default", "fp8", "int8", "nf4", "offload"] = "default"
    gradient_checkpointing: Literal["auto", True, False] = "auto"
    guidance: Annotated[float, Range(0, 1000)] = 1.0
    train_text: bool = False
    alignnet: Place = ""
    train_alignnet: bool = False
    offload: bool = False
    offload_checkpoints: bool = False

    @property
    def offloaded(self) -> bool:
        """Whether the base's blocks stay in host memory; `weights = "offload"` says so of one that is not quantised."""
        return self.offload or self.weights == "offload"


@dataclass(frozen=True)
class FluxConfig:
    """Size of a new FLUX (kind `base`). `hidden` is a multiple of 128; `fill` adds FLUX Fill's input channels."""

    hidden: Annotated[int, Range(128, 16384, multiple=128)] = 256
    double: Annotated[int, Range(1, 200)] = 2
    single: Annotated[int, Range(0, 200)] = 4
    context: Annotated[int, Range(1, 65536)] = 192
    pooled: Annotated[int, Range(1, 65536)] = 192
    guidance: bool = False
    fill: bool = False


@dataclass(frozen=True)
class QwenConfig:
    """Size of a new Qwen-Image (kind `base`), instead of a FLUX; 0 blocks: none. It reads the shipped text encoder."""

    blocks: Annotated[int, Range(0, 512)] = 0
    hidden: Annotated[int, Range(HEAD, 16384, multiple=HEAD)] = 128


@dataclass(frozen=True)
class Flux2Config:
    """Size of a new FLUX.2 (kind `base`), instead of a FLUX; 0 double blocks: none. It reads the shipped text encoder."""

    double: Annotated[int, Range(0, 200)] = 0
    single: Annotated[int, Range(0, 200)] = 1
    hidden: Annotated[int, Range(128, 16384, multiple=128)] = 128


@dataclass(frozen=True)
class AdapterConfig:
    """An adapter. `alpha` 0 means the rank, so that the scale is 1; `plain_rank` is for ICEdit's plain sites. `start` is the
    file or folder of an earlier adapter to begin from, whose scale counts where `alpha` is 0.

    On FLUX.2 the host places `references`: `index` at the target's time, `index_timestep_zero` as clean tokens.
    """

    experts: Annotated[int, Range(1, 1024)] = 12
    rank: Annotated[int, Range(1, 16384)] = 64
    top_k: Annotated[int, Range(1, 1024)] = 2
    shared: bool = True
    alpha: Weight = 0.0
    plain_rank: Annotated[int, Range(0, 16384)] = 0
    offset_512: Annotated[int, Range(0, 65536)] = 64
    offset_1024: Annotated[int, Range(0, 65536)] = 128
    references: Literal["index", "index_timestep_zero"] = "index"
    start: Place = ""


@dataclass(frozen=True)
class DataConfig:
    """What is learnt from.

    `mix`: shares of `edit`, `copy` (the source as its own edit), `picture` (text to image), and for a base with FLUX
    Fill's channels also of `diptych` and `diptych_copy`, the first two side by side in one picture. `size`: side of scenes; for
    other kinds `512` or `1024` chooses the buckets. `tasks`: relative weight by task name, 1 where not named; `{}` takes
    every sample once per epoch. `cache` keeps what is drawn and encoded; empty: beside the run. `lesson` names an edit of
    `miniature.lessons` that all scenes show instead of their own.
    """

    kind: DatasetKind = "scenes"
    path: Place = ""
    cache: Place = ""
    size: Annotated[int, Range(16, 8192)] = 128
    cases: Count = 20000
    pictures: Count = 4000
    first_seed: Annotated[int, Range(0, 2**62)] = 0
    language: Literal["any", "en", "zh"] = "any"
    mix: Annotated[dict[str, float], Range(0, 10**6)] = field(default_factory=lambda: {"edit": 1.0})
    tasks: Annotated[dict[str, float], Range(0, 10**6)] = field(default_factory=dict)
    workers: Annotated[int, Range(0, 256)] = 2
    drop_text: Share = 0.0
    lesson: str = ""


@dataclass(frozen=True)
class LossConfig:
    """`time_law` and its mean and spread; `edited` is what cells that the edit changes count beyond 1, 0 as upstream;
    `contrast` is λ and `temperature` τ of the task contrast; `balance` the weight of the gate balance, 0 as in the
    released recipe."""

    time_law: TimeLaw = "uniform"
    time_mean: Annotated[float, Range(-50, 50)] = 0.0
    time_spread: Annotated[float, Range(0, 50)] = 1.0
    edited: Weight = 0.0
    contrast: Weight = 0.0
    temperature: Annotated[float, Range(0, 10**6, above=True)] = 0.5
    balance: Weight = 0.0


@dataclass(frozen=True)
class OptimConfig:
    """`muon` orthogonalises the momentum of the matrices within blocks and leaves the rest to AdamW; it is for bases.
    `state`: `float32` master weights and moments, or for AdamW `bfloat16` with stochastic rounding at a third of the
    memory; the average that `ema` keeps is float32 either way. `moments`: those of AdamW as `state` says, or in 8 bits.
    `fused_backward` moves each weight within backward and frees its gradient.
    `rate` falls along a half cosine to `final` of itself after `warmup` steps; `final` 1 keeps it constant."""

    name: Literal["adamw", "prodigy", "muon"] = "adamw"
    rate: Annotated[float, Range(0, 10, above=True)] = 1e-4
    beta1: Annotated[float, Range(0, 1, below=True)] = 0.9
    beta2: Annotated[float, Range(0, 1, below=True)] = 0.999
    decay: Annotated[float, Range(0, 100)] = 1e-4
    clip: Weight = 1.0
    warmup: Annotated[int, Range(0, 10**9)] = 0
    final: Share = 1.0
    ema: Annotated[float, Range(0, 1, below=True)] = 0.0
    state: Precision = "float32"
    moments: Literal["state", "8bit"] = "state"
    fused_backward: bool = False


@dataclass(frozen=True)
class ValidationConfig:
    """What judges a run on the way. `share` of the edits is held out of learning; every `every` steps up to `samples` of them
    give a loss, at the same noise and σ each time, and `drawn` of them are edited and compared with their targets."""

    share: Annotated[float, Range(0, 0.9)] = 0.0
    every: Count = 200
    samples: Annotated[int, Range(1, 10**6)] = 64
    drawn: Annotated[int, Range(0, 1024)] = 4


@dataclass(frozen=True)
class TrainConfig:
    """A run. `steps` are optimiser steps of `accumulate` batches of `batch` samples, over all processes together.

    `shard`: of what each of several processes holds a share only: `none`, what is `trained` with its optimiser's state,
    or `all`, the base's blocks too. A state is saved every `save_every` steps, and also after `save_minutes`, 0 for never.
    `go_on`: what may differ from the run that lies in the output folder: nothing that shapes its steps (`same`), its rates
    (`rates`), or all of its optimiser, whose moments begin anew then (`fresh`).
    """

    kind: Kind
    output: Place
    steps: Count
    batch: Annotated[int, Range(1, 65536)] = 1
    accumulate: Annotated[int, Range(1, 65536)] = 1
    seed: int = 0
    save_every: Count = 500
    keep: Count = 2
    log_every: Count = 10
    sample_every: Annotated[int, Range(0, 10**9)] = 0
    sample_steps: Annotated[int, Range(1, 10000)] = 12
    tensorboard: bool = False
    device: str = ""
    shard: Shard = "none"
    go_on: GoOn = "same"
    save_minutes: Annotated[float, Range(0, 10**6)] = 10.0
    model: ModelConfig = field(default_factory=ModelConfig)
    flux: FluxConfig = field(default_factory=FluxConfig)
    qwen: QwenConfig = field(default_factory=QwenConfig)
    flux2: Flux2Config = field(default_factory=Flux2Config)
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)

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
    """What is wrong with values that have the right types, each by itself and together."""
    faults = list(range_faults(config))
    if not config.output.strip():
        faults.append("output is empty: name the folder that the run is written to")
    if not DEVICE.fullmatch(config.device):
        faults.append(
            f"device = {config.device!r}; cpu, cuda, xpu or mps was expected, or nothing for ComfyUI's choice"
        )
    if config.steps * config.accumulate > MOST_BATCHES:
        faults.append(
            f"steps · accumulate = {config.steps * config.accumulate}: at most {MOST_BATCHES} batches are possible"
        )
    faults += _data_faults(config)
    faults += _model_faults(config)
    faults += _optimiser_faults(config.optim)
    faults += memory_faults(config)
    if config.validation.share and not config.data.mix.get("edit"):
        faults.append("validation.share holds out edits, and data.mix has none: give it a share of edit, or set 0")
    if config.validation.share and config.kind == "base":
        faults.append("validation.share is for adapters: a base is judged by `tools/dev.py bench scenes`. Set 0")
    if config.shard != "none":
        faults += _sharding_faults(config)
    return faults


def _data_faults(config: TrainConfig) -> list[str]:
    data, faults = config.data, []
    if unknown := set(data.mix) - set(MODES):
        faults.append(f"data.mix names {', '.join(sorted(unknown))}; there are: {', '.join(MODES)}")
    diptychs = [mode for mode in DIPTYCHS if data.mix.get(mode)]
    fill = config.flux.fill and not _other_base(config)
    if diptychs and not (config.kind == "base" and fill and data.kind == "scenes"):
        faults.append(
            f"data.mix.{diptychs[0]} is for kind base with flux.fill = true on scenes; ICEdit's kinds need edit"
        )
    if not sum(data.mix.values()) > 0 or min(data.mix.values()) < 0:
        faults.append("data.mix needs shares that are not negative, at least one above zero")
    if data.kind != "scenes" and not data.path.strip():
        faults.append(f"data.path is empty: where does the {data.kind} data lie?")
    if data.kind != "scenes" and data.mix.get("picture"):
        faults.append("data.mix.picture works with kind scenes only")
    if data.lesson and data.lesson not in LESSONS:
        faults.append(f"data.lesson = {data.lesson!r}; there are: {', '.join(LESSONS)}")
    if data.lesson and data.kind != "scenes":
        faults.append(f"data.lesson = {data.lesson!r} changes scenes; data of kind {data.kind} has edits of its own")
    if data.kind == "scenes" and data.size % 16:
        faults.append(f"data.size = {data.size}: scenes need a multiple of 16, the side of one of FLUX's tokens")
    return faults + _task_faults(data)


def _task_faults(data: DataConfig) -> list[str]:
    known: dict[int, float] = {}
    faults = []
    for name, weight in data.tasks.items():
        try:
            known[Task.from_name(name).id] = weight
        except X2EditError as error:
            faults.append(f"data.tasks: {error}")
    if len(known) == TASK_COUNT and not any(known.values()):
        faults.append("data.tasks gives every task the weight 0: at least one must be above zero")
    return faults


PRODIGY_RATES = Range(0.01, 10)
"""What scales the step size that Prodigy finds: a hundredth of it learns next to nothing for thousands of steps."""


def _optimiser_faults(optim: OptimConfig) -> list[str]:
    faults = []
    if optim.name == "prodigy" and not PRODIGY_RATES.holds(optim.rate):
        faults.append(
            f"optim.rate = {optim.rate} with prodigy, which finds the step size and multiplies it by rate: it would learn "
            "nothing. Set the rate (on the node: learning_rate) to 1"
        )
    if optim.state == "bfloat16" and optim.name != "adamw":
        faults.append(
            f"optim.state = 'bfloat16' is for adamw, which rounds at random; {optim.name} rounds to nearest and "
            "would lose small steps: choose float32"
        )
    return faults


def _other_base(config: TrainConfig) -> str:
    """What kind `base` makes instead of a FLUX.1, if anything."""
    named = {"Qwen-Image": config.qwen.blocks, "FLUX.2": config.flux2.double}
    return " and ".join(title for title, blocks in named.items() if blocks)


def _model_faults(config: TrainConfig) -> list[str]:
    model, trains_base = config.model, config.kind == "base"
    other = _other_base(config)
    found = {
        "model.clip is empty: name the text encoders' files, or demo": not all(
            name.strip() for name in model.clip or [""]
        ),
        "model.vae is empty: name the autoencoder's file, or demo": not model.vae.strip(),
        f"model.base is empty: kind {config.kind} adapts a FLUX that must be named": not trains_base
        and not model.base.strip(),
        f"model.weights = {model.weights!r} is for a base that stays as it is; kind base trains it": trains_base
        and model.weights != "default",
        "model.offload is for a base that stays as it is; kind base trains it": trains_base and model.offload,
        "model.alignnet is for adapters; kind base has a text encoder of its own": trains_base and bool(model.alignnet),
        f"qwen.blocks = {config.qwen.blocks} is for kind base, which makes a new Qwen-Image": bool(config.qwen.blocks)
        and not trains_base,
        f"flux2.double = {config.flux2.double} is for kind base, which makes a new FLUX.2": bool(config.flux2.double)
        and not trains_base,
        "qwen.blocks and flux2.double: one run makes one base": bool(config.qwen.blocks and config.flux2.double),
        f"model.train_text is for a FLUX; a new {other} reads the shipped text encoder as it is": bool(other)
        and model.train_text,
        f"model.precision = {model.precision!r}: a new {other} is trained in float32": bool(other)
        and model.precision != "float32",
        "adapter.start is for adapters; kind base starts from model.base": trains_base and bool(config.adapter.start),
        "model.train_alignnet needs model.alignnet: a file of AlignNet, or new": model.train_alignnet
        and not model.alignnet,
    }
    return [fault for fault, applies in found.items() if applies]


def _sharding_faults(config: TrainConfig) -> list[str]:
    """What needs all of a tensor, or of the base, in one process."""
    needs = {
        f"optim.name = {config.optim.name!r}": config.optim.name != "adamw",
        f"model.weights = {config.model.weights!r}": config.shard == "all" and config.model.weights != "default",
        "model.offload = true": config.shard == "all" and config.model.offload,
        "optim.moments = '8bit'": config.optim.moments == "8bit",
        "optim.fused_backward = true": config.optim.fused_backward,
        f"sample_every = {config.sample_every}": config.sample_every > 0,
        f"validation.share = {config.validation.share:g}": config.validation.share > 0,
    }
    return [f"{entry} does not work with shard = {config.shard!r}" for entry, found in needs.items() if found]


def load_config(path: Path, **overrides: Any) -> TrainConfig:
    """The configuration in a TOML file, with `overrides` of its outermost values; raises `ConfigError`."""
    return parse_config({**read_toml(path), **overrides})


def parse_config(values: Mapping[str, Any]) -> TrainConfig:
    """A configuration from nested dictionaries; raises `ConfigError` with all of its faults.

    Prodigy's rate is 1 where none is given.
    """
    optim = values.get("optim")
    if isinstance(optim, Mapping) and optim.get("name") == "prodigy":
        values = {**values, "optim": {"rate": 1.0, **optim}}
    return parse_settings(TrainConfig, values)

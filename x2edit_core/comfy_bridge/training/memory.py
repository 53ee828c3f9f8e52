"""How much memory a run will need, from the host's own modules without their weights, against what the device has."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ...errors import X2EditError
from ...families import FLUX1, QWEN_IMAGE, family_of
from ...geometry import Size
from ...miniature.text import LONGEST
from ...settings import ConfigError
from ...train.adapters import spec_for
from ...train.aligned import AlignedText
from ...train.batches import SampleError
from ...train.config import TrainConfig
from ...train.disk_data import bucket_sizes
from ...train.forms import MASK_CHANNELS, form_of, pixels_of
from ...train.memory import Footprint, Held, Moments, Plan, Switch, bytes_of, fullest, in_gib, moments_of
from ...train.model import Inputs, Watch
from ...train.quantised import FP8
from ..diptych import T5_TOKENS
from ..host import comfy
from .bases import hollow_flux, hollow_flux2, hollow_qwen
from .checkpointing import wanted
from .hollow import META, base_bytes, hollow, hollow_adapter, network_of_file, pack_blocks, shortened, shorter_spec
from .trainable import PassSettings
from .trainables import TRAINABLE

logger = logging.getLogger(__name__)
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Work:
    """The largest batch of one process: samples, the target's pixels, and text tokens; `world` processes."""

    rows: int
    height: int
    width: int
    text: int
    world: int = 1

    @property
    def words(self) -> str:
        return f"{self.rows} sample{'s' * (self.rows > 1)} of {self.width} × {self.height} pixels and {self.text} text tokens"


def work_of(config: TrainConfig, small_text: bool, world: int = 1) -> Work:
    """The largest batch that a configuration can mean, before any data is looked at."""
    side = config.data.size
    sizes = (Size(side, side),) if config.data.kind == "scenes" else bucket_sizes(side)
    largest = max(sizes, key=lambda size: size.height * size.width)
    panels = 2 if form_of(config.kind) == "diptych" or any("diptych" in mode for mode in config.data.mix) else 1
    tokens = LONGEST if small_text else T5_TOKENS
    rows = max(1, config.batch // world)
    return Work(rows, largest.height, panels * largest.width, tokens, world)


def work_on(config: TrainConfig, pools: Mapping[str, Any], text: Any, world: int) -> Work:
    """The largest batch of a run whose data is there: its largest bucket, its longest text."""
    shapes, texts = [], [""]
    for pool in pools.values():
        first = {bucket: index for index, bucket in reversed(list(enumerate(pool.buckets)))}
        for index in first.values():
            with contextlib.suppress(SampleError):
                example = pool.example(index)
                size = pixels_of(example.target)
                shapes.append((size.height, size.width))
                texts.append(example.instruction)
        texts += [max(words, key=len)] if (words := list(getattr(pool, "words", []))) else []
    height, width = max(shapes, key=math.prod, default=(16, 16))
    if isinstance(text, AlignedText):
        tokens = T5_TOKENS
    else:
        with torch.no_grad():
            tokens = int(text(texts)[0].shape[1])
    return Work(max(1, config.batch // world), height, width, tokens, world)


def planned(config: TrainConfig, network: Any, work: Work, switches: bool = False) -> Plan:
    """The memory of a run whose base is `network`, which may be hollow; with `switches`, what else would help.

    They are looked for in any case where the run does not fit.
    """
    counting = Counting.of(config, network, work)
    device = comfy.model_management.get_torch_device()
    management = comfy.model_management
    asked: tuple[Any, ...] = (management.get_total_memory, management.get_free_memory)
    has, free = (int(ask(device)) for ask in asked)
    needed = counting.footprint()
    remarks = list(counting.remarks(needed))
    others = tuple(counting.switches()) if switches or needed.total > 0.9 * has else ()
    return Plan(needed, work.words, str(device), has, free, others, remarks)


@dataclass(frozen=True)
class Counting:
    """A run to be counted: its configuration, its hollow base and its largest batch."""

    config: TrainConfig
    empty: Any
    work: Work

    @classmethod
    def of(cls, config: TrainConfig, network: Any, work: Work) -> Counting:
        """For a base with or without its weights."""
        return cls(config, hollow(network), work)

    def footprint(self) -> Footprint:
        """What a step of a run on a hollow base holds at its fullest."""
        trains_base = self.config.kind == "base"
        checkpoints = wanted(self.config.model.gradient_checkpointing, self.empty)
        resident, host = (0, 0) if trains_base else base_bytes(self.empty, self.config.model.offloaded)
        trained, short = self._trained()
        blocks = shortened(self.empty)
        settings = PassSettings(
            _DTYPES[self.config.model.precision],
            checkpointing=checkpoints,
            host_checkpoints=self.config.model.offload_checkpoints,
            guidance=self.config.model.guidance,
        )
        if trains_base:
            settings = dataclasses.replace(settings, dtype=torch.float32)
        adapter = None if trains_base else short
        model = TRAINABLE[(family_of(self.empty) or FLUX1).name](self.empty, adapter, settings)
        learnt = [weight for weight in (self.empty if trains_base else short).parameters() if weight.requires_grad]
        weights = [] if trains_base else [*self.empty.parameters(), *self.empty.buffers()]
        stays = self.config.accumulate > 1 or self.work.world > 1
        inputs, watch = self._inputs(), Watch(features=self.config.loss.contrast > 0, gates=True)

        with model.session():
            opened = model.predicting(inputs, watch)
            try:

                def loss() -> torch.Tensor:
                    prediction = opened.__enter__()
                    seen = [item.float().square().mean() for item in prediction.features]
                    return prediction.velocity.square().mean() + sum(seen)

                held = fullest(loss, blocks, weights, learnt, stays, self.config.optim.fused_backward)
            finally:
                opened.__exit__(None, None, None)
        if stays and not trains_base:  # those of the blocks that were left out stay too
            held = held + Held(gradients=sum(map(bytes_of, trained.values())) - sum(map(bytes_of, learnt)))
        return self._whole(trained, resident, host, held)

    def _whole(self, trained: dict[str, torch.Tensor], resident: int, host: int, held: Held) -> Footprint:
        """Backward, or the optimiser's step if that is the fuller one."""
        moments: Moments = moments_of(trained, self.config.optim)
        size = sum(map(bytes_of, trained.values()))
        average = 4 * sum(weight.numel() for weight in trained.values()) if self.config.optim.ema else 0
        held = held + Held(workspace=moments.step if self.config.optim.fused_backward else 0)
        step = Held(gradients=0 if self.config.optim.fused_backward else size, workspace=moments.step)
        moment, most = ("backward", held) if held.total >= step.total else ("the optimiser's step", step)
        return Footprint(resident, size, moments.state, average, most, moment, host)

    def _trained(self) -> tuple[dict[str, torch.Tensor], Any]:
        """All that is trained, by name, and the adapter of a shortened base."""
        if self.config.kind == "base":
            return dict(self.empty.requires_grad_(True).named_parameters()), None
        family = family_of(self.empty)
        assert family is not None, "its kind was known before"
        spec = spec_for(self.config.kind, self.config.adapter, family.shape_of(self.empty), family)
        dtype, aware = _DTYPES[self.config.optim.state], self.config.kind == "x2edit"
        whole = dict(hollow_adapter(spec, aware, dtype).named_parameters())
        return whole, hollow_adapter(shorter_spec(spec), aware, dtype)

    def _inputs(self) -> Inputs:
        """A batch without values."""

        def made(*shape: int) -> torch.Tensor:
            return torch.empty(shape, device=META)

        family = family_of(self.empty) or FLUX1
        context, pooled = (
            (self.empty.txt_norm.weight.shape[0], 0)
            if family is QWEN_IMAGE
            else (self.empty.params.context_in_dim, self.empty.params.vec_in_dim or 0)
        )
        grid = self.work.height // family.latent_px, self.work.width // family.latent_px
        latent = made(self.work.rows, family.channels, *grid)
        diptych = form_of(self.config.kind) == "diptych"
        concat = made(self.work.rows, family.channels + MASK_CHANNELS, *grid) if diptych else None
        texts = made(self.work.rows, self.work.text, context), made(self.work.rows, pooled)
        return Inputs(latent, made(self.work.rows), *texts, (0,) * self.work.rows, () if diptych else (latent,), concat)

    def remarks(self, needed: Footprint) -> Iterator[str]:
        if needed.held.copies > needed.base / 10 and not wanted(self.config.model.gradient_checkpointing, self.empty):
            yield (
                f"This base keeps whole copies of its layers for backward ({in_gib(needed.held.copies)}): set "
                "model.gradient_checkpointing = true, which keeps those of one block."
            )
        if self.config.kind == "base" and self.config.model.precision == "bfloat16":
            yield "Activations are counted in float32; in bfloat16 some take half of that."
        if self.config.model.train_alignnet:
            yield "The language model that runs in every step, and AlignNet, come on top."
        if self.config.shard != "none":
            yield f"Counted for one process; shard = {self.config.shard!r} leaves each of several a share of the weights."

    def switches(self) -> Iterator[Switch]:
        """What the run would need with one more setting that saves memory, for each that is possible here."""
        for words, changed, base in self._changes():
            try:
                smaller = self.work
                if changed.batch != self.config.batch:
                    smaller = dataclasses.replace(self.work, rows=max(1, changed.batch // self.work.world))
                yield Switch(words, Counting(changed, base, smaller).footprint().total)
            except (X2EditError, RuntimeError, NotImplementedError) as error:
                logger.debug("%s cannot be counted: %s", words, error)

    def _changes(self) -> Iterator[tuple[str, TrainConfig, Any]]:
        """Words, configuration and base of each setting that saves memory and goes together with the others."""
        model, optim = self.config.model, self.config.optim
        adamw, frozen = optim.name == "adamw", self.config.kind != "base"
        dtype = _DTYPES[model.precision]
        checkpoints = wanted(model.gradient_checkpointing, self.empty)
        plain = not any(weight.dtype in FP8 or type(weight) is not nn.Parameter for weight in self.empty.parameters())
        possible: list[tuple[str, bool, dict[str, Any]]] = [
            ("model.gradient_checkpointing = true", not checkpoints, {"model": {"gradient_checkpointing": True}}),
            ("model.offload_checkpoints = true", checkpoints and not model.offload_checkpoints,
             {"model": {"offload_checkpoints": True}}),
            ("model.offload = true", frozen and not model.offloaded and model.weights in ("default", "fp8"),
             {"model": {"offload": True}}),
            ('optim.state = "bfloat16"', frozen and adamw and optim.state == "float32", {"optim": {"state": "bfloat16"}}),
            ('optim.moments = "8bit"', adamw and optim.moments != "8bit" and importlib.util.find_spec("torchao") is not None,
             {"optim": {"moments": "8bit"}}),
            ("optim.fused_backward = true with clip = 0", adamw and self.config.accumulate == 1 and not optim.fused_backward,
             {"optim": {"fused_backward": True, "clip": 0.0}}),
            (f"batch = {self.config.batch // 2} with accumulate = {self.config.accumulate * 2}",
             self.config.batch % 2 == 0 and not optim.fused_backward,
             {"batch": self.config.batch // 2, "accumulate": self.config.accumulate * 2}),
        ]  # fmt: skip
        for words, applies, changes in possible:
            if applies and (changed := self._changed(changes)):
                yield words, changed, self.empty
        if frozen and plain:
            yield 'model.weights = "fp8"', self.config, pack_blocks(self.empty, "fp8", dtype, META)
            if not model.offloaded and importlib.util.find_spec("torchao") is not None:
                yield 'model.weights = "nf4"', self.config, pack_blocks(self.empty, "nf4", dtype, META)

    def _changed(self, changes: dict[str, Any]) -> TrainConfig | None:
        """The configuration with some entries replaced; None where they do not go together with the others."""
        values = {
            name: dataclasses.replace(getattr(self.config, name), **value) if isinstance(value, dict) else value
            for name, value in changes.items()
        }
        try:
            return dataclasses.replace(self.config, **values)
        except ConfigError:
            return None


def _hollow_base(config: TrainConfig) -> Any:
    if config.qwen.blocks:
        return hollow_qwen(config.qwen)
    return hollow_flux2(config.flux2) if config.flux2.double else hollow_flux(config.flux)


def before_loading(config: TrainConfig) -> Plan:
    """The memory of a run that is not begun: its base's index is read, nothing is loaded, the data not looked at.

    Raises `X2EditError` where that says too little.
    """
    if config.kind == "base":
        empty = _hollow_base(config)
        return planned(config, empty, work_of(config, small_text=True), switches=True)
    if config.model.base.startswith("demo:"):
        from ..families import network_of
        from ..miniature import load_demo_models

        empty = network_of(load_demo_models(config.model.base.removeprefix("demo:"))[0])
    else:
        empty = network_of_file(config.model)
    dtype = _DTYPES[config.model.precision]
    if config.model.weights in ("int8", "nf4"):
        empty = pack_blocks(hollow(empty), config.model.weights, dtype, META)
    elif all(weight.dtype not in FP8 for weight in empty.parameters()):
        empty = hollow(empty).to(dtype)
    return planned(config, empty, work_of(config, small_text=config.model.clip == ["demo"]), switches=True)


def lines_of(plan: Callable[[], Plan]) -> list[str]:
    """The table; why there is none, where this base cannot be counted, which is no reason not to train on it."""
    try:
        return plan().lines()
    except Exception as error:  # modules of any host and pack run without values here, and may say anything
        logger.debug("memory", exc_info=error)
        said = " ".join(str(error).split())
        return [f"memory: not counted, as {said[:400]}" if isinstance(error, X2EditError) else
                f"memory: this base cannot be counted ({type(error).__name__}: {said[:160]})"]  # fmt: skip

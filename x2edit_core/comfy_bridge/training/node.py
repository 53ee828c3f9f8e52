"""Training inside a graph: progress, pictures on the way, and a cancel that keeps the work."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import folder_paths
import numpy as np
import torch
from torch import Tensor

from ...errors import X2EditError
from ...paths import plain_name, without_suffix
from ...pixels import from_bytes
from ...settings import parse_toml
from ...train.checkpoints import claimed
from ...train.config import TrainConfig, parse_config
from ...train.journal import plot_losses, read_table
from ...train.loop import StepReport, Trainer
from ...train.pace import Pace
from ...train.records import VALIDATION_FILE
from ...train.sources import detect_kind
from ..folders import FOLDER
from ..host import comfy
from ..models import ManagedAdapter, load_managed
from ..notices import say_once, show_on_node
from ..publishing import Shelf
from .models import HostModels
from .places import allowed_path, clean_path, confined
from .setup import assemble

logger = logging.getLogger(__name__)
SCENES, SUFFIX = "scenes", ".safetensors"
_NAME = "The adapter's name"
_PREVIEW_EVERY = 20


@dataclass(frozen=True)
class Trained:
    """What a training node hands out: the adapter, its file under models/x2edit, the losses as a picture [1, H, W, 3]."""

    adapter: ManagedAdapter
    path: Path
    plot: Tensor


def node_config(dataset: str, name: str, values: dict[str, Any], further: str) -> TrainConfig:
    """The configuration that widgets describe; `further` is TOML whose entries come on top.

    A graph may be a stranger's: it reads what `places` allows, and writes below the output folder and to
    models/x2edit, whatever it says.
    """
    name = adapter_name(name)
    dataset = clean_path(dataset)
    place = None if dataset in ("", SCENES) else allowed_path(dataset, "The data set")
    data = {"kind": SCENES, "path": ""} if place is None else {"kind": detect_kind(place), "path": str(place)}
    runs = _runs()
    merged: dict[str, Any] = {**values, "data": {**data, **values.get("data", {})}}
    merged["model"] = {"base": "connected", **values.get("model", {})}
    for key, value in parse_toml(further, Path("further settings")).items():
        if key == "output":
            raise X2EditError("`output` is not for a graph to choose: a run lies in the output folder, under its name.")
        base = merged.get(key, {})
        merged[key] = {**base, **value} if isinstance(value, dict) and isinstance(base, dict) else value
    config = confined(parse_config({**merged, "output": str(runs / name)}))
    if not config.data.cache:
        return config
    cache = runs / plain_name(config.data.cache, "The folder `data.cache`")
    return dataclasses.replace(config, data=dataclasses.replace(config.data, cache=str(cache)))


def adapter_name(name: str) -> str:
    """The name that a person gave, fit for files and without the suffix that is added to it."""
    return plain_name(without_suffix(name.strip(), SUFFIX), _NAME)


def next_name(name: str) -> str:
    """`name`, or the first of NAME_2, NAME_3 … under which there is neither a run nor an adapter.

    Raises `X2EditError` for what cannot be a name, before anything is looked for.
    """
    wanted = adapter_name(name)
    for candidate in (wanted, *(f"{wanted}_{number}" for number in range(2, 10_000))):
        taken = (_runs() / candidate, _shelf() / f"{candidate}{SUFFIX}")
        if not any(place.exists() for place in taken):
            return candidate
    return wanted


def _runs() -> Path:
    return Path(folder_paths.get_output_directory()) / "x2edit_training"


def _shelf() -> Path:
    return Path(folder_paths.get_folder_paths(FOLDER)[0])


def train_in_graph(config: TrainConfig, models: HostModels, name: str, node_id: str | None = None) -> Trained:
    """Train, or go on with an earlier run of this name; cancelling the graph keeps what was learnt and its file."""
    bar = comfy.utils.ProgressBar(config.steps)
    target = _shelf() / f"{adapter_name(name)}{SUFFIX}"
    said: list[str] = []
    pace = Pace(config.steps)

    def say(*lines: str) -> None:
        said.extend(line for line in lines if line and line not in said)
        show_on_node("\n".join(said), node_id)

    def poll(done: int, total: int) -> None:
        del done, total
        comfy.model_management.throw_exception_if_processing_interrupted()

    def on_step(report: StepReport) -> None:
        preview = None
        pace.add(report.step, report.seconds)
        if report.step % _PREVIEW_EVERY == 0 or report.step == config.steps:
            preview = ("JPEG", plot_of(config.folder), 768)
            show_on_node("\n".join([*said, f"step {report.step} of {config.steps}{pace.told()}"]), node_id)
        bar.update_absolute(report.step, config.steps, preview)
        poll(report.step, config.steps)

    with claimed(config.folder), torch.inference_mode(False):
        shelf = Shelf(config.folder, target, config.model.train_alignnet)
        shelf.try_to_write()
        trainer = Trainer(config, assemble(config, models=models, poll=poll))
        say(*_warned(shelf.told), *trainer.summary())
        try:
            result = trainer.run(on_step)
        finally:
            published = shelf.publish() if trainer.step else None
            say(*_warned(shelf.told, *trainer.notes))
    if result is None or published is None:
        raise X2EditError(f"Training stopped before a step of it was done; there is no adapter {name!r} yet.")
    say(f"{trainer.outcome}; the adapter is {published}")
    return Trained(load_managed(published), published, from_bytes(np.asarray(plot_of(config.folder))))


def _warned(*texts: str) -> list[str]:
    """The texts, as warnings in the log and on the node too."""
    for text in filter(None, texts):
        say_once(f"training: {text}", f"Training: {text}.")
    return list(texts)


def plot_of(folder: Path) -> Any:
    rows = read_table(folder / "losses.csv")
    held = [(int(row["step"]), float(row["loss"])) for row in read_table(folder / VALIDATION_FILE)]
    return plot_losses([int(row["step"]) for row in rows], [float(row["loss"]) for row in rows], held=held)

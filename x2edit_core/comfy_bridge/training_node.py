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

from ..alignnet import load_alignnet, save_alignnet
from ..checkpoint import load_adapter, save_adapter
from ..errors import X2EditError
from ..formats.released_x2edit import ALIGNNET_FILE
from ..paths import plain_name
from ..settings import parse_toml
from ..train.checkpoints import claimed
from ..train.config import TrainConfig, parse_config
from ..train.journal import plot_losses, read_table
from ..train.loop import StepReport, Trainer
from ..train.sources import detect_kind
from .folders import FOLDER
from .host import comfy
from .models import ManagedAdapter, load_managed
from .training_models import HostModels
from .training_setup import RELEASED, RESULT, assemble

logger = logging.getLogger(__name__)
SCENES = "scenes"
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

    A graph may be a stranger's: it writes below the output folder and to models/x2edit, whatever it says.
    """
    name = plain_name(name, _NAME)
    kind = SCENES if dataset.strip() in ("", SCENES) else detect_kind(Path(dataset))
    data = {"kind": kind, "path": "" if kind == SCENES else dataset}
    runs = Path(folder_paths.get_output_directory()) / "x2edit_training"
    merged: dict[str, Any] = {**values, "data": {**data, **values.get("data", {})}}
    merged["model"] = {"base": "connected", **values.get("model", {})}
    for key, value in parse_toml(further, Path("further settings")).items():
        if key == "output":
            raise X2EditError("`output` is not for a graph to choose: a run lies in the output folder, under its name.")
        base = merged.get(key, {})
        merged[key] = {**base, **value} if isinstance(value, dict) and isinstance(base, dict) else value
    config = parse_config({**merged, "output": str(runs / name)})
    if not config.data.cache:
        return config
    cache = runs / plain_name(config.data.cache, "The folder `data.cache`")
    return dataclasses.replace(config, data=dataclasses.replace(config.data, cache=str(cache)))


def train_in_graph(config: TrainConfig, models: HostModels, name: str) -> Trained:
    """Train, or go on with an earlier run of this name; cancelling the graph keeps what was learnt and its file."""
    bar = comfy.utils.ProgressBar(config.steps)
    target = Path(folder_paths.get_folder_paths(FOLDER)[0]) / f"{plain_name(name, _NAME)}.safetensors"

    def poll(done: int, total: int) -> None:
        del done, total
        comfy.model_management.throw_exception_if_processing_interrupted()

    def on_step(report: StepReport) -> None:
        preview = None
        if report.step % _PREVIEW_EVERY == 0 or report.step == config.steps:
            preview = ("JPEG", plot_of(config.folder), 768)
        bar.update_absolute(report.step, config.steps, preview)
        poll(report.step, config.steps)

    with claimed(config.folder), torch.inference_mode(False):
        trainer = Trainer(config, assemble(config, models=models, poll=poll))
        try:
            result = trainer.run(on_step)
        finally:
            if trainer.step:
                _publish(config.folder, target)
    if result is None:
        raise X2EditError(f"Training stopped before its first step was done; there is no adapter {name!r} yet.")
    return Trained(load_managed(target), target, picture_tensor(plot_of(config.folder)))


def _publish(run: Path, target: Path) -> None:
    """Put the run's results where the loaders list them: the adapter, and AlignNet if it was trained along."""
    if (run / RESULT).exists():
        save_adapter(load_adapter(run / RESULT), target)
    if (run / RELEASED / ALIGNNET_FILE).exists():
        save_alignnet(load_alignnet(run / RELEASED / ALIGNNET_FILE), target.with_name(f"{target.stem}_alignnet.bin"))


def plot_of(folder: Path) -> Any:
    rows = read_table(folder / "losses.csv")
    return plot_losses([int(row["step"]) for row in rows], [float(row["loss"]) for row in rows])


def picture_tensor(picture: Any) -> Tensor:
    return torch.from_numpy(np.asarray(picture).astype(np.float32) / 255)[None]

"""What the loop reports of its steps, and the tables that a run keeps of them."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from ..settings import to_toml
from ..tasks import Task
from . import losses
from .config import TrainConfig
from .journal import Board, Table
from .samples import Batch
from .validation import COLUMNS, Score

CONFIG_FILE = "config.toml"
VALIDATION_FILE = "validation.csv"
_LOSS_COLUMNS = ("loss", "flow", "contrast", "balance", "gradient", "rate", "seconds")


@dataclass(frozen=True)
class StepReport:
    """One optimiser step: `step` counts from 1; losses are means over the batch and all processes.

    `rate` is the true step size: with Prodigy what it found, times the setting. A `skipped` step changed no weight.
    """

    step: int
    loss: float
    flow: float
    contrast: float
    balance: float
    gradient: float
    rate: float
    seconds: float
    skipped: bool = False


class Totals:
    """Terms of one optimiser step, summed over its parts."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.by_task: list[tuple[tuple[int, ...], Tensor]] = []
        self.usage: list[Tensor] = []
        self.instructions: list[str] = []
        self.contrasted = 0
        self.unpaired = 0

    def note(self, batch: Batch, errors: Tensor, terms: dict[str, Tensor]) -> None:
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, torch.zeros_like(value)) + value
        self.instructions += batch.instructions
        if batch.mode == "edit":
            self.by_task.append((batch.tasks, errors))

    def means(self, parts: int, device: torch.device) -> dict[str, float]:
        names = ("loss", "flow", "contrast", "balance")
        zero = torch.zeros((), device=device)
        values = torch.stack([self.sums.get(name, zero).float() for name in names]) / parts
        if losses.world() > 1:
            dist.all_reduce(values)
            values /= losses.world()
        return dict(zip(names, values.tolist(), strict=True))


class RunJournal:
    """The tables of a run; per-task losses are means since the last row."""

    def __init__(self, config: TrainConfig, resumed_at: int) -> None:
        folder = config.folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG_FILE).write_text(to_toml(config), encoding="utf-8")
        self._every, self._folder, self._resumed_at = config.log_every, folder, resumed_at
        self._losses = Table(folder / "losses.csv", _LOSS_COLUMNS, resumed_at)
        self._tasks = Table(folder / "tasks.csv", [task.english for task in Task], resumed_at)
        self._usage: Table | None = None
        self._validation: Table | None = None
        self._board = Board(folder / "tensorboard", config.tensorboard)
        self._by_task: dict[int, list[float]] = {}

    def add(self, report: StepReport, totals: Totals) -> None:
        values = {name: value for name, value in dataclasses.asdict(report).items() if name in _LOSS_COLUMNS}
        self._losses.add(report.step, values)
        for tasks, errors in [] if report.skipped else totals.by_task:
            for task, error in zip(tasks, errors.tolist(), strict=True):
                self._by_task.setdefault(task, []).append(error)
        if report.step % self._every == 0:
            means = {task.english: _mean(self._by_task.get(task.id, [])) for task in Task}
            self._tasks.add(report.step, means)
            self._board.add(report.step, values | {f"task/{name}": value for name, value in means.items()})
            self._by_task.clear()
            self._add_usage(report.step, [] if report.skipped else totals.usage)

    def add_validation(self, step: int, score: Score) -> None:
        if self._validation is None:
            self._validation = Table(self._folder / VALIDATION_FILE, COLUMNS, self._resumed_at)
        values = dataclasses.asdict(score)
        self._validation.add(step, values)
        shown = {f"validation/{name}": values[name] for name in ("loss", "psnr_db") if math.isfinite(values[name])}
        self._board.add(step, shown)

    def _add_usage(self, step: int, usage: list[Tensor]) -> None:
        if not usage:
            return
        mean = torch.stack(usage).mean(0).tolist()
        values = {f"expert {index}": share for index, share in enumerate(mean)}
        if self._usage is None:
            self._usage = Table(self._folder / "experts.csv", list(values), self._resumed_at)
        self._usage.add(step, values)
        self._board.add(step, values)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan

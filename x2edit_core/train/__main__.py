"""The training script: `python -m x2edit_core.train CONFIG.toml [--dry-run] [--device DEVICE] [--minutes M]`.

`COMFYUI_PATH` names the ComfyUI whose FLUX is trained; without it, the one that this pack is installed in.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import torch
import torch.distributed as dist

from ..errors import X2EditError
from ..settings import to_toml
from .batches import Ranks
from .checkpoints import claimed
from .config import TrainConfig, load_config
from .loop import StepReport, Stopped, Trainer
from .pace import Pace
from .parallel import in_turn, leave

logger = logging.getLogger("x2edit.train")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m x2edit_core.train", description="Train an adapter or a small base."
    )
    parser.add_argument("config", type=Path, help="a TOML file; docs/training.md explains every entry")
    parser.add_argument("--dry-run", action="store_true", help="check the configuration, print it whole, and stop")
    parser.add_argument("--prepare", action="store_true", help="draw and encode the data, then stop")
    parser.add_argument("--device", help="cpu or cuda; default: CUDA where there is one")
    parser.add_argument("--minutes", type=float, help="stop after this long; the same command goes on")
    parser.add_argument("--threads", type=int, help="CPU threads to compute with")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        config = load_config(options.config, **({"device": options.device} if options.device else {}))
        if options.dry_run:
            sys.stdout.write(to_toml(config))
            logger.info("%s", "\n".join(_memory_before(config)))
            return 0
        if options.threads:
            torch.set_num_threads(options.threads)
        with _ended_by_signal():
            _run(config, options.minutes, options.prepare)
    except X2EditError as error:
        logger.error("%s", error)
        return 1
    return 0


def _memory_before(config: TrainConfig) -> list[str]:
    """The table of memory, for which the base's index is read and nothing is loaded; or why there is none."""
    try:
        prepare_host(config.device)
        memory = importlib.import_module("..comfy_bridge.training.memory", __package__)
        with torch.inference_mode(False):
            return memory.lines_of(lambda: memory.before_loading(config))
    except X2EditError as error:
        return [f"memory: not counted, as {error}"]


@contextlib.contextmanager
def _ended_by_signal() -> Iterator[None]:
    """Within it a termination, as a scheduler or a shutdown sends it, ends the run as Ctrl-C does: with its state saved."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: object) -> NoReturn:
    del frame
    raise SystemExit(128 + number)


def _run(config: TrainConfig, minutes: float | None, prepare_only: bool) -> None:
    ranks, config = _join(config)
    with contextlib.nullcontext() if ranks.rank else claimed(config.folder):
        _train(config, ranks, minutes, prepare_only)


def _train(config: TrainConfig, ranks: Ranks, minutes: float | None, prepare_only: bool) -> None:
    prepare_host(config.device)
    setup = importlib.import_module("..comfy_bridge.training.setup", __package__)
    try:
        # The first process prepares the data for all.
        parts = in_turn(ranks.rank, ranks.world, lambda: setup.assemble(config, ranks, _preparing()))
        if prepare_only:
            parts.batches.close()
            return
        trainer = Trainer(config, parts)
        if not ranks.rank:
            logger.info("%s", "\n".join(trainer.summary()))
        result = trainer.run(_reporting(config, minutes) if ranks.rank == 0 else lambda report: None)
        told = f"; the result is {result}" if result else ""
        logger.info("%s%s", trainer.outcome, told)
    finally:
        if ranks.world > 1:
            dist.destroy_process_group()


def _join(config: TrainConfig) -> tuple[Ranks, TrainConfig]:
    """This process among those that `torchrun` or `accelerate launch` started, each on a device of its own.

    accelerate's choice of a CPU and of FSDP counts where the configuration leaves them open.
    """
    if _asked("ACCELERATE_USE_CPU") and "MASTER_PORT" in os.environ and "RANK" not in os.environ:
        raise X2EditError(
            "accelerate launch --cpu starts a single process whatever --num_processes says; leave --cpu out, add "
            '--multi_gpu, and write device = "cpu" into the configuration.'
        )
    if not config.device and _asked("ACCELERATE_USE_CPU"):
        config = dataclasses.replace(config, device="cpu")
    if config.shard == "none" and _asked("ACCELERATE_USE_FSDP"):
        config = dataclasses.replace(config, shard="all")
    world = _world()
    if world == 1:
        return Ranks(), config
    on_gpu = torch.cuda.is_available() and not config.device.startswith("cpu")
    if on_gpu:
        local = int(os.environ.get("LOCAL_RANK", "0"))
        torch.cuda.set_device(local)
        config = dataclasses.replace(config, device=f"cuda:{local}")
    dist.init_process_group("nccl" if on_gpu else "gloo")
    return Ranks(dist.get_rank(), world), config


def _world() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def _asked(variable: str) -> bool:
    return os.environ.get(variable, "").lower() in ("1", "true", "yes")


def prepare_host(device: str) -> None:
    """Make ComfyUI importable, ahead of this pack's `nodes/`, and let it choose the device as it would itself.

    Raises `X2EditError` if there is no ComfyUI.
    """
    if "comfy.cli_args" in sys.modules:
        return
    root = Path(__file__).resolve().parents[2]
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise X2EditError(
            f"device = {device!r}, but this Python's torch sees no CUDA device. Use the Python of your ComfyUI, or leave "
            "device empty."
        )
    folder = Path(os.environ.get("COMFYUI_PATH") or root.parents[1])
    if not (folder / "comfy" / "ldm" / "flux" / "model.py").exists():
        raise X2EditError(f"No ComfyUI was found in {folder}; set COMFYUI_PATH to the folder that holds its main.py.")
    sys.path.insert(0, str(folder))
    arguments = sys.argv
    try:
        on_cpu = device.startswith("cpu") or not torch.cuda.is_available()
        sys.argv = ["main.py", *(["--cpu"] if on_cpu else [])]
        importlib.import_module("comfy.options").enable_args_parsing()
        importlib.import_module("comfy.cli_args")
    finally:
        sys.argv = arguments


def _preparing():  # noqa: ANN202
    last = [0.0]

    def poll(done: int, total: int) -> None:
        if time.monotonic() - last[0] > 20:
            last[0] = time.monotonic()
            logger.info("preparing data: %d of %d", done, total)

    return poll


def _reporting(config: TrainConfig, minutes: float | None):  # noqa: ANN202
    deadline = time.monotonic() + minutes * 60 if minutes else float("inf")
    recent: list[StepReport] = []
    whole = Pace(config.steps)

    def on_step(report: StepReport) -> None:
        recent.append(report)
        whole.add(report.step, report.seconds)
        if report.step % config.log_every == 0 or report.step == config.steps:
            good = [item.loss for item in recent if not item.skipped]
            loss, seconds = sum(good) / max(1, len(good)), sum(item.seconds for item in recent) / len(recent)
            told = f"loss {loss:.4f}" if good else "no good step"
            pace = f"rate {report.rate:.3g}  {seconds * 1000:.0f} ms/step"
            logger.info("step %d of %d  %s  %s%s", report.step, config.steps, told, pace, whole.told())
            recent.clear()
        if time.monotonic() > deadline:
            raise Stopped

    return on_step


if __name__ == "__main__":
    status = main()
    if _world() > 1:
        leave(status)
    sys.exit(status)

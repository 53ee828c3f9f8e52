"""Makes the embedded models again from seeds: the autoencoder, then every recipe of tools/miniature in turn.

Each stage keeps its checkpoints in out/miniature, so the same command goes on where it was stopped, and a finished stage
is left alone. On two CPU cores the whole takes several hours, on a GPU minutes.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from .host import DevError, Host, log
from .layout import OUT, REPO

RECIPES = REPO / "tools" / "miniature"
FOLDER = OUT / "miniature"
WEIGHTS = REPO / "x2edit_core" / "miniature" / "weights"
RESULTS: Mapping[str, str] = {
    "autoencoder/autoencoder.safetensors": "autoencoder.safetensors",
    "base_scenes/fill.safetensors": "flux.safetensors",
    "base_scenes/text.safetensors": "text.safetensors",
    "x2edit/adapter.safetensors": "x2edit.safetensors",
    "icedit_moe/adapter.safetensors": "icedit_moe.safetensors",
    "icedit/adapter.safetensors": "icedit.safetensors",
    "qwen/base.safetensors": "qwen.safetensors",
    "x2edit_qwen/adapter.safetensors": "x2edit_qwen.safetensors",
}
"""What the stages leave, below `FOLDER`, and its name among the shipped weights."""


def make(host: Host, *, minutes: float | None = None, device: str = "cpu", install: bool = False) -> int:
    """Run the stages for at most `minutes`; with `install`, the finished models replace the shipped ones."""
    deadline = time.monotonic() + (minutes or float("inf")) * 60
    for name, command in _stages(device):
        left = (deadline - time.monotonic()) / 60
        if left <= 0:
            break
        log(f"Stage {name} …")
        limit = [] if minutes is None else ["--minutes", f"{left:.2f}"]
        status = subprocess.run(
            [host.python, *command, *limit], cwd=REPO, env=_environment(host), check=False
        ).returncode
        if status:
            raise DevError(
                f"Stage {name} ended with status {status}; the same command goes on from its last checkpoint."
            )
        if not _finished(name):
            log(f"Stage {name} is not finished; the same command goes on.")
            return 0
    if install:
        _install(host)
    return 0


def recipes() -> list[Path]:
    """The training runs in the order in which they need each other."""
    return sorted(RECIPES.glob("*.toml"))


def stage_name(recipe: Path) -> str:
    """`02_base_128.toml` → `base_128`, which is also the name of the run's folder."""
    return recipe.stem.split("_", 1)[1]


def steps_of(recipe: Path) -> int:
    found = re.search(r"^steps = (\d+)", recipe.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise DevError(f"{recipe} does not say how many steps it has.")
    return int(found[1])


def _stages(device: str) -> list[tuple[str, list[str]]]:
    first = ["-m", "x2edit_core.miniature.train_autoencoder", str(FOLDER / "autoencoder"), "--device", device]
    training = ["-m", "x2edit_core.train"]
    others = [(stage_name(path), [*training, str(path), "--device", device]) for path in recipes()]
    return [(name, command) for name, command in [("autoencoder", first), *others] if not _finished(name)]


def _finished(name: str) -> bool:
    """Whether a stage has had all its steps: the autoencoder writes its result only then."""
    if name == "autoencoder":
        return (FOLDER / name / "autoencoder.safetensors").exists()
    recipe = next(path for path in recipes() if stage_name(path) == name)
    return (FOLDER / name / f"state-{steps_of(recipe):07d}.pt").exists()


def _environment(host: Host) -> dict[str, str]:
    return {
        **os.environ,
        "COMFYUI_PATH": host.comfyui,
        "PYTHONPATH": os.pathsep.join([host.comfyui, str(REPO)]),
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def _install(host: Host) -> None:
    """Put the finished models in place of the shipped ones, in bfloat16."""
    pairs = [str(path) for source, name in RESULTS.items() for path in (FOLDER / source, WEIGHTS / name)]
    script = str(Path(__file__).with_name("halve.py"))
    if subprocess.run([host.python, script, *pairs], check=False).returncode:
        raise DevError("The finished models could not be put in place; they are still in out/miniature.")

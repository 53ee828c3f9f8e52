"""What a graph may name when it trains: a graph comes from anybody, the server and its disks belong to somebody.

Data and AlignNet's file lie in the input folder or in folders that the server's owner allowed, outside of any graph: in the
environment variable `X2EDIT_DATA_ROOTS`, or in `data_roots.txt` of the host's system user directory, a folder a line.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import folder_paths

from ...errors import X2EditError
from ...paths import reaches_network_or_device
from ...settings import ConfigError, Range
from ...train.aligned import NEW
from ...train.config import TrainConfig
from ..folders import FOLDER, owners_file

ROOTS_VARIABLE, ROOTS_FILE = "X2EDIT_DATA_ROOTS", "data_roots.txt"
BOUNDS = {
    "steps": Range(1, 1_000_000),
    "batch": Range(1, 512),
    "accumulate": Range(1, 1024),
    "keep": Range(1, 20),
    "sample_steps": Range(1, 200),
    "data.size": Range(16, 2048),
    "data.cases": Range(1, 200_000),
    "data.pictures": Range(1, 200_000),
    "data.workers": Range(0, 8),
    "adapter.experts": Range(1, 64),
    "adapter.rank": Range(1, 1024),
    "adapter.plain_rank": Range(0, 1024),
    "validation.samples": Range(1, 4096),
    "validation.drawn": Range(0, 64),
}
"""Of a run in a graph, tighter than the script's: nobody is asked whether this machine has the room and the time."""


def roots_file() -> Path:
    return owners_file(ROOTS_FILE)


def data_roots() -> list[Path]:
    """The input folder, and what the owner allowed beside it; relative entries count for nothing."""
    named = os.environ.get(ROOTS_VARIABLE, "").split(os.pathsep)
    with contextlib.suppress(OSError, UnicodeDecodeError):
        named += roots_file().read_text(encoding="utf-8-sig").splitlines()
    lines = (line.strip() for line in named)
    allowed = [Path(line) for line in lines if line and not line.startswith("#")]
    return [Path(folder_paths.get_input_directory()), *(path for path in allowed if path.is_absolute())]


def clean_path(text: str) -> str:
    """A path as a person pastes it: without blanks and line breaks around it, nor the quotes of a file manager."""
    text = text.strip()
    while len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1].strip()
    return text


def allowed_path(text: str, what: str, also: tuple[Path, ...] = ()) -> Path:
    """The place that a graph calls `text`, relative names being looked for in the input folder first.

    Raises `X2EditError` for any place outside of `data_roots` and `also`, links followed, before it is touched if its name
    alone could reach another machine or a device.
    """
    text = clean_path(text)
    roots = [*data_roots(), *also]
    if not reaches_network_or_device(text):
        for path in _candidates(text, roots):
            if _inside(path, roots):
                return path
    shown = ", ".join(map(str, roots))
    raise X2EditError(
        f"{what} {text!r} lies outside of the folders that a graph may read: {shown}. Put it into the input folder; or let the "
        f"server's owner allow its folder in the environment variable {ROOTS_VARIABLE}, or as a line of {roots_file()}."
    )


def _candidates(text: str, roots: list[Path]) -> list[Path]:
    """Where `text` may point: one place for an absolute path, else below each root if there is something, the first if not."""
    if Path(text).is_absolute():
        return [Path(os.path.normpath(text))]
    below = [Path(os.path.normpath(root / text)) for root in roots]
    here = Path(os.path.abspath(text))  # noqa: PTH100 - which follows no links yet
    found = [path for path in (*below, here) if _inside(path, roots) and path.exists()]
    return found or below[:1]


def _inside(path: Path, roots: list[Path]) -> bool:
    """Whether it lies in a root by its name, and then also with links followed."""
    reals = [root.resolve() for root in roots]
    if not any(path.is_relative_to(root) for root in (*roots, *reals)):
        return False
    try:
        return any(path.resolve().is_relative_to(root) for root in reals)
    except (OSError, RuntimeError):  # a loop of links
        return False


def confined(config: TrainConfig) -> TrainConfig:
    """The configuration of a run in a graph, with its places made whole; raises for what a graph must not choose."""
    if faults := list(_faults(config)):
        raise ConfigError(faults)
    data, model = config.data, config.model
    if data.kind != "scenes":
        data = replace(data, path=str(allowed_path(data.path, "The data")))
    if model.alignnet and model.alignnet != NEW:
        folders = tuple(Path(folder) for folder in folder_paths.get_folder_paths(FOLDER))
        model = replace(model, alignnet=str(allowed_path(model.alignnet, "model.alignnet", folders)))
    adapter = config.adapter
    if adapter.start:
        folders = tuple(Path(folder) for kind in (FOLDER, "loras") for folder in folder_paths.get_folder_paths(kind))
        adapter = replace(adapter, start=str(allowed_path(adapter.start, "adapter.start", folders)))
    return replace(config, data=data, model=model, adapter=adapter)


def _faults(config: TrainConfig) -> Iterator[str]:
    if config.kind == "base":
        yield "kind = 'base' is for the script: a graph trains an adapter on the model that it connects"
    for name, bounds in BOUNDS.items():
        value: Any = config
        for part in name.split("."):
            value = getattr(value, part)
        if not bounds.holds(value):
            yield f"{name} = {value}: {bounds} is possible in a graph; the script has no such limit"

"""CLIP and DINO folders of the host, for measures that compare what pictures show: read once, and kept between runs.

They live in the host's managed memory. It moves them to main memory where a prompt's models need the room, as it does its
own; what it unloads between two prompts, which is what `/free` asks for, is let go altogether.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..chat.features import FolderFeatures
from ..chat.folder import OnDevice, Resident
from ..errors import X2EditError
from .chat import HostResident
from .host import comfy, server
from .listing import model_folders

CATEGORY = "clip_vision"
NONE = "none"
KEY = "x2edit_encoder"

State = tuple[tuple[str, int, int], ...]

_kept: dict[Path, tuple[State, FolderFeatures]] = {}
_emptied: dict[Path, Any] = {}
"""Patchers without weights: the host looks at one once more after unloading it."""


def encoder_names() -> list[str]:
    """`none`, and folders in the transformers layout under models/clip_vision."""
    return [NONE, *model_folders(CATEGORY)]


def load_encoder(name: str) -> FolderFeatures | None:
    """The encoder of that name, the one of the last run if its files are still the same.

    Raises `X2EditError` for a name that is not there, so no path gets out.
    """
    if name == NONE:
        return None
    folders: dict[str, Path] = model_folders(CATEGORY)
    if name not in folders:
        raise X2EditError(
            f"The encoder {name!r} was not found. Put a whole CLIP or DINO repository in the transformers layout into a "
            "folder under models/clip_vision and refresh the page."
        )
    folder = folders[name]
    state, kept = _state(folder), _kept.get(folder)
    if kept is not None and kept[0] == state:
        return kept[1]
    features = FolderFeatures(folder, settle=lambda module: _settled(module, features))
    _kept[folder] = (state, features)
    return features


def _state(folder: Path) -> State:
    """Names, sizes and times of a folder's files: with others, it is another encoder."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files)


def _settled(module: nn.Module, features: FolderFeatures) -> Resident:
    """On the host's device where there is ample room for it; else on the CPU, for this run alone.

    The host unloads what is on its own device, so elsewhere nobody could ever take it away.
    """
    device = comfy.model_management.get_torch_device()
    weights = sum(parameter.nbytes for parameter in module.parameters())
    total: int = comfy.model_management.get_total_memory(device)  # pyright: ignore[reportAssignmentType] - of one kind
    if 2 * weights > total:
        _kept.pop(features.folder, None)
        return OnDevice(module, torch.device("cpu"))
    resident = HostResident(module, device)
    unloaded = comfy.patcher_extension.CallbacksMP.ON_DETACH
    resident.patcher.add_callback_with_key(unloaded, KEY, partial(_unloaded, features))
    return resident


def _unloaded(features: FolderFeatures, patcher: Any, unpatch_all: bool) -> None:
    """The host took the weights off its device, for good unless it keeps its patches; outside a prompt nobody is about to
    want them back."""
    if not unpatch_all or _prompt_runs():
        return
    features.forget()
    patcher.model.model = nn.Identity()
    _emptied[features.folder] = patcher


def _prompt_runs() -> bool:
    return bool(getattr(getattr(server(), "prompt_queue", None), "currently_running", None))

"""CLIP and DINO folders of the host, for measures that compare what pictures show."""

from __future__ import annotations

from pathlib import Path

from ..chat.features import FolderFeatures
from ..errors import X2EditError
from .listing import model_folders

CATEGORY = "clip_vision"
NONE = "none"


def encoder_names() -> list[str]:
    """`none`, and folders in the transformers layout under models/clip_vision."""
    return [NONE, *model_folders(CATEGORY)]


def load_encoder(name: str) -> FolderFeatures | None:
    """The encoder of that name, on the CPU; raises `X2EditError` for a name that is not there, so no path gets out."""
    if name == NONE:
        return None
    folders: dict[str, Path] = model_folders(CATEGORY)
    if name not in folders:
        raise X2EditError(
            f"The encoder {name!r} was not found. Put a whole CLIP or DINO repository in the transformers layout into a "
            "folder under models/clip_vision and refresh the page."
        )
    return FolderFeatures(folders[name])

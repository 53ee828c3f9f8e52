"""A model family's facts: where adapters attach in it, and how it is known."""

from __future__ import annotations

from typing import Any

from ..errors import X2EditError
from .family import Family, Shape
from .flux1 import FLUX1
from .flux2 import FLUX2
from .qwen_image import QWEN_IMAGE
from .sites import AttentionSite, Site, Slot

FAMILIES = {family.name: family for family in (FLUX1, QWEN_IMAGE, FLUX2)}
"""Name in files → family. A file that names none is of FLUX.1."""


def family_named(name: str) -> Family:
    """Raises `X2EditError` for a family that this version does not know."""
    if name not in FAMILIES:
        raise X2EditError(f"Model family {name!r} is not known; expected one of: {', '.join(FAMILIES)}.")
    return FAMILIES[name]


def family_of(module: Any) -> Family | None:
    """The family whose parts a model's module tree has, if any."""
    return next((family for family in FAMILIES.values() if family.looks_like(module)), None)


__all__ = [
    "FAMILIES", "FLUX1", "FLUX2", "QWEN_IMAGE", "AttentionSite", "Family", "Shape", "Site", "Slot", "family_named", "family_of"
]  # fmt: skip

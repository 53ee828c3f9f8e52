"""What other nodes hand over, admitted by `admit`: on the host's device for results, with every doubt said on the node."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .. import admit
from ..geometry import DiptychLayout, EditLayout, doubt_about
from .host import comfy
from .notices import say


def picture(image: Any, name: str = "image") -> Tensor:
    """float32 [B, H, W, 1, 3 or 4]; itself if it is that already. Raises `X2EditError`."""
    return admit.picture(image, say, name).to(comfy.model_management.intermediate_device())


def picture_beside(other: Tensor, image: Any, name: str) -> Tensor:
    """A picture that goes with the admitted `other`, row by row."""
    found = picture(image, name)
    admit.same_number(found, other, say, name)
    return found


def mask(image: Tensor, given: Any, name: str = "mask") -> Tensor | None:
    """float32 [B, H, W] for the admitted picture `image`, or None if it is none or a placeholder. Raises `X2EditError`."""
    found = admit.mask_for(image, given, say, name)
    return None if found is None else found.to(image.device)


def latent(given: Any, name: str = "latent") -> dict[str, Any]:
    """A LATENT of pictures, its samples as they came. Raises `X2EditError`."""
    return admit.latent(given, say, name)


def given_back(result: Tensor, *inputs: Any) -> Tensor:
    """`result` in the kind of numbers that `inputs` came in."""
    return result.to(admit.kind_of(*inputs))


def doubted(layout: EditLayout | DiptychLayout, width: int = 0) -> None:
    """Says on the node what is unusual about a size."""
    if words := doubt_about(layout, width):
        say(words)

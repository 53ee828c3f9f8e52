"""Parts of a model that another pack replaced: whose they are, and whether a pass still goes through ours.

Packs that cache steps or add identities put a function of their own in place of `forward_orig`, of a block, or of
`forward` itself. Most of them leave alone what this pack builds on; where one does not, a pass ends in one error that
names its module instead of a picture that lacks something.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import ModelMismatchError
from ..families import family_of

METHODS = ("forward", "_forward", "forward_orig", "process_img")
"""What a pass goes through before its blocks, from the outside in."""


def replaced_methods(network: Any) -> list[str]:
    """`name (module)` of each of a network's own methods that is not the host's any more; of `METHODS` those it has."""
    host = _host_class(network)
    owners = {name: _owner(getattr(network, name, None), getattr(host, name, None)) for name in METHODS}
    return [f"{name} (by {module})" for name, module in owners.items() if module]


def replaced_error(network: Any, consequence: str) -> ModelMismatchError:
    """An error saying who replaced what in `network`, and what does not work for it."""
    found, title = replaced_methods(network), _title(network)
    cause = (
        f"Another node pack replaced {title}'s {', '.join(found)}" if found else f"Another node pack took over {title}"
    )
    return ModelMismatchError(f"{cause}, {consequence}. Bypass that pack's node for this model, or update the pack.")


def block_error(forward: Callable[..., Any], path: str, consequence: str) -> ModelMismatchError:
    """Likewise for the block of a FLUX.1 at `path`, whose `forward` is not the host's."""
    return ModelMismatchError(
        f"Another node pack replaced FLUX.1's {path} (by {module_of(forward)}), {consequence}. Bypass that pack's node "
        "for this model, or update the pack."
    )


def module_of(function: Any) -> str:
    return getattr(_function(function), "__module__", None) or type(function).__module__


def _owner(found: Any, own: Any) -> str:
    """The module that `found` comes from, empty where it is the host's `own`."""
    return "" if _function(found) is _function(own) else module_of(found)


def _function(method: Any) -> Any:
    return getattr(method, "__func__", method)


def _host_class(network: Any) -> type:
    """The host's class of `network`; a pack may have made it an instance of a class of its own."""
    return next((base for base in type(network).__mro__ if base.__module__.startswith("comfy.")), type(network))


def _title(network: Any) -> str:
    family = family_of(network)
    return family.title if family else type(network).__name__


class Entrance:
    """Whether a model's passes reach our wrapper around its `forward`: one that another pack put there may call no wrappers.

    Caches that skip a whole pass are told apart by time: none skips the first.
    """

    def __init__(self, consequence: str) -> None:
        self._consequence = consequence
        self._reached_through: Any = None
        self._reached = False

    def reach(self, flux: Any) -> None:
        """Our wrapper was called."""
        self._reached, self._reached_through = True, _function(flux.forward)

    def apply_model(self, executor: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Wrapper around the host's `BaseModel.apply_model`."""
        self._reached = False
        result = executor(*args, **kwargs)
        flux = executor.class_obj.diffusion_model  # pyright: ignore[reportFunctionMemberAccess]
        flux = getattr(flux, "_orig_mod", flux)
        if not self._reached and _function(flux.forward) is not self._reached_through:
            raise replaced_error(flux, self._consequence)
        return result

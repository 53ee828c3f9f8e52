"""What a model with an adapter sampled, looked at once: latents that hold no numbers end the run where they were made.

A picture decoded from them is black, and neither the host's decoder nor its SaveImage says a word about it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..admit import VAE_IN_HALVES
from ..errors import X2EditError
from .host import comfy
from .notices import say

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher

_KEY = "x2edit_sampled"
COUNTED = "x2edit_counts_broken"
"""In `transformer_options`: whoever samples looks at each result itself and goes on without the broken ones."""
_LATENT, _EXTRA = (5, "latent_image"), (2, "extra_args")
"""Where the host passes them to a sampler, and their names."""


def looked_at(model: ModelPatcher) -> ModelPatcher:
    """`model`, a clone of ours, whose results are looked at after its last step: one reduction and no more."""
    kind = comfy.patcher_extension.WrappersMP.SAMPLER_SAMPLE
    model.remove_wrappers_with_key(kind, _KEY)
    model.add_wrapper_with_key(kind, _KEY, _sample)
    return model


def _sample(executor: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
    """Wrapper around a sampler's `sample`; raises `X2EditError` for a result in which there is no picture at all."""
    result = executor(*args, **kwargs)
    given: Any = _argument(args, kwargs, *_LATENT)
    options = (_argument(args, kwargs, *_EXTRA) or {}).get("model_options", {}).get("transformer_options", {})
    if not options.get(COUNTED):
        _look(result, given)
    return result


def _look(result: Tensor, given: Tensor | None) -> None:
    """`result` [B, ...] of a run that began at the latent `given`; a picture of a batch that failed alone is told."""
    broken = (~result.isfinite()).flatten(1).any(1)
    failed = [number for number, bad in enumerate(broken.tolist(), 1) if bad]
    if not failed:
        return
    which = "" if len(failed) == len(result) else f" for {', '.join(map(str, failed))} of its {len(result)} pictures"
    words = f"Sampling gave values that are no numbers{which}, which decode to black. {_cause(given)}"
    if not which:
        raise X2EditError(words)
    say(words)


def _cause(given: Tensor | None) -> str:
    if given is not None and not bool(given.isfinite().all()):
        return (
            "The latent it began with holds such values already: look at the node that made it. If it encoded a sound picture, "
            f"{VAE_IN_HALVES}"
        )
    return (
        "The latent it began with is sound, so they come from the text, the weights or a precision too small for them: start "
        "ComfyUI with --bf16-unet or --fp32-unet, and bypass LoRAs and other patches one by one."
    )


def _argument(args: tuple[Any, ...], kwargs: dict[str, Any], place: int, name: str) -> Any:
    return args[place] if place < len(args) else kwargs.get(name)

"""Attention patches that are asked whatever forward of FLUX runs the blocks.

Blocks find patches in the options of the pass. A forward that another pack put in hands them none, so each block is given
the options here, and its own name in them; a block that runs and still asks nobody is an error, not a picture.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..adapters.attach import Forward, find_module, swapped
from .host import comfy
from .replaced import Entrance, block_error

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher

KINDS = {"double_blocks": "double", "single_blocks": "single"}


class AskedPatch:
    """An `attn1_patch` that counts its calls; subclasses answer them in `patch`."""

    consequence = ""
    """What goes wrong where it is not asked, as the end of a sentence."""

    def __init__(self) -> None:
        self.calls = 0
        self._entrance = Entrance(self.consequence)

    @torch.compiler.disable(
        reason="what is kept or put back belongs to one step, which a compiled block knows nothing of"
    )
    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        self.calls += 1
        return self.patch(*args, **kwargs)

    def patch(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        raise NotImplementedError

    @torch.compiler.disable(reason="forwards are swapped per pass, which a compiled graph would not notice")
    def diffusion_model(self, executor: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Wrapper around the host's `Flux.forward`."""
        flux = executor.class_obj  # pyright: ignore[reportFunctionMemberAccess]
        self._entrance.reach(flux)
        options = kwargs.get("transformer_options", args[-1])
        with swapped(self._swaps(flux, options, text_tokens=args[2].shape[1])):
            return executor(*args, **kwargs)

    def _swaps(self, flux: Any, options: dict[str, Any], text_tokens: int) -> list[tuple[nn.Module, Forward]]:
        swaps: list[tuple[nn.Module, Forward]] = []
        for kind, block_type in KINDS.items():
            for index in range(len(getattr(flux, kind))):
                block = find_module(flux, f"{kind}.{index}")
                named = {**options, "block_type": block_type, "block_index": index}
                swaps.append((block, self._asking(block, f"{kind}.{index}", named, text_tokens)))
        return swaps

    def _asking(self, block: nn.Module, path: str, named: dict[str, Any], text_tokens: int) -> Callable[..., Any]:
        original = block.forward

        @torch.compiler.disable(recursive=False, reason="counts calls; the block itself may be compiled")
        def asking(*args: Any, **kwargs: Any) -> Any:
            stream = args[0] if args else next(kwargs[name] for name in ("img", "x") if name in kwargs)
            own = {**named, **(kwargs.get("transformer_options") or {})}
            own |= {name: named[name] for name in ("block_type", "block_index")}
            own.setdefault(
                "img_slice", [text_tokens, stream.shape[1]]
            )  # as single blocks have it; double ones set their own
            kwargs["transformer_options"] = {**own, "patches": self._among(own.get("patches", {}))}
            before = self.calls
            result = original(*args, **kwargs)
            if self.calls == before:
                raise block_error(original, path, self.consequence)
            return result

        return asking

    def _among(self, patches: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """`patches` with this one among them."""
        asked = patches.get("attn1_patch", [])
        return patches if any(patch is self for patch in asked) else {**patches, "attn1_patch": [*asked, self]}

    def on(self, model: ModelPatcher, key: str) -> ModelPatcher:
        """A clone of `model` with this patch."""
        clone = model.clone()
        clone.set_model_attn1_patch(self)
        kinds = comfy.patcher_extension.WrappersMP
        clone.add_wrapper_with_key(kinds.DIFFUSION_MODEL, key, self.diffusion_model)
        clone.add_wrapper_with_key(kinds.APPLY_MODEL, key, self._entrance.apply_model)
        return clone

"""ComfyUI as this pack meets it: its modules looked up at use, and the few places where its versions differ.

A symbol that this version lacks, or whose parameters changed, becomes one `HostError` where it is used. Loading the pack
needs none of them, so graphs that do without go on.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import torch

from ..errors import HostError

_ADVICE = "Update ComfyUI if it is older than this pack; otherwise update the X2Edit node pack."


class HostModule:
    """A module of the host, as `import` would give it, but imported when a symbol of it is used.

    `HostError` for a symbol it does not have. Symbols are not kept, so another pack's replacement is seen.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = _symbol(self._path, name)
        if isinstance(found, ModuleType):
            found = self.__dict__[name] = HostModule(f"{self._path}.{name}")
        return found

    def offers(self, path: str) -> bool:
        """Whether this version has the symbol at the dotted `path` below this module."""
        found: Any = self
        try:
            for name in path.split("."):
                found = getattr(found, name)
        except (HostError, AttributeError):
            return False
        return True


def _symbol(path: str, name: str) -> Any:
    try:
        module = importlib.import_module(path)
        return getattr(module, name) if hasattr(module, name) else importlib.import_module(f"{path}.{name}")
    except ImportError as error:
        raise HostError(f"This ComfyUI has no {path}.{name}, on which this node builds. {_ADVICE}") from error


_COMFY = HostModule("comfy")
if (
    TYPE_CHECKING
):  # so that the type checker knows the host's symbols, where `tools/dev.py` tells it where the host lies
    import comfy.k_diffusion.sampling
    import comfy.latent_formats
    import comfy.ldm.flux.layers
    import comfy.ldm.flux.model
    import comfy.ldm.modules.attention
    import comfy.ldm.qwen_image.model
    import comfy.ldm.wan.vae
    import comfy.model_base
    import comfy.model_detection
    import comfy.model_management
    import comfy.model_patcher
    import comfy.model_sampling
    import comfy.ops
    import comfy.patcher_extension
    import comfy.sample
    import comfy.sampler_helpers
    import comfy.samplers
    import comfy.sd
    import comfy.sd1_clip
    import comfy.supported_models
    import comfy.supported_models_base
    import comfy.taesd.taesd
    import comfy.text_encoders.llama
    import comfy.text_encoders.qwen_vl
    import comfy.text_encoders.sd3_clip
    import comfy.utils
    import comfy.weight_adapter.lora
    import comfy_execution.utils
    import latent_preview
else:
    comfy, comfy_execution, latent_preview = _COMFY, HostModule("comfy_execution"), HostModule("latent_preview")


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file, as the host's own loaders read it."""
    return cast("dict[str, torch.Tensor]", comfy.utils.load_torch_file(str(path)))


def require_parameters(needed: dict[Callable[..., Any], Sequence[str]]) -> None:
    """Raise one `HostError` naming every function that no longer takes a parameter it is called with."""
    changed = [
        f"{function.__qualname__}({', '.join(missing)})"
        for function, names in needed.items()
        if (missing := [name for name in names if name not in inspect.signature(function).parameters])
    ]
    if changed:
        raise HostError(f"This ComfyUI changed what X2Edit builds on: {'; '.join(changed)} is gone. {_ADVICE}")


def server() -> Any:
    """The running server, or None where the host's parts are used without one. Importing it would start half of one."""
    return getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)


def executing_node() -> tuple[str, str] | None:
    """(prompt, node) that this thread runs for the host; None where it runs none."""
    if "comfy_execution.utils" not in sys.modules:
        return None
    context = HostModule("comfy_execution.utils").get_executing_context()
    return None if context is None else (str(context.prompt_id), str(context.node_id))


def device_context(device: torch.device) -> AbstractContextManager[Any]:
    """Makes `device` the current one where the host computes on several; others have one anyway."""
    if _COMFY.offers("model_management.cuda_device_context"):
        return comfy.model_management.cuda_device_context(device)
    return contextlib.nullcontext()


def unload(patcher: Any) -> None:
    """Move the model of `patcher` and its clones out of the device's memory."""
    management = comfy.model_management
    if _COMFY.offers("model_management.unload_model_and_clones"):
        management.unload_model_and_clones(patcher)
        return
    others = [loaded for loaded in management.current_loaded_models if not _same_weights(loaded.model, patcher)]
    management.free_memory(1e30, patcher.load_device, others)


def _same_weights(a: Any, b: Any) -> bool:
    return a is not None and a.model is b.model


def fresh_copy(patcher: Any) -> Any:
    """A clone of `patcher` whose weights are read again from the file that its `cached_patcher_init` names."""
    if "force_deepcopy" in inspect.signature(patcher.clone).parameters:
        return patcher.clone(force_deepcopy=True)
    load, arguments = patcher.cached_patcher_init
    return patcher.clone(model_override=load(*arguments, disable_dynamic=True).get_clone_model_override())


def latent_dtype() -> torch.dtype:
    """What KSampler's latents come back as."""
    if _COMFY.offers("model_management.intermediate_dtype"):
        return comfy.model_management.intermediate_dtype()
    return torch.float32


def latent_for(patcher: Any, latent: dict[str, Any]) -> torch.Tensor:
    """The samples of an empty latent with the channels and scale of the model's; those of a picture as they are."""
    fix = comfy.sample.fix_empty_latent_channels
    known = inspect.signature(fix).parameters
    ratios = {name: latent.get(name) for name in ("downscale_ratio_spacial", "downscale_ratio_temporal")}
    return fix(patcher, latent["samples"], **{name: ratio for name, ratio in ratios.items() if name in known})


def modulation_row(index: int | slice) -> int | slice:
    """What picks one row of a block's modulation: older hosts drop the rows' own axis unless given a slice.

    Without that axis each row of a batch would be modulated as if it were a token.
    """
    if isinstance(index, slice) or _keeps_rows(comfy.ldm.flux.layers.apply_mod):
        return index
    return slice(index, index + 1)


@functools.cache
def _keeps_rows(apply_mod: Callable[..., Any]) -> bool:
    tokens, factors = torch.ones(2, 1, 1), torch.tensor([[[2.0]], [[3.0]]])
    try:
        apply_mod(tokens, factors, None, [(0, 1, 0)])
    except RuntimeError:
        return False
    return torch.equal(tokens, factors)


def text_rotary(model: Any, positions: torch.Tensor) -> Any:
    """Rotary factors of a text model for position ids (1 or 3, S)."""
    if hasattr(model, "compute_freqs_cis"):
        return model.compute_freqs_cis(positions, positions.device)
    config = model.config
    return comfy.text_encoders.llama.precompute_freqs_cis(
        config.head_dim, positions, config.rope_theta, config.rope_scale, config.rope_dims, device=positions.device
    )


def require_ordered_vision() -> None:
    """Raise `HostError` on hosts whose Qwen2.5-VL returns a picture's features window by window, out of order."""
    if not _COMFY.offers("text_encoders.qwen_vl.qwen2vl_mrope_position_ids"):
        raise HostError(
            "The Qwen2.5-VL of this ComfyUI returns the parts of a picture out of order, so that it cannot be shown one. "
            "Update ComfyUI, or disconnect the image: the instruction alone is what X2Edit was trained with."
        )


def require_attention_patches() -> None:
    """Raise `HostError` on a host whose FLUX never asks the patches around its attention."""
    for block in ("DoubleStreamBlock", "SingleStreamBlock"):
        if "attn1_patch" not in getattr(comfy.ldm.flux.layers, block).forward.__code__.co_consts:
            raise HostError(
                f"The FLUX of this ComfyUI runs no attn1_patch in its {block}, where ICEdit without an adapter keeps and "
                "puts back attention values. Update ComfyUI, or use an ICEdit adapter."
            )

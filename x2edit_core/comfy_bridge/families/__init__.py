"""The host's half of a family: the classes by which its models are known, and what of the host its adapters rely on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import ModelMismatchError, one_of
from ...families import FLUX1, FLUX2, QWEN_IMAGE, Family
from ..host import comfy, require_parameters

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher

Needs = dict[Callable[..., Any], Sequence[str]]


@dataclass(frozen=True)
class HostFamily:
    """`network` and `base`: the host's class of its module tree, and of the model around it; `needs`: functions of the
    host and the parameters with which they are called."""

    family: Family
    network: Callable[[], type]
    base: Callable[[], type]
    needs: Callable[[], Needs]


def _flux1_needs() -> Needs:
    layers = comfy.ldm.flux.layers
    return {
        layers.DoubleStreamBlock.forward: ("img", "txt", "vec", "modulation_dims_img", "modulation_dims_txt"),
        layers.SingleStreamBlock.forward: ("x", "vec", "modulation_dims"),
        comfy.ldm.flux.model.Flux.forward: (
            "x", "timestep", "context", "y", "guidance", "ref_latents", "transformer_options"
        ),
    }  # fmt: skip


def _qwen_image_needs() -> Needs:
    network = comfy.ldm.qwen_image.model.QwenImageTransformer2DModel
    return {
        network.forward: ("x", "timestep", "context", "ref_latents", "transformer_options"),
        network.process_img: ("x", "index", "h_offset", "w_offset"),
    }


def _flux2_needs() -> Needs:
    network = comfy.ldm.flux.model.Flux
    return {
        network.forward: ("x", "timestep", "context", "guidance", "ref_latents", "transformer_options"),
        network.process_img: ("x", "index"),
    }


HOST_FAMILIES = (
    HostFamily(FLUX1, lambda: comfy.ldm.flux.model.Flux, lambda: comfy.model_base.Flux, _flux1_needs),
    HostFamily(
        QWEN_IMAGE,
        lambda: comfy.ldm.qwen_image.model.QwenImageTransformer2DModel,
        lambda: comfy.model_base.QwenImage,
        _qwen_image_needs,
    ),
    HostFamily(FLUX2, lambda: comfy.ldm.flux.model.Flux, lambda: comfy.model_base.Flux, _flux2_needs),
)


def require_host() -> None:
    """Raise `HostError` if the host changed what an adapter is attached by, whatever the family."""
    patcher = comfy.model_patcher.ModelPatcher
    require_parameters({
        patcher.set_additional_models: ("key", "models"),
        patcher.add_wrapper_with_key: ("wrapper_type", "key", "wrapper"),
        patcher.add_patches: ("patches", "strength_patch"),
        comfy.weight_adapter.lora.LoRAAdapter.__init__: ("loaded_keys", "weights"),
    })  # fmt: skip


def network_of(model: ModelPatcher) -> Any:
    """The module tree inside a MODEL, seen through torch.compile's shell."""
    inner = model.get_model_object("diffusion_model")
    return getattr(inner, "_orig_mod", inner)


def base_of(model: ModelPatcher) -> tuple[Family, Any]:
    """The family of a MODEL and its module tree; `ModelMismatchError` saying what was found instead."""
    require_host()
    network = network_of(model)
    for host in HOST_FAMILIES:
        if isinstance(network, host.network()) and host.family.looks_like(network):
            require_parameters(host.needs())
            return host.family, network
    raise _unknown(model, network)


def is_fused(model: ModelPatcher) -> bool:
    """Whether a MODEL is of a family by its configuration, but runs something else than the host's own layers."""
    require_host()
    network = network_of(model)
    return any(
        isinstance(model.model, host.base()) and not isinstance(network, host.network()) for host in HOST_FAMILIES
    )


def _unknown(model: ModelPatcher, network: Any) -> ModelMismatchError:
    name = f"{type(model.model).__name__} ({type(network).__name__})"
    families = [host.family for host in HOST_FAMILIES]
    titles, models = (one_of(words) for words in zip(*((f.title, f.models) for f in families), strict=True))
    hint = "It seems to be a fused quantised build; load the model with a loader that keeps ComfyUI's own layers."
    return ModelMismatchError(
        f"X2Edit adapters attach to {titles} models; a {name} is connected. "
        + (hint if hasattr(network, "model") else f"Connect {models}.")
    )

"""The host's MODEL, CLIP and VAE as training needs them: weights of our own, latents in model space."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...adapters.adapter import Adapter
from ...errors import ModelMismatchError, X2EditError
from ...families import FLUX1, FLUX2, QWEN_IMAGE, Family, family_of
from ...miniature import BASES
from ...train.config import ModelConfig
from ...train.forms import form_of
from ...train.quantised import Quantised
from ...train.streaming import BlockStream
from ..families import base_of, network_of
from ..host import comfy, fresh_copy, load_tensors, unload
from ..miniature import demo_clip, demo_encoders, is_small_qwen, load_demo_models, small_qwen
from ..pictures import encode_pictures
from .hollow import pack_blocks
from .trainable import BLOCKS, blocks_of

FILL_CHANNELS = 96
_EMBEDDED_BASES = {QWEN_IMAGE.name: "qwen", FLUX2.name: "flux2"}


@dataclass(frozen=True)
class HostModels:
    """What a graph connects, or what a configuration names; `start` is an adapter to begin from, if one is connected."""

    model: Any
    clip: Any
    vae: Any
    start: Adapter | None = None


def load_models(config: ModelConfig) -> HostModels:
    """The models that a configuration names, by the host's loaders; raises `X2EditError` for files that are missing."""
    name = config.base.removeprefix("demo:")
    model, clip, vae = load_demo_models(name) if config.base.startswith("demo:") else (None, None, None)
    if model is None and is_small_qwen(_existing(config.base)):
        model = small_qwen(Path(config.base))
    elif model is None:
        options = {"dtype": torch.float8_e4m3fn} if config.weights == "fp8" else {}
        model = comfy.sd.load_diffusion_model(str(_existing(config.base)), options)
    if config.clip != ["demo"]:
        kind = _clip_kind(base_of(model)[0], bool(config.alignnet))
        clip = _clip([_existing(file) for file in config.clip], kind)
    if config.vae != "demo":
        vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(_existing(config.vae))))
    if clip is None or vae is None:
        shipped_clip, shipped_vae = demo_encoders(_EMBEDDED_BASES.get(base_of(model)[0].name, BASES[0]))
        clip, vae = clip or shipped_clip, vae or shipped_vae
    return HostModels(model, clip, vae)


def _clip_kind(family: Family, alignnet: bool) -> Any:
    kinds = comfy.sd.CLIPType
    if alignnet or family is QWEN_IMAGE:
        return kinds.QWEN_IMAGE
    return kinds.FLUX2 if family is FLUX2 else kinds.FLUX


def _clip(paths: list[Path], kind: Any) -> Any:
    """The host's text encoders, or the embedded one if that is what the single file holds."""
    weights = load_tensors(paths[0]) if len(paths) == 1 else {}
    if "embedding.weight" not in weights:
        return comfy.sd.load_clip([str(path) for path in paths], clip_type=kind)
    return demo_clip(weights)


def _existing(name: str) -> Path:
    path = Path(name)
    if not path.exists():
        raise X2EditError(
            f"The file {name!r} was not found; give its path, or demo:{', demo:'.join(BASES)} for a base."
        )
    return path


def require_form(patcher: Any, kind: str) -> None:
    """Raise `ModelMismatchError` unless an adapter of this kind can be trained on `patcher`."""
    family, flux = base_of(patcher)
    if family is not FLUX1:
        return
    width = flux.img_in.in_features // flux.patch_size**2
    if form_of(kind) == "diptych" and width != FILL_CHANNELS:
        raise ModelMismatchError(
            f"Kind {kind} learns to paint one panel of a diptych, for which FLUX.1 Fill has {FILL_CHANNELS} channels; this "
            f"base takes {width}. Name or connect FLUX.1 Fill dev, or train kind x2edit, moe or lora on this one."
        )


def require_widths(encoded: tuple[Tensor, Tensor], flux: Any) -> None:
    """Raise `ModelMismatchError` unless texts come out as this FLUX reads them."""
    if family_of(flux) is FLUX2:
        return _require_context_width(encoded[0].shape[-1], flux.params.context_in_dim)
    found = tuple(part.shape[-1] for part in encoded)
    wanted = (flux.params.context_in_dim, flux.params.vec_in_dim)
    if found != wanted:
        raise ModelMismatchError(
            f"The text encoder gives {found[0]} and {found[1]} channels; this base reads {wanted[0]} and {wanted[1]}. FLUX.1 "
            "needs CLIP-L and T5-XXL together, from a DualCLIPLoader of type flux."
        )


def _require_context_width(found: int, wanted: int) -> None:
    if found != wanted:
        raise ModelMismatchError(
            f"The text encoder gives {found} channels; this FLUX.2 reads {wanted}. klein 4B needs Qwen3-4B, klein 9B Qwen3-8B, "
            "dev Mistral, from a CLIPLoader of type flux2."
        )


def own_flux(patcher: Any, dtype: torch.dtype, load: bool = True) -> tuple[Any, Any]:
    """The frozen FLUX inside a MODEL, patches included, and whatever keeps it on its device; `load` False is host memory.

    It is never the host's own weights in another state.
    What the host loaded while running a graph cannot take part in autograd (inference tensors). Then it is loaded a
    second time from its file, or copied if it has none. On a CPU a copy in `dtype` computes much faster.
    """
    base_of(patcher)
    frozen_in_graph = any(parameter.is_inference() for parameter in patcher.model.parameters())
    if frozen_in_graph and patcher.cached_patcher_init is not None:
        patcher = fresh_copy(patcher)
        frozen_in_graph = False
    if load:
        comfy.model_management.load_models_gpu([patcher], force_full_load=True)
        flux = network_of(patcher)
    else:
        unload(patcher)  # another clone's patches may lie in the weights
        flux = _patched(patcher)
    parameters = list(flux.parameters())
    plain = all(parameter.dtype in (torch.float32, torch.float16, torch.bfloat16) for parameter in parameters)
    other = plain and any(parameter.dtype != dtype for parameter in parameters)
    if frozen_in_graph or other:
        flux = copy.deepcopy(flux).to(dtype if plain else None)
    return flux.requires_grad_(False).eval(), patcher


def _patched(patcher: Any) -> Any:
    """The FLUX of an unloaded MODEL; a copy if the host would patch weights, with those patched as it would on a CPU."""
    flux = network_of(patcher)
    patched: dict[int, Any] = {}
    for key in patcher.patches:
        weight = comfy.utils.get_attr(patcher.model, key)
        changed = patcher.patch_weight_to_device(key, torch.device("cpu"), return_weight=True)
        patched[id(weight)] = nn.Parameter(changed, requires_grad=False)
    return copy.deepcopy(flux, patched) if patched else flux


def streamed_flux(patcher: Any, dtype: torch.dtype) -> tuple[Any, BlockStream]:
    """The frozen FLUX inside a MODEL, its blocks in host memory and the rest on the device."""
    flux, _ = own_flux(patcher, dtype, load=False)
    device = comfy.model_management.get_torch_device()
    stream = BlockStream(blocks_of(flux), device)
    for name, part in flux.named_children():
        if name not in BLOCKS:
            part.to(device)
    return flux, stream


def packed_flux(patcher: Any, kind: Quantised, dtype: torch.dtype) -> Any:
    """The frozen FLUX inside a MODEL with its blocks in fewer bits, as a copy: one layer at a time visits the device."""
    flux, _ = own_flux(patcher, dtype, load=False)
    return pack_blocks(flux, kind, dtype, comfy.model_management.get_torch_device()).requires_grad_(False).eval()


def frozen_base(patcher: Any, dtype: torch.dtype, config: ModelConfig) -> tuple[Any, Any, BlockStream | None]:
    """The base, what keeps it loaded, and what brings its blocks to the device if they stay in host memory."""
    if config.weights == "int8" or config.weights == "nf4":
        return packed_flux(patcher, config.weights, dtype), patcher, None
    if config.offloaded:
        flux, stream = streamed_flux(patcher, dtype)
        return flux, patcher, stream
    return *own_flux(patcher, dtype), None


class HostPictures:
    """The host's VAE as a picture encoder."""

    def __init__(self, vae: Any, model: Any) -> None:
        self._vae, self._model = vae, model
        self.fingerprint = fingerprint(vae.first_stage_model)

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        latents, family = encode_pictures(self._vae, pictures.float() / 255), base_of(self._model)[0]
        if latents.ndim not in (4, 5) or latents.shape[1] != family.channels:
            raise ModelMismatchError(
                f"The autoencoder makes latents of {list(latents.shape)[1:]}; {family.title} has {family.channels} channels. "
                "Connect or name the model's own (FLUX.1's is ae.safetensors, FLUX.2's flux2-vae.safetensors)."
            )
        return self._flat(self._model.model.process_latent_in(latents)).float().cpu()

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Model-space latents [B, C, h, w] → pictures float [B, H, W, 3] in 0…1."""
        films = latents.unsqueeze(2) if getattr(self._vae, "latent_dim", 2) == 3 else latents
        pictures = self._vae.decode(self._model.model.process_latent_out(films)).cpu()
        return pictures.flatten(0, -4)

    def _flat(self, latents: Tensor) -> Tensor:
        """[B, C, h, w] of the latents of single pictures, of an autoencoder of films too."""
        return latents.squeeze(2) if latents.ndim == 5 else latents


def identities(models: HostModels) -> dict[str, str]:
    """What a run on `models` stands on, by part; equal in another session for the same files, patches and options."""
    return {
        "base model": model_fingerprint(models.model),
        "text encoder": clip_fingerprint(models.clip),
        "autoencoder": fingerprint(models.vae.first_stage_model),
    }


def fingerprint(module: nn.Module, originals: Mapping[str, Tensor] | None = None) -> str:
    """A name for a network's weights: all names and shapes, and the start of every tensor, or of its original."""
    digest, originals = hashlib.sha256(), originals or {}
    for name, tensor in module.state_dict().items():
        head = originals.get(name, tensor).flatten()[:64].to("cpu", torch.float32)
        digest.update(f"{name}{tuple(tensor.shape)}".encode() + head.clone().numpy().tobytes())
    return digest.hexdigest()[:16]


def model_fingerprint(patcher: Any) -> str:
    """A name for what a patcher computes with: its weights as they were before patching, and its patches."""
    originals = {name: kept.weight for name, kept in patcher.backup.items()}
    return _digest(fingerprint(patcher.model, originals), patcher.patches)


def clip_fingerprint(clip: Any) -> str:
    """A name for how a CLIP encodes: weights and patches, the layer that is read, the options of its tokenizer."""
    return _digest(model_fingerprint(clip.patcher), clip.layer_idx, clip.tokenizer_options)


def _digest(*values: Any) -> str:
    digest = hashlib.sha256()
    for value in values:
        _absorb(digest, value)
    return digest.hexdigest()[:16]


_SAMPLED = 1 << 16


def _absorb(digest: Any, value: Any) -> None:
    """Take in a patch or any part of one; of a tensor at most `_SAMPLED` values and a few, evenly spread."""
    if isinstance(value, Tensor):
        flat = value.detach().flatten()
        sampled = flat[:: max(1, flat.numel() // _SAMPLED)].to("cpu", torch.float32)
        digest.update(f"{tuple(value.shape)}".encode() + sampled.clone().numpy().tobytes())
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            digest.update(f"{key}:".encode())
            _absorb(digest, value[key])
    elif isinstance(value, list | tuple):
        digest.update(f"{len(value)}[".encode())
        for item in value:
            _absorb(digest, item)
    elif isinstance(value, str | int | float) or value is None:
        digest.update(f"{value!r};".encode())
    else:  # one of the host's kinds of patch, or a function
        digest.update(getattr(value, "__qualname__", type(value).__qualname__).encode())
        _absorb(digest, getattr(value, "weights", None))

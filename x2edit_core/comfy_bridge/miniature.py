"""The embedded models behind the host's own interfaces: MODEL by its loader, VAE and CLIP as its own classes."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import X2EditError
from ..families import FLUX2
from ..files import TensorFile
from ..miniature import AUTOENCODER, BASES, FLUX, QWEN, TEXT, with_guidance, without_fill
from ..miniature.autoencoder import CHANNELS, PATCH, Autoencoder, in_patches, out_of_patches
from ..miniature.qwen import KIND, sizes_of
from ..miniature.text import LONGEST, PAD, TextConfig, TextEncoder, Token, pad, tokenize
from .host import comfy, load_tensors

if TYPE_CHECKING:
    from comfy.sd import CLIP, VAE

MADE_FOR_PX, LARGEST = 128, 2
"""A side of the pictures that FLUX's miniatures learnt, half of it Qwen-Image's; and how many times that the largest square
has, two in a diptych, that they still make something of. Longer sides are as good where the area is no larger."""
_LEAST_WIDTH = 8
"""Of the host's VAE of films, as a layout whose network is exchanged."""
_FRAMES = 4
"""Pictures of a film to a latent."""


def load_demo_models(base: str) -> tuple[Any, CLIP, VAE]:
    """MODEL, CLIP and VAE of the embedded family `base`, one of `BASES`; raises `X2EditError` for another name."""
    if base not in BASES:
        raise X2EditError(f"There is no embedded base {base!r}; expected one of: {', '.join(BASES)}.")
    if base == "qwen":
        model = small_qwen(QWEN)
    else:
        model = _flux(fill=base == "fill")
    refuse_large(model, MADE_FOR_PX // 2 if base == "qwen" else MADE_FOR_PX)
    return model, *demo_encoders(base)


def demo_encoders(base: str) -> tuple[CLIP, VAE]:
    """CLIP and VAE of the embedded family `base`, or for `flux2` those that a FLUX.2 from a file can be used with."""
    make = {"qwen": demo_film_vae, "flux2": demo_patch_vae}.get(base, demo_vae)
    return demo_clip(load_tensors(TEXT)), make()


def _flux(fill: bool) -> Any:
    weights, metadata = comfy.utils.load_torch_file(str(FLUX), return_metadata=True)
    weights = with_guidance(weights if fill else without_fill(weights))
    model = comfy.sd.load_diffusion_model_state_dict(weights, metadata=metadata)
    return model


def is_small_qwen(path: Path) -> bool:
    """Whether a file holds a Qwen-Image that this pack made, which the host's loader would take for a large one."""
    return path.suffix == ".safetensors" and TensorFile(path).metadata.get("kind") == KIND


def small_qwen(path: Path) -> Any:
    """A Qwen-Image of any size as a MODEL. The host's loader reads depth and channels only, so its model class is given
    the other sizes; what follows is what that loader does."""
    weights = load_tensors(path)
    config = comfy.supported_models.QwenImage({"image_model": "qwen_image", **sizes_of(weights)})
    management = comfy.model_management
    device, kinds = management.get_torch_device(), list(config.supported_inference_dtypes)
    parameters, stored = comfy.utils.calculate_parameters(weights), comfy.utils.weight_dtype(weights)
    dtype = management.unet_dtype(model_params=parameters, supported_dtypes=kinds, weight_dtype=stored)
    config.set_inference_dtype(dtype, management.unet_manual_cast(dtype, device, kinds))
    model = config.get_model(weights, "")
    patcher = comfy.model_patcher.CoreModelPatcher(
        model, load_device=device, offload_device=management.unet_offload_device()
    )
    model.load_model_weights(weights, "", assign=patcher.is_dynamic())
    return patcher


def refuse_large(model: Any, made_for: int) -> None:
    """Let the model refuse pictures far beyond the side `made_for` before the first step: it would draw a flat colour for
    minutes."""
    kinds = comfy.patcher_extension.WrappersMP
    model.add_wrapper_with_key(kinds.APPLY_MODEL, "x2edit miniature", partial(_checked_size, made_for))


def _checked_size(made_for: int, executor: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
    height, width = (side * PATCH for side in x.shape[-2:])
    if height * width > 2 * (LARGEST * made_for) ** 2:
        raise X2EditError(
            f"The embedded models were made for pictures of {made_for} pixels; this one is sampled at {width} × {height}. "
            f"Set `width` of X2Edit Reference or ICEdit Diptych to {made_for}, or load FLUX for pictures of this size."
        )
    return executor(x, *args, **kwargs)


def demo_vae() -> VAE:
    """The embedded autoencoder as the host's VAE.

    The host's constructor knows no such layout. It is given the smallest one it does know with the same latent
    shape, so that every attribute this host version expects is set, and then the network is exchanged.
    """
    vae = comfy.sd.VAE(sd=comfy.taesd.taesd.TAESD(latent_channels=CHANNELS).state_dict())
    return _exchanged(vae, Autoencoder(comfy.ops.disable_weight_init))


def demo_film_vae() -> VAE:
    """The embedded autoencoder as Qwen-Image's kind of VAE: of films, with latents [B, 16, t, h, w]."""
    layout = comfy.ldm.wan.vae.WanVAE(
        dim=_LEAST_WIDTH, z_dim=CHANNELS, temperal_downsample=[False, True, True]
    ).state_dict()
    return _exchanged(comfy.sd.VAE(sd=layout), FilmAutoencoder(comfy.ops.disable_weight_init))


def _exchanged(vae: VAE, network: Autoencoder) -> VAE:
    """The VAE with the embedded network, and its weights, in the place of its own."""
    network.eval().requires_grad_(False)
    patcher = comfy.model_patcher.CoreModelPatcher(
        network, load_device=vae.device, offload_device=comfy.model_management.vae_offload_device()
    )
    network.load_state_dict(load_tensors(AUTOENCODER))
    network.to(vae.vae_dtype)
    comfy.model_management.archive_model_dtypes(network)
    vae.first_stage_model, vae.patcher, vae.size = network, patcher, None
    vae.memory_used_encode = lambda shape, dtype: _memory(shape[0], math.prod(shape[2:]), dtype)
    vae.memory_used_decode = lambda shape, dtype: _memory(shape[0], math.prod(shape[2:]) * PATCH * PATCH, dtype)
    vae.model_size()
    return vae


def demo_patch_vae() -> VAE:
    """The embedded autoencoder as FLUX.2's kind of VAE: latents [B, 128, h, w] of a sixteenth of the picture's size."""
    vae = comfy.sd.VAE(sd=comfy.taesd.taesd.TAESD(latent_channels=CHANNELS).state_dict())
    vae.latent_channels, vae.downscale_ratio, vae.upscale_ratio = FLUX2.channels, FLUX2.latent_px, FLUX2.latent_px
    return _exchanged(vae, PatchAutoencoder(comfy.ops.disable_weight_init))


class PatchAutoencoder(Autoencoder):
    """`Autoencoder` with latents of FLUX.2's shape, which its latent format leaves as they are."""

    def encode(self, picture: Tensor) -> Tensor:
        return in_patches(self.encode_normal(picture))

    def decode(self, latent: Tensor) -> Tensor:
        return self.decode_normal(out_of_patches(latent))


class FilmAutoencoder(Autoencoder):
    """`Autoencoder` on films [B, 3, T, H, W], picture by picture: one latent for the first and for each four that follow,
    as the host's VAE of films counts them, scaled as its latent format expects."""

    def encode(self, picture: Tensor) -> Tensor:
        pictures = picture[:, :, ::_FRAMES]
        latents = self.encode_normal(pictures.transpose(1, 2).flatten(0, 1))
        return comfy.latent_formats.Wan21().process_out(_films(latents, len(picture)))

    def decode(self, latent: Tensor) -> Tensor:
        normal = comfy.latent_formats.Wan21().process_in(latent)
        pictures = _films(self.decode_normal(normal.transpose(1, 2).flatten(0, 1)), len(latent))
        return pictures.repeat_interleave(_FRAMES, 2)[:, :, _FRAMES - 1 :]


def _films(pictures: Tensor, batch: int) -> Tensor:
    """[B·T, C, H, W] → [B, C, T, H, W]."""
    return pictures.unflatten(0, (batch, -1)).transpose(1, 2)


def _memory(batch: int, pixels: int, dtype: torch.dtype) -> float:
    """Bytes the network needs at its widest: pixels in and out, and about as many features."""
    return 16 * batch * pixels * comfy.model_management.dtype_size(dtype)


def is_demo_clip(clip: Any) -> bool:
    """Whether a CLIP is the embedded text encoder."""
    return isinstance(clip.cond_stage_model, DemoTextModel)


def demo_context(clip: CLIP, text: str) -> Tensor:
    """Context [1, T, C] of a text in which nothing is read as syntax."""
    section = [[(token, 1.0) for token in pad(tokenize(text))]]
    return clip.encode_from_tokens({"l": section, "t5xxl": section})


def demo_clip(weights: dict[str, Tensor]) -> CLIP:
    """An embedded text encoder as the host's CLIP, from its state dict."""
    target = comfy.supported_models_base.ClipTarget(DemoTokenizer, DemoTextModel)
    target.params["config"] = TextConfig.of(weights)
    size = sum(tensor.numel() for tensor in weights.values())
    # float32 rather than the host's usual float16: it costs nothing here, and every machine then agrees.
    return comfy.sd.CLIP(target, parameters=size, state_dict=[weights], model_options={"dtype": torch.float32})


class DemoTokenizer:
    """The tokenizer the host's CLIP expects: keys `l` and `t5xxl` as FLUX has them, `(word:1.2)` weights kept.

    Both hold the same tokens. Options of real tokenizers, such as minimum lengths, have no meaning here.
    """

    def __init__(self, embedding_directory: Any = None, tokenizer_data: dict[str, Any] | None = None) -> None:
        del embedding_directory, tokenizer_data

    def tokenize_with_weights(
        self, text: str, return_word_ids: bool = False, **options: Any
    ) -> dict[str, list[list[tuple[Any, ...]]]]:
        del options
        parts = comfy.sd1_clip.token_weights(comfy.sd1_clip.escape_important(text), 1.0)
        weighted = [
            (token, float(weight))
            for part, weight in parts
            for token in tokenize(comfy.sd1_clip.unescape_important(part))
        ][:LONGEST]
        padded = pad([token for token, _ in weighted])
        weights = [weight for _, weight in weighted] + [1.0] * (len(padded) - len(weighted))
        section: list[tuple[Any, ...]] = list(zip(padded, weights, strict=True))
        if return_word_ids:
            section = [(*entry, index + 1 if index < len(weighted) else 0) for index, entry in enumerate(section)]
        return {"l": [section], "t5xxl": [list(section)]}

    def untokenize(self, token_weight_pair: list[tuple[Any, ...]]) -> list[tuple[Any, str]]:
        """Hashes cannot be read back: every token is shown by its table rows."""
        return [(entry, f"#{entry[0][0]}") for entry in token_weight_pair]

    def state_dict(self) -> dict[str, Tensor]:
        return {}


class DemoTextModel(torch.nn.Module):
    """`TextEncoder` with the methods the host's CLIP calls; prompt weights are the host's own arithmetic."""

    def __init__(
        self,
        config: TextConfig,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        model_options: dict[str, Any] | None = None,
    ) -> None:
        del model_options
        super().__init__()
        self.dtypes = {dtype}
        self.execution_device: torch.device | str = device
        self.encoder = (
            TextEncoder(config, comfy.ops.disable_weight_init)
            .to(device=device, dtype=dtype)
            .eval()
            .requires_grad_(False)
        )

    def set_clip_options(self, options: dict[str, Any]) -> None:
        self.execution_device = options.get("execution_device") or self.execution_device

    def reset_clip_options(self) -> None:
        """Nothing but the device is an option here."""

    def gen_empty_tokens(self, special_tokens: dict[str, Any], length: int) -> list[Token]:
        del special_tokens
        return [PAD] * length

    special_tokens: dict[str, Any] = {}

    def encode_token_weights(self, token_weight_pairs: dict[str, list[list[tuple[Any, ...]]]]) -> tuple[Tensor, ...]:
        """Context from `t5xxl`, pooled from `l`, as FLUX takes them."""
        encode = comfy.sd1_clip.ClipTokenWeightEncoder.encode_token_weights
        context, pooled = encode(self, token_weight_pairs["t5xxl"])[:2]
        if token_weight_pairs["l"] != token_weight_pairs["t5xxl"]:
            pooled = encode(self, token_weight_pairs["l"])[1]
        return context, pooled

    def encode(self, tokens: list[list[Token]]) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            return self.encoder(torch.tensor(tokens, device=self.execution_device))

    def load_sd(self, weights: dict[str, Tensor]) -> Any:
        return self.encoder.load_state_dict(weights, strict=False)

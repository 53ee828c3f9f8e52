"""The embedded models behind the host's own interfaces: MODEL by its loader, VAE and CLIP as its own classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import X2EditError
from ..miniature import AUTOENCODER, BASES, FLUX, TEXT, with_guidance, without_fill
from ..miniature.autoencoder import CHANNELS, PATCH, Autoencoder
from ..miniature.text import LONGEST, PAD, TextConfig, TextEncoder, Token, pad, tokenize
from .host import comfy

if TYPE_CHECKING:
    from comfy.sd import CLIP, VAE

MADE_FOR_PX, LARGEST_PX = 128, 256
"""A side of the pictures that the models learnt, and the longest of one picture that they still make something of."""


def load_demo_models(base: str) -> tuple[Any, CLIP, VAE]:
    """MODEL, CLIP and VAE of the embedded family `base`, one of `BASES`; raises `X2EditError` for another name."""
    if base not in BASES:
        raise X2EditError(f"There is no embedded base {base!r}; expected one of: {', '.join(BASES)}.")
    weights, metadata = comfy.utils.load_torch_file(str(FLUX), return_metadata=True)
    weights = with_guidance(weights if base == "fill" else without_fill(weights))
    model = comfy.sd.load_diffusion_model_state_dict(weights, metadata=metadata)
    refuse_large(model)
    return model, demo_clip(comfy.utils.load_torch_file(str(TEXT))), demo_vae()


def refuse_large(model: Any) -> None:
    """Let the model refuse pictures far beyond its own size before the first step: it would draw a flat colour for minutes."""
    kinds = comfy.patcher_extension.WrappersMP
    model.add_wrapper_with_key(kinds.APPLY_MODEL, "x2edit miniature", _checked_size)


def _checked_size(executor: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
    height, width = (side * PATCH for side in x.shape[-2:])
    if height > LARGEST_PX or width > 2 * LARGEST_PX:
        raise X2EditError(
            f"The embedded models were made for pictures of {MADE_FOR_PX} pixels; this one is sampled at {width} × {height}. "
            f"Set `width` of X2Edit Reference or ICEdit Diptych to {MADE_FOR_PX}, or load FLUX for pictures of this size."
        )
    return executor(x, *args, **kwargs)


def demo_vae() -> VAE:
    """The embedded autoencoder as the host's VAE.

    The host's constructor knows no such layout. It is given the smallest one it does know with the same latent
    shape, so that every attribute this host version expects is set, and then the network is exchanged.
    """
    vae = comfy.sd.VAE(sd=comfy.taesd.taesd.TAESD(latent_channels=CHANNELS).state_dict())
    network = Autoencoder(comfy.ops.disable_weight_init).eval().requires_grad_(False)
    patcher = comfy.model_patcher.CoreModelPatcher(
        network, load_device=vae.device, offload_device=comfy.model_management.vae_offload_device()
    )
    network.load_state_dict(comfy.utils.load_torch_file(str(AUTOENCODER)))
    network.to(vae.vae_dtype)
    comfy.model_management.archive_model_dtypes(network)
    vae.first_stage_model, vae.patcher, vae.size = network, patcher, None
    vae.memory_used_encode = lambda shape, dtype: _memory(shape[0], shape[2] * shape[3], dtype)
    vae.memory_used_decode = lambda shape, dtype: _memory(shape[0], shape[2] * shape[3] * PATCH * PATCH, dtype)
    vae.model_size()
    return vae


def _memory(batch: int, pixels: int, dtype: torch.dtype) -> float:
    """Bytes the network needs at its widest: pixels in and out, and about as many features."""
    return 16 * batch * pixels * comfy.model_management.dtype_size(dtype)


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
        context, pooled = encode(self, token_weight_pairs["t5xxl"])
        if token_weight_pairs["l"] != token_weight_pairs["t5xxl"]:
            pooled = encode(self, token_weight_pairs["l"])[1]
        return context, pooled

    def encode(self, tokens: list[list[Token]]) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            return self.encoder(torch.tensor(tokens, device=self.execution_device))

    def load_sd(self, weights: dict[str, Tensor]) -> Any:
        return self.encoder.load_state_dict(weights, strict=False)

"""The embedded autoencoder and text encoder in training; they need no host."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ..miniature import text
from ..miniature.autoencoder import Autoencoder, in_patches, initial_weights, out_of_patches, to_pixels


def digest_of(weights: dict[str, Tensor]) -> str:
    """A name for what these weights compute."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


class EmbeddedPictures:
    """The embedded autoencoder as a picture encoder; a missing file means its weights before training."""

    def __init__(self, path: Path | None, device: torch.device) -> None:
        weights = load_file(path) if path and path.exists() else initial_weights()
        self.network = Autoencoder().requires_grad_(False).eval()
        self.network.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
        self.fingerprint = digest_of(weights)
        self._device = device
        self.network.to(device)

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        return self.network.encode_normal(to_pixels(pictures.to(self._device))).cpu()

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Model-space latents [B, 16, h, w] → pictures float [B, H, W, 3] in 0…1."""
        pixels = self.network.decode_normal(latents.to(self._device).float())
        return ((pixels.clamp(-1, 1) + 1) / 2).movedim(1, -1).cpu()


class EmbeddedPatches(EmbeddedPictures):
    """The same as FLUX.2's kind of picture encoder, latents [B, 128, H/16, W/16]; see `miniature.autoencoder.in_patches`."""

    def encode(self, pictures: Tensor) -> Tensor:
        return in_patches(super().encode(pictures))

    def decode(self, latents: Tensor) -> Tensor:
        return super().decode(out_of_patches(latents))


class EmbeddedText(nn.Module):
    """The embedded text encoder on plain texts."""

    def __init__(self, encoder: text.TextEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    @classmethod
    def of(cls, path: Path | None, config: text.TextConfig, seed: int) -> EmbeddedText:
        """From a file, or with new weights of the seed for a `config`."""
        weights = load_file(path) if path else text.initial_weights(config, seed)
        encoder = text.TextEncoder(text.TextConfig.of(weights) if path else config)
        encoder.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
        return cls(encoder)

    def forward(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        weight = self.encoder.embedding.weight
        return self.encoder(text.batch(texts, self.encoder.config.table).to(weight.device))

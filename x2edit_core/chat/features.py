"""Feature vectors of pictures and texts from a local CLIP or DINO folder, for the reference metrics.

Lives with the chats because only they import transformers. Local files only; the weights are a person's own to fetch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import X2EditError
from .folder import OnDevice, Resident, Running
from .images import to_pil

log = logging.getLogger(__name__)

LONGEST_PX = 1024
"""Larger pictures are reduced before the model's own preparation."""
WORKING_SHARE = 48
"""Generous room for activations, in sizes of the prepared input, for whoever makes room in memory."""


class FolderFeatures:
    """The encoder in `folder`: `openai/clip-vit-*`, SigLIP or DINO in the transformers layout, loaded at first use.

    `settle` takes the loaded module in charge; by default it stays on `device`.
    """

    def __init__(
        self,
        folder: str | Path,
        device: torch.device | str = "cpu",
        settle: Callable[[nn.Module], Resident] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self._settle = settle or (lambda module: OnDevice(module, device))
        if not (self.folder / "config.json").is_file():
            raise X2EditError(
                f"{self.folder.name} is not a transformers folder: it has no config.json. Put a whole CLIP or DINO "
                "repository there."
            )
        self._loaded: tuple[Any, Any, Resident] | None = None

    @property
    def reads_text(self) -> bool:
        """Whether the model has a text side, as CLIP has and DINO has not."""
        return hasattr(self._model()[0], "get_text_features")

    def of_pictures(self, pictures: Sequence[Any]) -> Tensor:
        """float32 [B, D] on the CPU: CLIP's joint space, or DINO's class token. Pictures are PIL or tensors [H, W, 3]."""
        model, processor, _ = self._model()
        pixels = processor(images=[to_pil(picture, LONGEST_PX) for picture in pictures], return_tensors="pt")[
            "pixel_values"
        ]
        with self._running(pixels.nbytes) as device:
            if self.reads_text:
                return _vectors(model.get_image_features(pixel_values=pixels.to(device)))
            return model(pixel_values=pixels.to(device)).last_hidden_state[:, 0].float().cpu()

    def of_texts(self, texts: Sequence[str]) -> Tensor:
        """float32 [B, D] in CLIP's joint space; what is too long for the model is cut off."""
        model, processor, _ = self._model()
        if not self.reads_text:
            raise X2EditError(f"{self.folder.name} has no text side; CLIP-T needs a CLIP folder.")
        prepared = processor(text=list(texts), padding=True, truncation=True, return_tensors="pt")
        with self._running(sum(value.nbytes for value in prepared.values())) as device:
            return _vectors(model.get_text_features(**{name: value.to(device) for name, value in prepared.items()}))

    def forget(self) -> None:
        """Let the model go; the next question reads it again."""
        self._loaded = None

    def _running(self, input_bytes: int) -> Running:
        return Running(self._model()[2], input_bytes * WORKING_SHARE, self.folder.name)

    def _model(self) -> tuple[Any, Any, Resident]:
        if self._loaded is None:
            self._loaded = self._read()
        return self._loaded

    def _read(self) -> tuple[Any, Any, Resident]:
        import transformers

        log.info("Loading %s with transformers %s", self.folder.name, transformers.__version__)
        options = {"local_files_only": True, "trust_remote_code": False}
        try:
            # Made outside inference mode, so that the host may move the weights whenever it likes.
            with torch.inference_mode(False), torch.no_grad():
                model = transformers.AutoModel.from_pretrained(self.folder, use_safetensors=True, **options)
            reader = (
                transformers.AutoProcessor if hasattr(model, "get_text_features") else transformers.AutoImageProcessor
            )
            processor = reader.from_pretrained(self.folder, **options)
        except Exception as error:  # a folder can be wrong in ways that raise nearly anything
            reason = " ".join(str(error).split())[:300]
            raise X2EditError(f"{self.folder.name} cannot be loaded as an image encoder: {reason}") from error
        model.eval().requires_grad_(False)
        return model, processor, self._settle(model)


def _vectors(features: Any) -> Tensor:
    """Newer releases of transformers answer with an object that holds the vectors."""
    return (features if isinstance(features, Tensor) else features.pooler_output).float().cpu()

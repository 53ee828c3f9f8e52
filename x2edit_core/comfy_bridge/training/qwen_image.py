"""The host's own Qwen-Image as a model that can be trained.

Its blocks add to copies, so that autograd and checkpointing take them as they are; only the host's fast rope has no
derivative, and `in_training` selects the one that has.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from ...adapters.attach import Forward, swapped
from ...adapters.moe import WIDE
from ...train.model import Inputs, Prediction, Watch
from ..families.qwen_image import METHOD, Centring
from ..host import comfy
from ..placement import token_count
from .checkpointing import checkpointed
from .trainable import Trainable, Watched, blocks_of


class TrainableQwenImage(Trainable):
    """A Qwen-Image of the host with an optional adapter, as `train.model.Model`."""

    @contextlib.contextmanager
    def predicting(self, inputs: Inputs, watch: Watch | None = None) -> Iterator[Prediction]:
        """The velocity of one batch. Backward belongs inside: checkpointed blocks run again, still with their adapter."""
        seen = Watched(token_count(self.network, inputs.noisy)) if watch else None
        observer = seen if watch and watch.gates else None
        features = self._feature_swaps(seen) if seen and watch and watch.features else []
        with Centring(self.network).placing(), swapped(self._site_swaps(inputs, observer)), swapped(features):
            velocity = self._forward(inputs)
            if seen:
                seen.closed = True
            shown = velocity if velocity.dtype in WIDE else velocity.float()
            yield Prediction(shown, seen.features if seen else [], seen.gates if seen else [])

    def _forward(self, inputs: Inputs) -> Tensor:
        dtype = self.settings.dtype
        references = [reference.to(dtype).unsqueeze(2) for reference in inputs.references]
        noisy, context = inputs.noisy.to(dtype).unsqueeze(2), inputs.context.to(dtype)
        options = {"ref_latents": references, "ref_latents_method": METHOD} if references else {}
        attending = {"optimized_attention_override": _attention}
        return self.network(noisy, inputs.sigma, context, transformer_options=attending, **options).squeeze(2)

    def _lasting_swaps(self) -> list[tuple[nn.Module, Forward]]:
        """Layers in fewer bits, blocks that wait for their weights, and checkpointed ones."""
        swaps = self._lean_swaps()
        if not self.stream and not self.settings.checkpointing:
            return swaps
        blocks = enumerate(blocks_of(self.network))
        return swaps + [(block, self._lasting_forward(number, block.forward)) for number, block in blocks]

    def _lasting_forward(self, number: int, forward: Forward) -> Forward:
        if self.stream:
            forward = self.stream.around(number, forward, recomputed=self.settings.checkpointing)
        return _checkpointed(forward, self.settings.host_checkpoints) if self.settings.checkpointing else forward

    def _feature_swaps(self, seen: Watched) -> list[tuple[nn.Module, Forward]]:
        return [(block, _watched(block.forward, seen)) for block in blocks_of(self.network)]


def _attention(host: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
    """torch's own, whatever the host was started with: some of those have no derivative, and say nothing of it."""
    del host
    return comfy.ldm.modules.attention.attention_pytorch(*args, **kwargs)


def _checkpointed(original: Callable[..., Any], in_host: bool) -> Callable[..., Any]:
    """The host calls its blocks by name."""

    def forward(**kwargs: Any) -> Any:
        return checkpointed(original, kwargs, in_host)

    return forward


def _watched(original: Callable[..., Any], seen: Watched) -> Callable[..., Any]:
    """A block whose target tokens are kept; it gives text first, then the image."""

    def forward(*args: Any, **kwargs: Any) -> Any:
        text, image = original(*args, **kwargs)
        seen.features.append(image[:, : seen.target_tokens])
        return text, image

    return forward

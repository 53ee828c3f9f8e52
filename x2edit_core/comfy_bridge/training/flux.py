"""The host's own FLUX as a model that can be trained: correct gradients in spite of its in-place updates.

Two facts of the host decide the form. Its blocks add to their inputs in place, which corrupts what autograd and
gradient checkpointing had saved; so norms and checkpointed blocks work on copies. And its fast rope has no derivative;
`in_training` selects the one that has.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...adapters.attach import Forward, find_module, swapped
from ...adapters.moe import WIDE
from ...train.model import Inputs, Prediction, Watch
from ...train.parallel import is_sharded
from ..host import comfy
from ..placement import token_count
from ..stack import clean_vector, reference_plan, reference_swaps, with_placed_references
from .checkpointing import checkpointed
from .trainable import Trainable, Watched, blocks_of

PLAIN_ATTENTION_TOKENS = 1024
"""Up to this many tokens a CPU attends by plain products."""


class TrainableFlux(Trainable):
    """A FLUX of the host with an optional adapter, as `train.model.Model`."""

    @contextlib.contextmanager
    def predicting(self, inputs: Inputs, watch: Watch | None = None) -> Iterator[Prediction]:
        """The velocity of one batch. Backward belongs inside: checkpointed blocks run again, still with their adapter."""
        seen = Watched(token_count(self.network, inputs.noisy)) if watch else None
        with self._computing():
            swaps, options = self._passing_swaps(inputs)
            swaps = self._site_swaps(inputs, seen if watch and watch.gates else None) + swaps
        with swapped(swaps):
            if seen and watch and watch.features:
                scope = swapped(self._feature_swaps(seen))
            else:
                scope = contextlib.nullcontext()
            with scope:
                with self._computing():
                    velocity = self._forward(inputs, options)
                if seen:
                    seen.closed = True
                shown = velocity if velocity.dtype in WIDE else velocity.float()
                yield Prediction(shown, seen.features if seen else [], seen.gates if seen else [])

    def _computing(self) -> Any:
        settings = self.settings
        if not settings.autocast:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=settings.dtype)

    def _forward(self, inputs: Inputs, options: dict[str, Any]) -> Tensor:
        dtype = torch.float32 if self.settings.autocast else self.settings.dtype
        noisy = inputs.noisy if inputs.concat is None else torch.cat((inputs.noisy, inputs.concat), 1)
        references = [reference.to(dtype) for reference in inputs.references]
        return self.network(
            noisy.to(dtype),
            inputs.sigma,
            inputs.context.to(dtype),
            inputs.pooled.to(dtype),
            self._guidance(inputs),
            ref_latents=references or None,
            transformer_options=options,
        )

    def _guidance(self, inputs: Inputs) -> Tensor | None:
        if not self.network.params.guidance_embed:
            return None
        return torch.full_like(inputs.sigma, self.settings.guidance)

    def _passing_swaps(self, inputs: Inputs) -> tuple[list[tuple[nn.Module, Forward]], dict[str, Any]]:
        """What places and modulates the references of this batch, and the options that go with it."""
        rotary = Rotary(self.network)
        options: dict[str, Any] = {
            "patches": {"post_input": [rotary.take_positions]},
            "optimized_attention_override": rotary.attention,
        }
        first = self._plain_input(inputs)
        if not inputs.references:
            return first, options
        flags = (True,) * len(inputs.references)
        plan = reference_plan(self.network, inputs.noisy, list(inputs.references), flags, self.settings.offsets)
        pooled = inputs.pooled.to(self.settings.dtype)
        vector = clean_vector(self.network, self.settings.dtype, inputs.sigma, pooled, self._guidance(inputs))
        return first + reference_swaps(self.network, plan, vector), with_placed_references(options, plan)

    def _plain_input(self, inputs: Inputs) -> list[tuple[nn.Module, Forward]]:
        """A FLUX Fill's first layer for patches that lack its further channels: the same as if those were zero."""
        layer = self.network.img_in
        if inputs.concat is not None or layer.in_features == inputs.noisy.shape[1] * self.network.patch_size**2:
            return []
        return [(layer, lambda x: functional.linear(x, layer.weight[:, : x.shape[-1]].to(x.dtype), layer.bias))]

    def _lasting_swaps(self) -> list[tuple[nn.Module, Forward]]:
        """Norms on copies of their inputs; blocks that wait for their weights, and checkpointed ones on copies too."""
        swaps = self._lean_swaps()
        for number, block in enumerate(blocks_of(self.network)):
            norms = ("img_norm1", "img_norm2", "txt_norm1", "txt_norm2", "pre_norm")
            found = [getattr(block, name) for name in norms if hasattr(block, name)]
            swaps += [(norm, _on_a_copy(norm.forward)) for norm in found]
            if self.settings.autocast:
                scales = [norm for name, norm in block.named_modules() if name.endswith(("query_norm", "key_norm"))]
                swaps += [(norm, _in_one_dtype(norm)) for norm in scales]
            swaps.append((block, self._lasting_forward(number, block)))
        return swaps

    def _lasting_forward(self, number: int, block: nn.Module) -> Forward:
        forward, checkpointing = block.forward, self.settings.checkpointing
        if self.stream:
            forward = self.stream.around(number, forward, recomputed=checkpointing)
        if not (checkpointing or is_sharded(block)):
            return forward
        return _on_copies(forward, checkpointing, self.settings.host_checkpoints)

    def _feature_swaps(self, seen: Watched) -> list[tuple[nn.Module, Forward]]:
        blocks = [
            find_module(self.network, f"double_blocks.{index}") for index in range(len(self.network.double_blocks))
        ]
        return [(block, _watched(block.forward, seen)) for block in blocks]


def _watched(original: Callable[..., Any], seen: Watched) -> Callable[..., Any]:
    """A double block whose target tokens are kept, as a copy: the next block writes into them."""

    def forward(*args: Any, **kwargs: Any) -> Any:
        img, txt = original(*args, **kwargs)
        seen.features.append(img[:, : seen.target_tokens].clone())
        return img, txt

    return forward


def _on_a_copy(original: Forward) -> Forward:
    return lambda x: original(x.clone())


def _on_copies(original: Callable[..., Any], checkpointing: bool, in_host: bool) -> Callable[..., Any]:
    """A block that leaves its inputs alone; `checkpointing` keeps only them and runs it again in backward."""

    def run(**given: Any) -> Any:
        copies = {name: given[name].clone() for name in ("img", "txt", "x") if name in given}
        return original(**{**given, **copies})

    def forward(*args: Any, **kwargs: Any) -> Any:
        names = ("img", "txt") if "img" in kwargs or len(args) > 2 else ("x",)
        given = dict(zip((*names, "vec"), args, strict=False)) | kwargs
        return checkpointed(run, given, in_host) if checkpointing else run(**given)

    return forward


def _in_one_dtype(norm: Any) -> Forward:
    """An RMS norm whose float32 scale follows its input: mixed dtypes have no fused form. Epsilon is float32's."""
    epsilon = norm.eps or torch.finfo(torch.float32).eps
    return lambda x: functional.rms_norm(x, norm.normalized_shape, norm.weight.to(x.dtype), epsilon)


def _is_for_cpu(tensor: Tensor) -> bool:
    """Whether a CPU computes with it; without values it stands for one on the host's device."""
    kind = tensor.device.type
    return (comfy.model_management.get_torch_device().type if kind == "meta" else kind) == "cpu"


class Rotary:
    """Attention with rotary positions, in the place of the host's: differentiable on every device, and fast on a CPU.

    The host's rope for training works on 2 × 2 matrices in float32; one complex product does the same in a fifth of the
    time. torch's fused attention is slower than plain products for the short sequences that a CPU trains on.
    """

    def __init__(self, flux: Any) -> None:
        self._flux = flux
        self._turn: Tensor | None = None

    def take_positions(self, state: dict[str, Any]) -> dict[str, Any]:
        """A `post_input` patch, last in line: the positions come here, and the host does without.

        Every row of a training batch has the same grid, so one row's serves all.
        """
        ids = torch.cat((state["txt_ids"][:1], state["img_ids"][:1]), 1)
        matrices = self._flux.pe_embedder(ids)  # [1, 1, T, width / 2, 2, 2]
        self._turn = torch.complex(matrices[..., 0, 0], matrices[..., 1, 0])
        return {**state, "img_ids": None, "txt_ids": None}

    def attention(
        self, host: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor, heads: int, *args: Any, **kwargs: Any
    ) -> Tensor:
        """q, k, v [B, heads, T, width] → [B, T, heads · width]."""
        del host, heads, args
        q, k = self._turned(q), self._turned(k)
        mask = kwargs.get("mask")
        if q.shape[2] <= PLAIN_ATTENTION_TOKENS and mask is None and _is_for_cpu(q):
            attended = torch.softmax((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2), -1) @ v
        else:
            attended = functional.scaled_dot_product_attention(q, k, v, mask)
        return attended.transpose(1, 2).flatten(2)

    def _turned(self, x: Tensor) -> Tensor:
        assert self._turn is not None, "positions are taken before attention"
        wide = x if x.dtype == torch.float64 else x.float()
        pairs = torch.view_as_complex(wide.unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * self._turn).flatten(-2).to(x.dtype)

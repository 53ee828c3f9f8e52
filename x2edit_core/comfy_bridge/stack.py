"""What happens inside a forward pass of a patched model: experts, references and streams attached for that pass only.

One `AdapterStack` per patched model holds all adapters applied to it, in one keyed wrapper: references are placed and
modulated once per forward however many adapters there are, and all adapters of a site read before any adds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..adapters.adapter import REFERENCES
from ..adapters.attach import Attachment, BoundDelta, Forward, Observer, bind, find_module, site_swaps, swapped
from ..errors import ModelMismatchError, X2EditError
from ..families import FLUX2, QWEN_IMAGE, family_of
from ..families.flux2 import DEFAULT_METHOD
from ..reference import (
    AUTOMATIC_OFFSETS,
    ReferencePlan,
    automatic_offset,
    double_block_forward,
    host_method,
    ours,
    place_references,
    plan_references,
    reference_grid,
    single_block_forward,
)
from .call import Call
from .families import flux2, qwen_image
from .host import comfy, modulation_row
from .notices import say_once
from .placement import Placement, require_modulated, token_count, token_grid
from .replaced import Entrance
from .streams import Stream, attending

KEY = "x2edit"
_ACTIVE = "x2edit_active"
_POSITIVE = 0
"""The host's mark of a positive prompt among the rows of a pass."""
MODULATED_BY = {"double_blocks": ("modulation_dims_img", "modulation_dims_txt"), "single_blocks": ("modulation_dims",)}
_WIDER_BASES = {96: "FLUX.1 Fill", 32: "FLUX.1 Canny or Depth"}


Placed = tuple[list[tuple[nn.Module, Forward]], AbstractContextManager[None]]
"""New forwards for a pass, and the scope that places its tokens."""


class AdapterStack:
    """Adapters applied to one model, in order. Immutable but for caches of a few kilobytes per device."""

    def __init__(
        self,
        attachments: tuple[Attachment, ...],
        observer: Observer | None = None,
        streams: tuple[Stream, ...] = (),
    ) -> None:
        self.attachments, self.streams = attachments, streams
        self._observer = observer
        self._biases: dict[torch.device, list[list[Tensor | None]]] = {}
        self._rows: dict[tuple[torch.device, tuple[int, ...]], Tensor] = {}
        self.copies: WeakKeyDictionary[nn.Module, AdapterStack] = WeakKeyDictionary()
        """For the copies of this FLUX on further devices, the same adapters with the weights that lie there."""
        self.entrance = Entrance("and its own way calls no wrappers, so the adapter would not act at all")
        self._branches = qwen_image.Branches()
        self._require_equal_offsets()
        self._reference_method = self._one_method()

    @property
    def _placing(self) -> list[Attachment]:
        """The attachments with a say in where references stand."""
        return [item for item in self.attachments if any(item.adapter.spec.offsets)]

    @property
    def reads_outputs(self) -> bool:
        """Whether some adapter reads what a layer gives instead of what it is given."""
        return any(site.side == "output" for item in self.attachments for site in item.adapter.sites)

    def _require_equal_offsets(self) -> None:
        asked = {(item.reference_offset, item.reference_offset or item.adapter.spec.offsets) for item in self._placing}
        if len(asked) > 1:
            values = ", ".join(str(offset or "automatic") for offset, _ in sorted(asked, key=str))
            raise X2EditError(
                f"The stacked X2Edit adapters ask for different reference offsets ({values}); references can stand in "
                "one place only. Give all X2EditApply nodes the same reference_offset."
            )

    def _one_method(self) -> str:
        """How the host places references for these adapters, where it does that itself."""
        asked = sorted({item.adapter.spec.notes.get(REFERENCES, DEFAULT_METHOD) for item in self.attachments})
        if len(asked) > 1:
            raise X2EditError(
                f"The stacked X2Edit adapters were trained with different references ({', '.join(asked)}); a pass has one "
                "kind only. Use adapters of one kind."
            )
        return asked[0] if asked else DEFAULT_METHOD

    @property
    def always_on(self) -> bool:
        """Whether everything acts throughout sampling."""
        return all(item.always_on for item in (*self.attachments, *self.streams))

    def plus(self, attachment: Attachment) -> AdapterStack:
        return self.with_parts((*self.attachments, attachment), self.streams)

    def with_parts(self, attachments: tuple[Attachment, ...], streams: tuple[Stream, ...]) -> AdapterStack:
        return AdapterStack(attachments, self._observer, streams)

    def watched(self, observer: Observer) -> AdapterStack:
        """The same stack with an observer of its gates."""
        return AdapterStack(self.attachments, observer, self.streams)

    def apply_model(self, executor: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Wrapper around the host's `BaseModel.apply_model`: decides which adapters are within start–end.

        Percents become sigmas here, from the model sampling in force now: a shift node after ours changes it.
        """
        sampling = executor.class_obj.model_sampling  # pyright: ignore[reportFunctionMemberAccess]
        call = Call(executor, args, kwargs, ("t", "transformer_options"))
        sigma = float(call["t"].max())
        active = tuple(
            item.always_on or sampling.percent_to_sigma(item.end) < sigma <= sampling.percent_to_sigma(item.start)
            for item in (*self.attachments, *self.streams)
        )
        call["transformer_options"] = {**call["transformer_options"], _ACTIVE: active}
        return call.on(executor)

    @torch.compiler.disable(reason="forwards are swapped per pass, which a compiled graph would not notice")
    def diffusion_model(self, executor: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Wrapper around the `forward` of the host's model: attaches experts and references for this pass.

        Under torch.compile the pass runs uncompiled: correct, at the speed of an uncompiled model.
        """
        call = Call(executor, args, kwargs, ("x", "ref_latents", "transformer_options"))
        ref_latents, options = call["ref_latents"], call["transformer_options"]
        network: nn.Module = executor.class_obj  # pyright: ignore[reportFunctionMemberAccess]
        self.entrance.reach(network)
        acting = options.get(_ACTIVE, (True,) * (len(self.attachments) + len(self.streams)))
        active, streaming = acting[: len(self.attachments)], acting[len(self.attachments) :]
        own = self.copies.get(network, self)
        swaps = site_swaps(network, own._bound(active, call["x"], options))
        method = call["ref_latents_method"]
        flags = ours(method, len(ref_latents or ()))
        if not flags:
            self._say_if_nothing_is_edited(active, options)
        family = family_of(network)
        if not all(flags) and family is not FLUX2:
            say_once(
                "foreign references",
                "X2Edit: reference latents that were set by another node keep ComfyUI's own placement; "
                "use X2EditReference to place them as the adapter was trained.",
            )
        if any(flags):
            require_like_latents(call["x"], [latent for latent, mine in zip(ref_latents, flags, strict=True) if mine])
        placers = {QWEN_IMAGE.name: self._place_qwen_image, FLUX2.name: self._place_flux2}
        place = placers.get(family.name if family else "", self._place_flux)
        more, placing = place(network, call, flags)
        with placing, swapped(swaps + more), attending(network, own.streams, streaming, call):
            return call.on(executor)

    def _place_flux(self, flux: Any, call: Call, flags: tuple[bool, ...]) -> Placed:
        """References at their own rows and modulated as clean tokens; a pass without any of ours stays as it is."""
        if not any(flags):
            return [], contextlib.nullcontext()
        x = call["x"]
        call["ref_latents"], flags = foreign_first(call["ref_latents"], flags)
        call["ref_latents_method"], clean = host_method(call["ref_latents_method"])
        plan = self._plan(flux, x, call["ref_latents"], flags, clean)
        placement = Placement(flux, call["ref_latents"], flags, plan)
        vector = clean_vector(flux, x.dtype, call["timestep"], call["y"], call["guidance"])
        return placement.required(reference_swaps(flux, plan, vector)), placement.placing()

    def _place_qwen_image(self, network: Any, call: Call, flags: tuple[bool, ...]) -> Placed:
        """All positions as the adapter was trained, references or not."""
        self._branches.tell(call["transformer_options"], any(flags))
        if any(flags):
            qwen_image.choose_method(network, call, flags)
        centring = qwen_image.Centring(network)
        return centring.required(), centring.placing()

    def _place_flux2(self, network: Any, call: Call, flags: tuple[bool, ...]) -> Placed:
        """References as the adapters were trained with them; a pass without any of ours stays as it is."""
        if not any(flags):
            flux2.say_if_mixed(network, call, len(flags), self._reference_method)
            return [], contextlib.nullcontext()
        references = flux2.place(network, call, flags, self._reference_method)
        return references.required(), references.placing()

    def _say_if_nothing_is_edited(self, active: tuple[bool, ...], options: dict[str, Any]) -> None:
        """Of a pass without references; those of negative prompts alone need none."""
        edits = (item.adapter.spec.kind == "x2edit" for item in self.attachments)
        if any(map(all, zip(edits, active, strict=True))) and (
            _POSITIVE in options.get("cond_or_uncond", (_POSITIVE,))
        ):
            say_once(
                "no reference",
                "X2Edit: the conditioning that reaches the sampler holds no reference, so there is no picture to edit. Put "
                "X2Edit Reference behind the last node that makes or changes text; a node that encodes text of its own, as "
                "detailers with wildcards do, loses the reference.",
            )

    def _bound(self, active: tuple[bool, ...], x: Tensor, options: dict[str, Any]) -> list[list[BoundDelta]]:
        """The active adapters' experts for a pass over `x`; the host's sigmas are one for each picture it samples."""
        rows, device, chunks = x.shape[0], x.device, len(options.get("cond_or_uncond", (0,)))
        pictures = len(options.get("sigmas", ()))
        if device not in self._biases:
            self._biases[device] = [
                [None if bias is None else bias.to(device) for bias in item.task_biases()] for item in self.attachments
            ]
        return [
            bind(item, biases, self._entry_rows(item.entry_rows(rows, chunks, pictures), device), self._observer)
            for item, biases, on in zip(self.attachments, self._biases[device], active, strict=True)
            if on
        ]

    def _entry_rows(self, entries: tuple[int, ...], device: torch.device) -> Tensor:
        """Task entry of each row as a tensor on `device`; kept, so that a step copies nothing to the device."""
        key = (device, entries)
        if key not in self._rows:
            if len(self._rows) > 32:
                self._rows.clear()
            self._rows[key] = torch.tensor(entries, device=device)
        return self._rows[key]

    def _plan(
        self, flux: Any, x: Tensor, ref_latents: list[Tensor], flags: tuple[bool, ...], clean: bool
    ) -> ReferencePlan:
        for item in self._placing[:1]:
            return reference_plan(flux, x, ref_latents, flags, item.adapter.spec.offsets, item.reference_offset, clean)
        return reference_plan(flux, x, ref_latents, flags, AUTOMATIC_OFFSETS, clean=clean)


def reference_plan(
    flux: Any,
    x: Tensor,
    references: list[Tensor],
    flags: tuple[bool, ...],
    offsets: tuple[int, int],
    chosen: int = 0,
    clean: bool = False,
) -> ReferencePlan:
    """Where the references of latent `x` stand; `chosen` is their row offset, 0 takes it from `offsets` by size.

    `clean`: those of other nodes are modulated as clean tokens too.
    """
    target_tokens = token_count(flux, x)
    offset = chosen or automatic_offset(target_tokens, offsets)
    grids, rank = [], 0
    for latent, is_ours in zip(references, flags, strict=True):
        rank += is_ours
        rows, columns = token_grid(flux, latent)
        grids.append(reference_grid(rows, columns, rank * offset, len(flux.params.axes_dim), x.device))
    return plan_references(target_tokens, grids, flags, clean)


def require_like_latents(x: Tensor, references: list[Tensor]) -> None:
    """Raise `ModelMismatchError` for a base that takes further channels beside the picture's own [B, C, …, h, w], and for
    references of another kind of autoencoder."""
    found, expected = x.shape[1], references[0].shape[1]
    films = any(reference.shape[2:-2] != x.shape[2:-2] for reference in references)
    if films or (found != expected and found not in _WIDER_BASES):
        numbers = "" if films else f": its latents have {expected} channels, the model works on {found}"
        raise ModelMismatchError(
            f"The reference was encoded by the autoencoder of another kind of model{numbers}. Connect the VAE that belongs to "
            "the connected model to X2Edit Reference: FLUX's for FLUX.1, Qwen-Image's for Qwen-Image, FLUX.2's for FLUX.2."
        )
    if found != expected:
        raise ModelMismatchError(
            f"{_WIDER_BASES[found]} takes {found} channels, a reference latent has {expected}, so references cannot stand "
            "beside its picture. Load a text-to-image FLUX.1 (dev, Krea, schnell) for X2EditReference; to edit with FLUX.1 "
            "Fill, use ICEdit Diptych and ICEdit Conditioning in its place."
        )


def foreign_first(references: list[Tensor], flags: tuple[bool, ...]) -> tuple[list[Tensor], tuple[bool, ...]]:
    """The same references with those of other nodes before ours, so that the host places them as if alone."""
    order = sorted(range(len(flags)), key=flags.__getitem__)
    return [references[index] for index in order], tuple(flags[index] for index in order)


def clean_vector(flux: Any, dtype: torch.dtype, timestep: Tensor, y: Tensor | None, guidance: Tensor | None) -> Tensor:
    """The modulation vector [B, D] of t = 0 with this pass's guidance and pooled text, summed as the host sums it."""
    timestep_embedding = comfy.ldm.flux.layers.timestep_embedding
    vec = flux.time_in(timestep_embedding(torch.zeros_like(timestep), 256).to(dtype))
    if flux.params.guidance_embed and guidance is not None:
        vec = vec + flux.guidance_in(timestep_embedding(guidance, 256).to(dtype))
    if flux.vector_in is not None:
        width = flux.params.vec_in_dim
        pooled = torch.zeros((timestep.shape[0], width), device=timestep.device, dtype=dtype) if y is None else y
        vec = vec + flux.vector_in(pooled[:, :width])
    return vec


def reference_swaps(flux: Any, plan: ReferencePlan, clean_vec: Tensor) -> list[tuple[nn.Module, Forward]]:
    spans = tuple((start, end, modulation_row(index)) for start, end, index in plan.spans)
    plan = replace(plan, spans=spans)
    swaps: list[tuple[nn.Module, Forward]] = []
    for kind, make in (("double_blocks", double_block_forward), ("single_blocks", single_block_forward)):
        for index in range(len(getattr(flux, kind))):
            block = find_module(flux, f"{kind}.{index}")
            require_modulated(block, f"{kind}.{index}", MODULATED_BY[kind])
            swaps.append((block, make(block.forward, clean_vec, plan)))
    return swaps


def with_placed_references(options: dict[str, Any], plan: ReferencePlan) -> dict[str, Any]:
    """A copy of the transformer options whose first `post_input` patch moves our references' positions."""

    def place(state: dict[str, Any]) -> dict[str, Any]:
        return {**state, "img_ids": place_references(state["img_ids"], plan)}

    patches = dict(options.get("patches", {}))
    patches["post_input"] = [place, *patches.get("post_input", [])]
    return {**options, "patches": patches}

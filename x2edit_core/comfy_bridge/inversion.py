"""ICEdit without an adapter, on a text-to-image FLUX: the source is inverted, its attention values are kept, and they
are put back into the source's panel while the other panel is painted (paper §3.1 and B.2).

Values stay in main memory and visit the device layer by layer. `attn1_patch` is the host's own place for this.
"""

from __future__ import annotations

import logging
import math
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from ..diptych import layout_for
from ..errors import ModelMismatchError, X2EditError
from ..geometry import PATCH_PX, DiptychLayout, Side
from ..pixels import cycle, resize, size_of, to_rgb
from ..rf_solver import Solver, integrate, nearest, share
from . import admitted
from .asked import AskedPatch
from .host import comfy, require_attention_patches
from .models import require_flux
from .replaced import replaced_error

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher

log = logging.getLogger(__name__)

_KEY = "icedit_features"
SMALLEST_SIGMA = 0.01
"""The host gives pictures, not velocities, and (x - picture) / sigma needs a sigma to divide by."""


@dataclass(frozen=True)
class Range:
    """Which layers (double blocks, then single ones) and which steps of sampling, as shares of all of them."""

    layers: tuple[float, float] = (0.0, 1.0)
    steps: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        for name, (start, end) in (("layers", self.layers), ("steps", self.steps)):
            if start > end:
                raise X2EditError(f"{name}_start {start} lies after {name}_end {end}; nothing would be kept.")


@dataclass(frozen=True)
class Features:
    """Attention values of one inverted picture (ICEDIT_FEATURES).

    `values`: (step of sampling, layer) → [B, heads, tokens, head width] of the source's panel, in main memory.
    `sigmas`: those of the steps, falling from 1, and a last 0.
    """

    layout: DiptychLayout
    sigmas: tuple[float, ...]
    depth: int
    values: dict[tuple[int, int], Tensor] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1

    @property
    def bytes(self) -> int:
        return sum(value.nbytes for value in self.values.values())


@dataclass(frozen=True)
class DiptychNoise:
    """NOISE for a whole diptych: the inverted source in its panel, a seed's noise in the other."""

    seed: int
    inverted: Tensor
    layout: DiptychLayout

    def generate_noise(self, latent: dict[str, Any]) -> Tensor:
        samples = latent["samples"]
        noise = cast(Tensor, comfy.sample.prepare_noise(samples, self.seed, latent.get("batch_index")))
        columns = _in_units(self.layout.source_columns, 8)
        if noise[..., columns].shape[1:] != self.inverted.shape[1:] or noise.shape[-1] != 2 * self.inverted.shape[-1]:
            raise X2EditError(
                f"The latent to sample is {list(samples.shape)}; the inverted picture needs a diptych of "
                f"{self.layout.canvas} pixels. Give ICEdit Diptych the same image and width as ICEdit Invert."
            )
        noise[..., columns] = cycle(self.inverted, noise.shape[0]).to(noise)
        return noise


@dataclass(frozen=True)
class Inversion:
    noise: DiptychNoise
    features: Features
    report: str


class LastInversion:
    """The last inversion, found again by the very objects it was made from and by equal settings.

    It lives no longer than they do: the host holds them as outputs of other nodes, so that a graph without them, or
    /free, frees the kept values too.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self, _: object = None) -> None:
        self._sources: tuple[weakref.ref[Any], ...] = ()
        self._text: Any = None
        self._settings: tuple[Any, ...] = ()
        self._result: Inversion | None = None

    def find(self, sources: Sequence[Any], text: Any, settings: tuple[Any, ...]) -> Inversion | None:
        """The result if it was made from these; conditioning is a list, which only a reference of its own can mark."""
        found = [ref() for ref in self._sources]
        same = len(found) == len(sources) and all(a is b for a, b in zip(found, sources, strict=True))
        return self._result if same and text is self._text and settings == self._settings else None

    def keep(self, sources: Sequence[Any], text: Any, settings: tuple[Any, ...], result: Inversion) -> None:
        self._sources = tuple(weakref.ref(source, self.forget) for source in sources)
        self._text, self._settings, self._result = text, settings, result


last_inversion = LastInversion()


def invert(
    model: ModelPatcher,
    vae: Any,
    image: Tensor,
    width: int,
    side: Side,
    steps: int,
    solver: Solver,
    kept: Range,
    seed: int,
    memory_limit: float,
    conditioning: Any = None,
    check: bool = True,
) -> Inversion:
    """Follow a picture [B, H, W, C] up to its noise, keeping values of the layers and steps in `kept`.

    `memory_limit` in GiB bounds what is kept; `X2EditError` beforehand if it would not do. With `check` the noise is
    followed down again and the difference reported, at the price of as many evaluations. Another seed alone does not
    repeat the work.
    """
    flux = require_flux(model)
    if flux.in_channels != flux.out_channels:
        raise ModelMismatchError(
            "Inversion needs a text-to-image FLUX such as FLUX.1 dev; the connected model takes further channels. FLUX.1 "
            "Fill needs no inversion: sample it with ICEdit Diptych and ICEdit Conditioning alone."
        )
    source = admitted.picture(image)
    layout = layout_for(source, width, side)
    admitted.doubted(layout, width)
    sources, settings = (model, vae, image), (layout, steps, solver, kept, check)
    if (known := last_inversion.find(sources, conditioning, settings)) is not None and _gib(
        known.features.bytes
    ) <= memory_limit:
        return replace(known, noise=replace(known.noise, seed=seed))
    last_inversion.forget()  # before the work, so that two of them never lie in memory
    pixels = resize(to_rgb(source), layout.panel)
    latent = vae.encode(pixels).float()  # half precision between nodes is too coarse to be followed both ways
    depth = len(flux.double_blocks) + len(flux.single_blocks)
    sampling = model.get_model_object("model_sampling")
    sigmas = tuple(comfy.samplers.calculate_sigmas(sampling, "simple", steps).tolist())
    features = Features(layout, sigmas, depth)
    _require_room(features, kept, latent.shape[0], flux.hidden_size, model, memory_limit)
    conds = conditioning or _no_text(flux)
    require_attention_patches()
    recorder = _Recorder(features, kept, len(flux.double_blocks))
    recording = recorder.on(model, _KEY)
    rising = sigmas[::-1]

    def follow(x: Tensor, velocity: Callable[[Tensor, float], Tensor], tick: Callable[[int], None]) -> Tensor:
        noise = integrate(velocity, x, rising, solver, tick)
        velocity(noise, rising[-1])  # sampling starts with an evaluation here, which inversion itself has no use for
        return noise

    noise = _follow(recording, conds, latent, rising, follow)
    recorder.require_all(flux)
    report = f"Inverted {layout.panel} in {steps} steps ({solver}); {features.bytes / 2**20:.1f} MiB of values kept."
    if check:
        back = _follow(model, conds, noise, sigmas, lambda x, v, tick: integrate(v, x, sigmas, solver, tick), True)
        report += " " + _difference(model, vae, latent, back, pixels)
    log.info("ICEdit: %s", report)
    result = Inversion(DiptychNoise(seed, noise, layout), features, report)
    last_inversion.keep(sources, conditioning, settings, result)
    return result


def inject(model: ModelPatcher, features: Features, strength: float, used: Range) -> ModelPatcher:
    """A clone of `model` whose attention finds the kept values in the source's panel; `model` itself at strength 0.

    Raises `ModelMismatchError` for a FLUX of another depth than the inverted one.
    """
    flux = require_flux(model)
    depth = len(flux.double_blocks) + len(flux.single_blocks)
    if depth != features.depth:
        raise ModelMismatchError(
            f"The values were kept from a FLUX with {features.depth} blocks; the connected one has {depth}. Connect the "
            "model that ICEdit Invert used."
        )
    _require_some(len(features.values))
    if strength == 0.0:
        return model
    require_attention_patches()
    return _Injector(features, used, strength, len(flux.double_blocks)).on(model, _KEY)


class _Patch(AskedPatch):
    """What recording and injecting share: which step and layer a call belongs to."""

    def __init__(self, features: Features, within: Range, doubles: int) -> None:
        super().__init__()
        self._features, self._doubles = features, doubles
        self._layers = share(features.depth, *within.layers)
        self._steps = share(features.steps, *within.steps)

    def _place(self, options: dict[str, Any]) -> tuple[int, int]:
        layer = options["block_index"] + (self._doubles if options["block_type"] == "single" else 0)
        return nearest(self._features.sigmas, float(options["sigmas"][0])), layer

    def _wanted(self, place: tuple[int, int]) -> bool:
        return place[0] in self._steps and place[1] in self._layers


class _Recorder(_Patch):
    """Keeps the values of image tokens at the sigmas of sampling, not at those in between that a solver visits."""

    consequence = "and its own way keeps no attention values for ICEdit Invert"

    def patch(self, q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any], **_: Any) -> dict[str, Tensor]:
        place = self._place(extra_options)
        exact = abs(self._features.sigmas[place[0]] - float(extra_options["sigmas"][0])) < 1e-6
        if exact and self._wanted(place):
            start, end = extra_options["img_slice"]
            self._features.values[place] = v[:, :, start:end].to("cpu", copy=True)
        return {}

    def require_all(self, flux: Any) -> None:
        """Raise `ModelMismatchError` unless the values of every wanted place were kept, as of blocks that were skipped."""
        wanted, kept = len(self._layers) * len(self._steps), len(self._features.values)
        if kept < wanted:
            raise replaced_error(
                flux, f"and {wanted - kept} of the {wanted} attention values that ICEdit Invert keeps were not computed"
            )


class _Injector(_Patch):
    """Blends the kept values into the source's panel, at the step whose sigma is nearest."""

    consequence = "and its own way takes no attention values from ICEdit Inject"

    def __init__(self, features: Features, within: Range, strength: float, doubles: int) -> None:
        super().__init__(features, within, doubles)
        self._strength = strength

    def patch(self, q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any], **_: Any) -> dict[str, Tensor]:
        place = self._place(extra_options)
        kept = self._features.values.get(place)
        if kept is None or not self._wanted(place):
            return {}
        rows, columns = (self._features.layout.panel.height // PATCH_PX, self._features.layout.panel.width // PATCH_PX)
        start, end = extra_options["img_slice"]
        canvas = rows * 2 * columns
        if end - start < canvas:
            raise X2EditError(
                f"{end - start} image tokens are sampled; the kept values belong to a diptych of {canvas}. Sample the "
                "latent of ICEdit Conditioning, made from the same image at the same width."
            )
        injected = v.clone()
        panel = injected[:, :, start : start + canvas].unflatten(2, (rows, 2 * columns))
        panel = panel[:, :, :, _in_units(self._features.layout.source_columns, PATCH_PX)]
        panel.lerp_(cycle(kept, v.shape[0]).to(v).unflatten(2, (rows, columns)), self._strength)
        return {"v": injected}


def _in_units(columns: slice, pixels: int) -> slice:
    return slice(columns.start // pixels, columns.stop // pixels)


def _no_text(flux: Any) -> list[list[Any]]:
    """Conditioning of zeros, for a source that nobody described."""
    params = flux.params
    pooled = torch.zeros(1, params.vec_in_dim)
    return [[torch.zeros(1, 256, params.context_in_dim), {"pooled_output": pooled, "guidance": 1.0}]]


def expected_bytes(features: Features, kept: Range, batch: int, hidden: int, dtype: torch.dtype) -> int:
    """What the values of `kept` will take in memory."""
    places = len(share(features.depth, *kept.layers)) * len(share(features.steps, *kept.steps))
    return places * batch * features.layout.panel.tokens * hidden * dtype.itemsize


def _require_some(places: int) -> None:
    if not places:
        raise X2EditError(
            "No attention values are kept, so there is nothing to inject. Widen ICEdit Invert's layers_start–layers_end and "
            "steps_start–steps_end."
        )


def _gib(count: int) -> float:
    return count / 2**30


def _require_room(features: Features, kept: Range, batch: int, hidden: int, model: ModelPatcher, limit: float) -> None:
    places = len(share(features.depth, *kept.layers)) * len(share(features.steps, *kept.steps))
    _require_some(places)
    needed = _gib(expected_bytes(features, kept, batch, hidden, model.model.get_dtype_inference()))
    if needed > limit:
        raise X2EditError(
            f"Keeping the values of {places} layers and steps would take {needed:.1f} GiB; the limit is {limit:g} GiB. "
            "Keep fewer layers or steps, invert at a smaller width, or raise memory_limit."
        )


Follow = Callable[[Tensor, Callable[[Tensor, float], Tensor], Callable[[int], None]], Tensor]


def _follow(
    model: ModelPatcher, conds: Any, start: Tensor, sigmas: Sequence[float], follow: Follow, noise: bool = False
) -> Tensor:
    """Run `follow` with the velocity of `model` in the host's sampler; returns its result in the model's own space.

    `start` is a latent of the host's VAE, or noise in the model's space.
    """
    results: list[Tensor] = []
    bar = comfy.utils.ProgressBar(len(sigmas) - 1)

    def run(denoise: Any, x: Tensor, sigmas: Tensor, extra_args: Any, **_: Any) -> Tensor:
        def velocity(x: Tensor, sigma: float) -> Tensor:
            sigma = max(sigma, SMALLEST_SIGMA)
            return (x - denoise(x, x.new_full((x.shape[0],), sigma), **extra_args)) / sigma

        results.append(follow(x, velocity, lambda done: bar.update_absolute(done)).cpu())
        return torch.zeros_like(x)

    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(conds, conds)
    guider.set_cfg(1.0)
    empty = torch.zeros_like(start)
    pair = (start, empty) if noise else (empty, start)
    guider.sample(*pair, comfy.samplers.KSAMPLER(run), torch.tensor(sigmas), disable_pbar=True)
    return results[0]


def _difference(model: ModelPatcher, vae: Any, latent: Tensor, back: Tensor, pixels: Tensor) -> str:
    inside = model.model.process_latent_in(latent).float()
    relative = float((back - inside).norm() / inside.norm())
    decoded = vae.decode(model.model.process_latent_out(back))
    error = float((decoded - pixels.to(decoded)).square().mean())
    psnr = math.inf if error == 0 else -10 * math.log10(error)
    return (
        f"Followed back without an edit, the latent differs by {100 * relative:.2f} % and the picture by "
        f"{psnr:.1f} dB (PSNR, the autoencoder's own loss included; {size_of(decoded)})."
    )

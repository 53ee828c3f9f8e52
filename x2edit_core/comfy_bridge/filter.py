"""The early filter on the host: seeds denoised by its own samplers, judged, and the winner finished.

A run that goes on from where it is keeps the sampler's own tensor. A LATENT in between would be scaled twice and noised
again, which changes the last bits; so the host's sampler function is called on a part of the sigmas, inside the host's
own `KSAMPLER`, with everything else as in an uninterrupted run.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..chat.images import to_pil
from ..choosing.judge import Judge
from ..choosing.profiles import dismiss
from ..choosing.referee import Panel, Run
from ..choosing.seeds import Plan, Selection, select
from ..choosing.tournament import draw_selection
from ..geometry import DiptychLayout, EditLayout
from ..pixels import from_bytes, to_rgb
from . import admitted
from .host import comfy, latent_dtype, latent_for, latent_preview
from .pictures import restore
from .sampled import COUNTED

if TYPE_CHECKING:
    from comfy.samplers import CFGGuider

KEY = "x2edit_filter"
MEMORYLESS = ("euler", "heun", "dpm_2")
"""Each step of these is a function of the latent and two sigmas alone. The host's `ddim` is its `euler`."""
PREVIEW_PX = 512

SAMPLERS: list[str] = comfy.samplers.SAMPLER_NAMES
SCHEDULERS: list[str] = comfy.samplers.SCHEDULER_NAMES

Schedule = Callable[[int], Tensor]
"""Sigmas [steps + 1] of a whole run of so many steps."""


@dataclass(frozen=True)
class Request:
    """What both nodes ask for: the plan, who judges, and what the judge is shown. `source` is [B, H, W, C]."""

    plan: Plan
    judge: Judge
    vae: Any
    source: Tensor
    instruction: str
    layout: EditLayout | DiptychLayout | None = None


@dataclass(frozen=True)
class Filtered:
    """The finished latent, what came about, and the candidates as one picture [1, H, W, 3]."""

    latent: dict[str, Any]
    selection: Selection
    sheet: Tensor


class SeedNoise:
    """NOISE for the custom sampler: the noise that KSampler draws for this seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def generate_noise(self, latent: dict[str, Any]) -> Tensor:
        return comfy.sample.prepare_noise(latent["samples"], self.seed, latent.get("batch_index"))


def filter_ksampler(
    request: Request, model: Any, conds: tuple[Any, Any], cfg: float, sampler: str, scheduler: str, latent: Any
) -> Filtered:
    """The filter with KSampler's inputs, and bit for bit with its result; `conds` is (positive, negative)."""
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(*conds)
    guider.set_cfg(cfg)

    def schedule(steps: int) -> Tensor:
        return comfy.samplers.KSampler(
            model, steps, model.load_device, sampler, scheduler, 1.0, model.model_options
        ).sigmas

    dtype = latent_dtype()
    return _filter(request, guider, comfy.samplers.sampler_object(sampler), schedule, latent, dtype)


def filter_custom(
    request: Request, guider: CFGGuider, sampler: Any, sigmas: Tensor, early_sigmas: Tensor | None, latent: Any
) -> Filtered:
    """The filter with the custom sampler's inputs; the plan's steps are those of `sigmas`.

    The paper's short run takes `early_sigmas`, or evenly picked ones of `sigmas`.
    """
    plan = request.plan
    short = _every(sigmas, plan.early_steps) if early_sigmas is None else early_sigmas
    schedule = {plan.early_steps: short, plan.steps: sigmas}.__getitem__
    return _filter(request, guider, sampler, schedule, latent, None)


def _every(sigmas: Tensor, steps: int) -> Tensor:
    """`steps` steps over the whole range of `sigmas`, both ends included."""
    return sigmas[torch.linspace(0, len(sigmas) - 1, steps + 1).round().long()]


def _filter(
    request: Request, guider: CFGGuider, sampler: Any, schedule: Schedule, latent: Any, dtype: torch.dtype | None
) -> Filtered:
    obstacle = find_obstacle(guider, sampler)
    progress = _Progress(request.plan.sampler_steps(not obstacle), guider.model_patcher)
    denoiser = HostDenoiser(
        guider, sampler, schedule, latent, obstacle, lambda found: _picture(found, request), progress
    )
    selection = select(request.plan, denoiser, _panel(request))
    done = selection.run.state.samples.to(device=comfy.model_management.intermediate_device(), dtype=dtype)
    sheet = from_bytes(np.asarray(draw_selection(selection)))
    return Filtered({**denoiser.latent, "samples": done}, selection, sheet)


def _picture(latent: Tensor, request: Request) -> Tensor:
    """The first picture [H, W, 3] of a latent, as it would go back to the source; of a diptych, the edit's panel."""
    pictures = request.vae.decode(latent)
    first = pictures.reshape(-1, *pictures.shape[-3:])[:1].float().cpu()
    return (to_rgb(first) if request.layout is None else restore(first, request.layout, None, None))[0]


def _panel(request: Request) -> Panel:
    judge, source, words = (
        request.judge,
        to_rgb(admitted.picture(request.source, "source"))[0].cpu(),
        request.instruction,
    )
    choose, questions, answers = (getattr(judge, name, None) for name in ("choose", "questions", "answers"))

    def asked(question: Callable[..., Any], *args: Any) -> Any:
        try:
            return question(*args)
        except comfy.model_management.InterruptProcessingException:
            if judge.remote:  # raised in the background, where it used up the flag that the sampler looks at
                comfy.model_management.interrupt_current_processing()
            raise

    return Panel(
        lambda a, b: asked(judge.compare, source, a, b, words),
        None if choose is None else lambda edits: choose(source, edits, words),
        judge.remote,
        lambda: dismiss(judge),
        (comfy.model_management.InterruptProcessingException,),
        None if questions is None else lambda: questions(source, words),
        None if answers is None else lambda edit, asked_for: asked(answers, source, edit, words, asked_for),
        source,
        judge.name,
    )


def find_obstacle(guider: CFGGuider, sampler: Any) -> str:
    """Why a run of these cannot be stopped and continued with the same result; empty if it can.

    What keeps something from step to step cannot be seen from outside in general. The host's means for it can: wrappers
    around the whole of sampling, and patches and callbacks that are cleaned up after it.
    """
    functions = [getattr(comfy.k_diffusion.sampling, f"sample_{name}") for name in MEMORYLESS]
    if type(sampler) is not comfy.samplers.KSAMPLER or sampler.sampler_function not in functions:
        return f"only {', '.join(MEMORYLESS)} and ddim take each step from the latent alone"
    if sampler.extra_options.get("s_churn"):
        return "the sampler's s_churn draws noise between steps"
    CallbacksMP, WrappersMP = comfy.patcher_extension.CallbacksMP, comfy.patcher_extension.WrappersMP
    patcher = guider.model_patcher
    options = guider.model_options.get("transformer_options", {})
    if patcher.wrappers.get(WrappersMP.OUTER_SAMPLE) or options.get("wrappers", {}).get(WrappersMP.OUTER_SAMPLE):
        return "a node wraps the whole of sampling, such as a cache that remembers earlier steps"
    cleaned = any(hasattr(patch, "cleanup") for patch in _patches(guider.model_options))
    if cleaned or any(patcher.callbacks.get(kind) for kind in (CallbacksMP.ON_PRE_RUN, CallbacksMP.ON_CLEANUP)):
        return "a patch on the model keeps something from step to step"
    return ""


def _patches(model_options: dict[str, Any]) -> Iterator[Any]:
    options = model_options.get("transformer_options", {})
    for patches in options.get("patches", {}).values():
        yield from patches
    for patches in options.get("patches_replace", {}).values():
        yield from patches.values()
    yield model_options.get("model_function_wrapper")


@dataclass
class _State:
    """What a run keeps between two stages. `x` and `denoised` are on the sampler's side of `process_latent_in`."""

    x: Tensor | None = None
    denoised: Tensor | None = None
    samples: Tensor | None = None
    """The finished latent as the guider returns it."""

    @property
    def finite(self) -> bool:
        return all(bool(part.isfinite().all()) for part in (self.x, self.denoised, self.samples) if part is not None)


class HostDenoiser:
    """Runs of one graph; see `seeds.Denoiser`. `picture` turns a latent into what the judge sees."""

    def __init__(
        self,
        guider: CFGGuider,
        sampler: Any,
        schedule: Schedule,
        latent: dict[str, Any],
        obstacle: str,
        picture: Callable[[Tensor], Tensor],
        progress: _Progress,
    ) -> None:
        self.obstacle = obstacle
        self.latent = _prepared(guider, latent)
        self._guider = _watched(guider, self._count)
        self._sampler = sampler
        self._schedule = schedule
        self._picture = picture
        self._progress = progress
        self._calls = 0

    def start(self, seed: int, steps: int) -> Run:
        return Run(seed, steps, state=_State())

    def advance(self, runs: Sequence[Run], until: int) -> None:
        runs = [run for run in runs if run.done < until]
        if not runs:
            return
        self._calls = 0
        stage = self._stage(runs, until)
        finished = self._sample(runs, stage)
        states = _split(stage, finished if until == runs[0].steps else None, len(runs))
        for run, state in zip(runs, states, strict=True):
            run.state, run.done, run.broken = state, until, not state.finite
            run.evaluations += self._calls

    def preview(self, run: Run) -> Tensor:
        """Of a finished run its result, else the clean latent that the last step predicted."""
        latent = run.state.samples
        if latent is None:
            latent = self._guider.model_patcher.model.process_latent_out(run.state.denoised.cpu())
        picture = self._picture(latent)
        run.broken = not bool(picture.isfinite().all())
        self._progress.show(picture)
        return picture

    def _stage(self, runs: Sequence[Run], until: int) -> _Stage:
        if self.obstacle:
            return _Stage(self._sampler, until, runs[0].steps)
        x = None if runs[0].done == 0 else torch.cat([run.state.x for run in runs])
        return _Part(self._sampler, until, runs[0].steps, runs[0].done, x)

    def _sample(self, runs: Sequence[Run], stage: _Stage) -> Tensor | None:
        """The guider's result for all runs, whose rows stand one run after the other; None if cut short."""
        samples = self.latent["samples"]
        noise = torch.cat([SeedNoise(run.seed).generate_noise(self.latent) for run in runs])

        def callback(step: int, denoised: Tensor, x: Tensor, total: int) -> None:
            self._progress.step(denoised)
            stage.look(step, denoised)

        try:
            return self._guider.sample(
                noise,
                samples.repeat(len(runs), *(1,) * (samples.ndim - 1)),
                stage.sampler,
                self._schedule(runs[0].steps),
                denoise_mask=self.latent.get("noise_mask"),
                callback=callback,
                disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
                seed=runs[0].seed,
            )
        except _Enough:
            # The guider leaves this to its regular end.
            comfy.sampler_helpers.cleanup_models(self._guider.conds, self._guider.loaded_models)
            return None

    def _count(self) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        self._calls += 1


def _prepared(guider: CFGGuider, latent: dict[str, Any]) -> dict[str, Any]:
    """The latent as both of the host's sampler nodes prepare it."""
    rest = {name: value for name, value in admitted.latent(latent).items() if not name.startswith("downscale_ratio_")}
    return {**rest, "samples": latent_for(guider.model_patcher, latent)}


def _watched(guider: CFGGuider, notice: Callable[[], None]) -> CFGGuider:
    """A copy of `guider` that calls `notice` before each evaluation, and whose broken runs are for the filter to drop.

    The connected one stays as it is.
    """
    watched = copy.copy(guider)
    watched.model_options = comfy.model_patcher.create_model_options_clone(guider.model_options)
    watched.model_options.setdefault("transformer_options", {})[COUNTED] = True

    def wrapper(executor: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        notice()
        return executor(*args, **kwargs)

    comfy.patcher_extension.add_wrapper_with_key(
        comfy.patcher_extension.WrappersMP.PREDICT_NOISE, KEY, wrapper, watched.model_options, is_model_options=True
    )
    return watched


class _Enough(Exception):
    """Ends a run early where the sampler cannot be resumed: exactly the first steps of the plain run, for any sampler."""


class _Stage:
    """A run from its start to step `until`, in which `denoised` is what the last step predicted."""

    def __init__(self, sampler: Any, until: int, steps: int) -> None:
        self.sampler = sampler
        self.until, self.steps = until, steps
        self.x: Tensor | None = None
        self.denoised: Tensor | None = None

    def look(self, step: int, denoised: Tensor) -> None:
        self.denoised = denoised
        if step + 1 == self.until < self.steps:
            raise _Enough


class _Part(_Stage):
    """The steps from `done` to `until` of a memoryless sampler's run, going on from its `x`."""

    def __init__(self, sampler: Any, until: int, steps: int, done: int, x: Tensor | None) -> None:
        super().__init__(
            comfy.samplers.KSAMPLER(self._run, sampler.extra_options, sampler.inpaint_options), until, steps
        )
        self._function = sampler.sampler_function
        self._done = done
        self.x = x

    def look(self, step: int, denoised: Tensor) -> None:
        self.denoised = denoised

    def _run(self, model: Any, x: Tensor, sigmas: Tensor, callback: Callable[..., None], **options: Any) -> Tensor:
        """In the place of the host's sampler function: `x` is the scaled noise that an uninterrupted run starts from."""

        def counted(info: dict[str, Any]) -> None:
            callback({**info, "i": info["i"] + self._done})

        start = x if self.x is None else self.x
        # To the very end where the run ends: some schedules (ddim_uniform) have a step more than was asked for.
        stop = None if self.until == self.steps else self.until + 1
        self.x = self._function(model, start, sigmas[self._done : stop], callback=counted, **options)
        return self.x


def _split(stage: _Stage, finished: Tensor | None, runs: int) -> list[_State]:
    """Each run's rows of what the stage left."""
    parts = (stage.x, stage.denoised, finished)
    columns = [[None] * runs if part is None else part.chunk(runs) for part in parts]
    return [_State(*row) for row in zip(*columns, strict=True)]


class _Progress:
    """The node's bar over all candidates, with the sampler's previews and, once decoded, each candidate itself."""

    def __init__(self, total: int, patcher: Any) -> None:
        self._bar = comfy.utils.ProgressBar(total)
        self._previewer = latent_preview.get_previewer(patcher.load_device, patcher.model.latent_format)
        self._taken = 0

    def step(self, denoised: Tensor) -> None:
        self._taken += 1
        preview = self._previewer and self._previewer.decode_latent_to_preview_image("JPEG", denoised)
        self._bar.update_absolute(self._taken, preview=preview)

    def show(self, picture: Tensor) -> None:
        self._bar.update_absolute(self._taken, preview=("JPEG", to_pil(picture, PREVIEW_PX), PREVIEW_PX))

"""The early filter: several seeds begun, one finished."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui
from torch import Tensor

from ..x2edit_core.choosing.judge import Judge as AnyJudge
from ..x2edit_core.choosing.seeds import BUDGET, MODES, ORDERS, Mode, Order, Plan
from ..x2edit_core.comfy_bridge.filter import (
    SAMPLERS,
    SCHEDULERS,
    Filtered,
    Request,
    SeedNoise,
    filter_custom,
    filter_ksampler,
)
from ..x2edit_core.comfy_bridge.notices import show_on_node
from .sockets import Judge, Layout

ALIASES = ["x2edit", "icedit", "early filter", "best of n", "seed selection", "inference-time scaling", "pick seed"]


def _shown_to_the_judge() -> list[io.Input]:
    return [
        io.Vae.Input("vae", tooltip="Decodes the candidates."),
        Judge.Input("judge", tooltip="From X2Edit Judge or X2Edit Human Judge."),
        io.Image.Input("source", tooltip="The picture that is edited; of a batch, the first one counts."),
        io.String.Input("instruction", multiline=True, tooltip="What the edit should do, as the judge is told."),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=0xFFFFFFFFFFFFFFFF,
            control_after_generate=True,
            tooltip="The first candidate's seed; the others follow it.",
        ),
        io.Int.Input("seeds", default=6, min=1, max=64, tooltip="How many candidates: the paper's M."),
        io.Int.Input(
            "early_steps",
            default=10,
            min=1,
            max=10000,
            tooltip="Steps before the judge looks: the paper's m. Not used in the modes halving and adaptive.",
        ),
    ]


def _how() -> list[io.Input]:
    return [
        io.Combo.Input(
            "mode",
            options=list(MODES),
            default="paper",
            tooltip="paper: short complete runs, then the winner from its seed. continue: the first steps of the full run, "
            "and the winner goes on from there. halving: the better half goes on after every seventh of the steps. "
            "adaptive: the judge writes questions about the edit, and the most promising candidate is finished first; it "
            "ends when one passes all of them.",
        ),
        io.Combo.Input(
            "order",
            options=list(ORDERS),
            default="champion",
            tooltip="Who meets whom. champion: the best so far meets the next. tournament: pairs, then their winners. "
            "halving: as tournament, but an odd one out still plays. A person sees all cards at once with champion.",
        ),
        io.Boolean.Input(
            "batched",
            default=False,
            optional=True,
            advanced=True,
            tooltip="Denoise all candidates as one batch. Faster where weights are streamed; the result can differ from a "
            "plain run in the last bits.",
        ),
        Layout.Input("layout", optional=True, tooltip="From X2Edit Reference or the diptych: what the judge sees."),
    ]


def _budget() -> io.Input:
    return io.Float.Input(
        "budget",
        default=BUDGET,
        min=1.0,
        max=64.0,
        step=0.1,
        round=0.01,
        optional=True,
        advanced=True,
        tooltip="Mode adaptive: another candidate is finished only within this many whole runs' steps.",
    )


def _outputs() -> list[io.Output]:
    return [
        io.Latent.Output("latent", display_name="latent", tooltip="The finished edit."),
        io.Int.Output("seed", display_name="seed", tooltip="The seed that won; KSampler repeats the edit with it."),
        io.Noise.Output("noise", display_name="noise", tooltip="The winner's noise, for the custom sampler."),
        io.Image.Output(
            "candidates",
            display_name="candidates",
            tooltip="All candidates as judged, the winner marked, and who met whom.",
        ),
        io.String.Output("report", display_name="report", tooltip="Evaluations, comparisons, reasons and failures."),
    ]


def _result(filtered: Filtered, node_id: str | None) -> io.NodeOutput:
    selection = filtered.selection
    warned = bool(selection.unjudged)
    shown = "\n".join(selection.report().splitlines()[: 3 + warned + len(selection.notes)])
    show_on_node(shown, node_id)
    noise = SeedNoise(selection.seed)
    lasting: Any = ui.PreviewText(shown) if warned else None
    return io.NodeOutput(filtered.latent, selection.seed, noise, filtered.sheet, selection.report(), ui=lasting)


class X2EditEarlyFilter(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2EditEarlyFilter",
            display_name="X2Edit Early Filter",
            category="X2Edit/selection",
            description="Begins an edit with several seeds, lets a judge pick one while it is cheap, and finishes only that. "
            "Takes the place of KSampler; works with any model.",
            search_aliases=[*ALIASES, "编辑", "选种子", "筛选"],
            inputs=[
                io.Model.Input("model", tooltip="The model that denoises, with its adapter if there is one."),
                io.Conditioning.Input("positive", tooltip="What to change, with references."),
                io.Conditioning.Input("negative", tooltip="Counts only when cfg is above 1."),
                io.Latent.Input("latent", tooltip="The latent to sample into, masked for ICEdit."),
                *_shown_to_the_judge(),
                io.Int.Input(
                    "steps", default=50, min=1, max=10000, tooltip="Steps of the finished edit: the paper's n."
                ),
                io.Float.Input(
                    "cfg",
                    default=1.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="As in KSampler; 1 for FLUX.1.",
                ),
                io.Combo.Input(
                    "sampler",
                    options=SAMPLERS,
                    default="euler",
                    tooltip="As in KSampler. euler, ddim, heun and dpm_2 can go on from an early step; with others the winner "
                    "is run again from its seed.",
                ),
                io.Combo.Input("scheduler", options=SCHEDULERS, default="simple", tooltip="As in KSampler."),
                *_how(),
                _budget(),
            ],
            outputs=_outputs(),
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        positive: Any,
        negative: Any,
        latent: dict[str, Any],
        vae: Any,
        judge: AnyJudge,
        source: Tensor,
        instruction: str,
        seed: int,
        seeds: int,
        early_steps: int,
        steps: int,
        cfg: float,
        sampler: str,
        scheduler: str,
        mode: Mode,
        order: Order,
        batched: bool = False,
        layout: Any = None,
        budget: float = BUDGET,
    ) -> io.NodeOutput:
        plan = Plan(seed, seeds, early_steps, steps, mode, order, batched, budget)
        request = Request(plan, judge, vae, source, instruction, layout)
        filtered = filter_ksampler(request, model, (positive, negative), cfg, sampler, scheduler, latent)
        return _result(filtered, cls.hidden.unique_id)


class X2EditEarlyFilterAdvanced(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2EditEarlyFilterAdvanced",
            display_name="X2Edit Early Filter (Advanced)",
            category="X2Edit/selection",
            description="X2Edit Early Filter with a guider, a sampler and sigmas. Takes the place of SamplerCustomAdvanced; "
            "the number of steps is that of the sigmas.",
            search_aliases=[*ALIASES, "custom sampler", "编辑", "选种子", "筛选"],
            inputs=[
                io.Guider.Input("guider", tooltip="Holds the model and the conditioning."),
                io.Sampler.Input("sampler", tooltip="As in SamplerCustomAdvanced."),
                io.Sigmas.Input("sigmas", tooltip="The schedule of the finished edit."),
                io.Latent.Input("latent", tooltip="The latent to sample into, masked for ICEdit."),
                *_shown_to_the_judge(),
                *_how(),
                io.Sigmas.Input(
                    "early_sigmas",
                    optional=True,
                    tooltip="The short schedule of mode paper; its length replaces early_steps. Without it, early_steps evenly "
                    "picked steps of `sigmas`.",
                ),
                _budget(),
            ],
            outputs=_outputs(),
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        guider: Any,
        sampler: Any,
        sigmas: Tensor,
        latent: dict[str, Any],
        vae: Any,
        judge: AnyJudge,
        source: Tensor,
        instruction: str,
        seed: int,
        seeds: int,
        early_steps: int,
        mode: Mode,
        order: Order,
        batched: bool = False,
        layout: Any = None,
        early_sigmas: Tensor | None = None,
        budget: float = BUDGET,
    ) -> io.NodeOutput:
        if mode == "paper" and early_sigmas is not None:
            early_steps = len(early_sigmas) - 1
        plan = Plan(seed, seeds, early_steps, len(sigmas) - 1, mode, order, batched, budget)
        request = Request(plan, judge, vae, source, instruction, layout)
        return _result(filter_custom(request, guider, sampler, sigmas, early_sigmas, latent), cls.hidden.unique_id)


NODES = [X2EditEarlyFilter, X2EditEarlyFilterAdvanced]

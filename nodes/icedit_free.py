"""ICEdit without an adapter on a text-to-image FLUX: the source inverted, its attention values put back."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui
from torch import Tensor

from ..x2edit_core.comfy_bridge import inversion as bridge
from ..x2edit_core.geometry import Side
from ..x2edit_core.rf_solver import SOLVERS, Solver
from .sockets import Features, Layout


def _share(name: str, default: float, tooltip: str) -> io.Float.Input:
    return io.Float.Input(
        name, default=default, min=0.0, max=1.0, step=0.01, optional=True, advanced=True, tooltip=tooltip
    )


def _range(verb: str, first_layer: float) -> list[io.Float.Input]:
    layers = "as a share of all blocks, double ones first"
    steps = "as a share of sampling, which starts at noise"
    return [
        _share("layers_start", first_layer, f"{verb} from this layer on, {layers}."),
        _share("layers_end", 1.0, f"{verb} up to this layer, {layers}."),
        _share("steps_start", 0.0, f"{verb} from this step on, {steps}."),
        _share("steps_end", 1.0, f"{verb} up to this step, {steps}."),
    ]


class ICEditInvert(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ICEditInvert",
            display_name="ICEdit Invert",
            category="X2Edit/ICEdit",
            description="Finds the noise from which a text-to-image FLUX would paint this picture, and keeps attention values "
            "on the way. With them ICEdit edits without any adapter. Reports how well the picture comes back.",
            search_aliases=["icedit", "inversion", "rf-solver", "rf inversion", "training-free"],
            inputs=[
                io.Model.Input(
                    "model", tooltip="A text-to-image FLUX such as FLUX.1 dev, with the shift to be sampled with."
                ),
                io.Vae.Input("vae", tooltip="FLUX's autoencoder."),
                io.Image.Input("image", tooltip="The picture to edit, as connected to ICEdit Diptych."),
                io.Int.Input("steps", default=28, min=1, max=1000, tooltip="As many as will be sampled."),
                io.Combo.Input(
                    "solver",
                    options=list(SOLVERS),
                    default="rf-solver",
                    tooltip="rf-solver: second order, two evaluations a step. euler: first order, one.",
                ),
                io.Int.Input(
                    "width",
                    default=512,
                    min=64,
                    max=4096,
                    step=16,
                    optional=True,
                    tooltip="Width of one panel, as in ICEdit Diptych.",
                ),
                io.Combo.Input(
                    "side",
                    options=["right", "left"],
                    default="right",
                    optional=True,
                    advanced=True,
                    tooltip="The panel that the edit is painted into, as in ICEdit Diptych.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    optional=True,
                    tooltip="Noise of the panel that the edit is painted into.",
                ),
                *_range("Keep values", 0.65),
                io.Float.Input(
                    "memory_limit",
                    default=8.0,
                    min=0.1,
                    max=1024.0,
                    step=0.1,
                    optional=True,
                    advanced=True,
                    tooltip="How many GiB of main memory the kept values may take. More is refused before the work begins.",
                ),
                io.Boolean.Input(
                    "check",
                    default=True,
                    optional=True,
                    advanced=True,
                    tooltip="Follow the noise back and report how far the picture is missed, at the cost of as many steps.",
                ),
                io.Conditioning.Input(
                    "conditioning",
                    optional=True,
                    tooltip="A description of the picture, with a guidance of about 1. Without it, no text at all.",
                ),
            ],
            outputs=[
                io.Noise.Output(
                    "noise", display_name="noise", tooltip="For SamplerCustomAdvanced, of the whole diptych."
                ),
                Features.Output("features", display_name="features", tooltip="Connect to ICEdit Inject."),
                Layout.Output("layout", display_name="layout", tooltip="The way back to the source's size."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        vae: Any,
        image: Tensor,
        steps: int,
        solver: Solver,
        width: int = 512,
        side: Side = "right",
        seed: int = 0,
        layers_start: float = 0.65,
        layers_end: float = 1.0,
        steps_start: float = 0.0,
        steps_end: float = 1.0,
        memory_limit: float = 8.0,
        check: bool = True,
        conditioning: Any = None,
    ) -> io.NodeOutput:
        kept = bridge.Range((layers_start, layers_end), (steps_start, steps_end))
        found = bridge.invert(
            model, vae, image, width, side, steps, solver, kept, seed, memory_limit, conditioning, check
        )
        return io.NodeOutput(found.noise, found.features, found.features.layout, ui=ui.PreviewText(found.report))


class ICEditInject(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ICEditInject",
            display_name="ICEdit Inject",
            category="X2Edit/ICEdit",
            description="Lets the source's panel be painted with the attention values of the inverted picture, so that it "
            "stays the source while the other panel follows the instruction.",
            search_aliases=["icedit", "attention injection", "feature sharing", "training-free"],
            inputs=[
                io.Model.Input("model", tooltip="The model that ICEdit Invert used."),
                Features.Input("features", tooltip="From ICEdit Invert."),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    tooltip="Share of the kept values; 0 leaves the model exactly as it was.",
                ),
                *_range("Inject", 0.0),
            ],
            outputs=[io.Model.Output("model", display_name="model", tooltip="The model with the values put back.")],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        features: bridge.Features,
        strength: float = 1.0,
        layers_start: float = 0.0,
        layers_end: float = 1.0,
        steps_start: float = 0.0,
        steps_end: float = 1.0,
    ) -> io.NodeOutput:
        used = bridge.Range((layers_start, layers_end), (steps_start, steps_end))
        return io.NodeOutput(bridge.inject(model, features, strength, used))


NODES = [ICEditInvert, ICEditInject]

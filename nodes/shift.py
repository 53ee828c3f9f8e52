"""How the noise levels are spread over the steps."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..x2edit_core.comfy_bridge.guidance import with_rescaled_guidance
from ..x2edit_core.comfy_bridge.shift import pipeline_sigmas, with_shift


class X2EditShift(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2EditShift",
            display_name="X2Edit Shift",
            category="X2Edit",
            description="Spreads the noise levels over the steps as the model's own pipeline does for a picture of this size. "
            "For FLUX.1 dev, Krea and Fill, with X2Edit and ICEdit alike; not for schnell, which has no such shift. For "
            "Qwen-Image X2Edit Sigmas is exact, as its pipeline also stretches the schedule; for FLUX.2 only that one works.",
            search_aliases=[
                "x2edit",
                "icedit",
                "model sampling flux",
                "dynamic shift",
                "mu",
                "sigma shift",
                "偏移",
                "调度",
            ],
            inputs=[
                io.Model.Input("model", tooltip="A FLUX.1 or Qwen-Image model, before or after its adapters."),
                io.Latent.Input("latent", tooltip="The latent that will be sampled; only its size counts."),
            ],
            outputs=[io.Model.Output("model", display_name="model", tooltip="The model with the shift set.")],
        )

    @classmethod
    def execute(cls, model: Any, latent: dict[str, Any]) -> io.NodeOutput:
        return io.NodeOutput(with_shift(model, latent))


class X2EditSigmas(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2EditSigmas",
            display_name="X2Edit Sigmas",
            category="X2Edit",
            description="The noise levels of the model's own pipeline for a picture of this size, for SamplerCustom and its "
            "kin. Qwen-Image's end in a last level of 0.02, which no shift node can express.",
            search_aliases=[
                "x2edit",
                "qwen image scheduler",
                "dynamic shift",
                "terminal sigma",
                "schedule",
                "噪声级别",
                "调度",
            ],
            inputs=[
                io.Model.Input("model", tooltip="A FLUX.1, Qwen-Image or FLUX.2 model; only its kind counts."),
                io.Latent.Input("latent", tooltip="The latent that will be sampled; only its size counts."),
                io.Int.Input(
                    "steps",
                    default=40,
                    min=1,
                    max=1000,
                    tooltip="Qwen-Image was meant for 40, FLUX.1 dev for 28, FLUX.2 klein for 4.",
                ),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    advanced=True,
                    tooltip="Below 1 the last `steps` of a longer schedule, to start from a picture instead of noise.",
                ),
            ],
            outputs=[io.Sigmas.Output("sigmas", display_name="sigmas", tooltip="One level per step, then 0.")],
        )

    @classmethod
    def execute(cls, model: Any, latent: dict[str, Any], steps: int, denoise: float = 1.0) -> io.NodeOutput:
        return io.NodeOutput(pipeline_sigmas(model, latent, steps, denoise))


class X2EditGuidanceRescale(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2EditGuidanceRescale",
            display_name="X2Edit Guidance Rescale",
            category="X2Edit",
            description="Guidance as Qwen-Image's own pipeline applies it: what cfg adds keeps the strength that each patch "
            "of the picture has without it. At cfg 1 nothing changes.",
            search_aliases=["x2edit", "cfg norm", "rescale cfg", "true cfg", "qwen image", "引导", "重缩放"],
            inputs=[io.Model.Input("model", tooltip="A Qwen-Image model, before or after its adapters.")],
            outputs=[io.Model.Output("model", display_name="model", tooltip="The model with its guidance rescaled.")],
        )

    @classmethod
    def execute(cls, model: Any) -> io.NodeOutput:
        return io.NodeOutput(with_rescaled_guidance(model))


NODES = [X2EditShift, X2EditSigmas, X2EditGuidanceRescale]

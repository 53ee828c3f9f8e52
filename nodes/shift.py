"""How the noise levels are spread over the steps."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..x2edit_core.comfy_bridge.shift import with_shift


class X2EditShift(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2EditShift",
            display_name="X2Edit Shift",
            category="X2Edit",
            description="Spreads the noise levels over the steps as FLUX's own pipelines do for a picture of this size. For "
            "FLUX.1 dev, Krea and Fill, with X2Edit and ICEdit alike; not for schnell, which has no such shift.",
            search_aliases=["x2edit", "icedit", "model sampling flux", "dynamic shift", "mu", "sigma shift"],
            inputs=[
                io.Model.Input("model", tooltip="A FLUX.1 model, before or after its adapters."),
                io.Latent.Input("latent", tooltip="The latent that will be sampled; only its size counts."),
            ],
            outputs=[io.Model.Output("model", display_name="model", tooltip="The model with the shift set.")],
        )

    @classmethod
    def execute(cls, model: Any, latent: dict[str, Any]) -> io.NodeOutput:
        return io.NodeOutput(with_shift(model, latent))


NODES = [X2EditShift]

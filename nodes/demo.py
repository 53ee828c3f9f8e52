"""The embedded models: a first edit without a download."""

from __future__ import annotations

from comfy_api.latest import io

from ..x2edit_core.demo import BASES


class X2EditDemoModels(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2EditDemoModels",
            display_name="X2Edit Demo Models",
            category="X2Edit/demo",
            description=(
                "Very small FLUX models that come with this pack, so that every workflow runs without a download. "
                "Replace this node by your FLUX, CLIP and VAE loaders for real pictures."
            ),
            search_aliases=["x2edit", "tiny flux", "example models", "embedded models", "test models"],
            inputs=[
                io.Combo.Input(
                    "base",
                    options=list(BASES),
                    default="x2edit",
                    tooltip="x2edit: text-to-image FLUX, for X2Edit's adapter. fill: FLUX Fill, for ICEdit's adapter.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="A FLUX model, loaded by ComfyUI's own loader."),
                io.Clip.Output(display_name="clip", tooltip="A small text encoder that reads English and Chinese."),
                io.Vae.Output(display_name="vae", tooltip="A small autoencoder with FLUX's 16 latent channels."),
            ],
        )

    @classmethod
    def execute(cls, base: str) -> io.NodeOutput:
        from ..x2edit_core.comfy_bridge.demo import load_demo_models

        return io.NodeOutput(*load_demo_models(base))


NODES = [X2EditDemoModels]

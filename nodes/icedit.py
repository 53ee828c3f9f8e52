"""ICEdit: the source beside its edit on one canvas, and what FLUX Fill needs to paint the other half."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..x2edit_core.comfy_bridge.models import ManagedAdapter, apply_static
from .types import Adapter


class ICEditStaticFallback(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ICEditStaticFallback",
            display_name="ICEdit Static Fallback (no routing)",
            category="X2Edit/ICEdit",
            description="Merges an ICEdit adapter with the exact mean of its experts instead of one per token. Not what "
            "the adapter was trained to do: use Apply X2Edit Adapter wherever it works, and this only where layers cannot "
            "be reached while sampling.",
            search_aliases=["icedit", "moe lora", "average experts", "static lora"],
            inputs=[
                io.Model.Input("model", tooltip="FLUX.1 Fill."),
                Adapter.Input("adapter", tooltip="From Load X2Edit Adapter; an ICEdit file."),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=-4.0,
                    max=4.0,
                    step=0.01,
                    optional=True,
                    tooltip="How strongly the averaged adapter acts. 0 leaves the model exactly as it was.",
                ),
            ],
            outputs=[
                io.Model.Output("model", display_name="model", tooltip="The model with the averaged adapter merged.")
            ],
        )

    @classmethod
    def execute(cls, model: Any, adapter: ManagedAdapter, strength: float = 1.0) -> io.NodeOutput:
        return io.NodeOutput(apply_static(model, adapter, strength))


NODES = [ICEditStaticFallback]

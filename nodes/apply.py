"""An adapter on a model."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..x2edit_core.comfy_bridge.image_prompts import PicturePrompt, apply_prompt
from ..x2edit_core.comfy_bridge.models import ManagedAdapter, apply_adapter, attachment_for
from ..x2edit_core.tasks import TaskBatch, TaskChoice
from .sockets import Adapter, ImageTokens, Task


class X2EditApply(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2EditApply",
            display_name="Apply X2Edit Adapter",
            category="X2Edit",
            description="Routes a FLUX.1, Qwen-Image or FLUX.2 model through an editing adapter while it samples. Several can "
            "be chained, with LoRAs before or after; the connected model itself is never changed.",
            search_aliases=["x2edit", "moe lora", "apply adapter", "image editing", "编辑", "图像编辑", "适配器"],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="The model the adapter is for, FLUX.1, Qwen-Image or FLUX.2, with or without LoRAs.",
                ),
                Adapter.Input("adapter", tooltip="From Load X2Edit Adapter."),
                Task.Input(
                    "task",
                    optional=True,
                    tooltip="The kind of edit. Without it the adapter works with its task `other`.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=-4.0,
                    max=4.0,
                    step=0.01,
                    optional=True,
                    tooltip="How strongly the experts act. 1 is as trained; 0 leaves the model exactly as it was.",
                ),
                io.Float.Input(
                    "start_percent",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    optional=True,
                    advanced=True,
                    tooltip="From which part of sampling on the experts act.",
                ),
                io.Float.Input(
                    "end_percent",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    optional=True,
                    advanced=True,
                    tooltip="Up to which part of sampling the experts act. References stay in place throughout.",
                ),
                io.Int.Input(
                    "reference_offset",
                    default=0,
                    min=0,
                    max=4096,
                    optional=True,
                    advanced=True,
                    tooltip="Rows between the target and its reference in the position grid. 0 chooses as trained: 64 up to "
                    "1,024 target tokens, else 128. Not for Qwen-Image and FLUX.2, whose references stand in frames of "
                    "their own.",
                ),
                ImageTokens.Input(
                    "image_tokens",
                    optional=True,
                    tooltip="Pictures that say what to draw, from X2Edit Image Tokens, beside the adapter; FLUX.1 only. They "
                    "act at `strength` 0 too. Published weights for them are non-commercial.",
                ),
                io.Float.Input(
                    "image_strength",
                    default=1.0,
                    min=-4.0,
                    max=4.0,
                    step=0.01,
                    optional=True,
                    tooltip="λ, how strongly the connected pictures act. Start with 0.6 to 0.8; 0 is exactly as without.",
                ),
            ],
            outputs=[io.Model.Output("model", display_name="model", tooltip="The model with the adapter applied.")],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        adapter: ManagedAdapter,
        task: TaskChoice | TaskBatch | None = None,
        strength: float = 1.0,
        start_percent: float = 0.0,
        end_percent: float = 1.0,
        reference_offset: int = 0,
        image_tokens: PicturePrompt | None = None,
        image_strength: float = 1.0,
    ) -> io.NodeOutput:
        attachment = attachment_for(adapter, task, strength, start_percent, end_percent, reference_offset)
        applied = apply_adapter(model, adapter, attachment)
        return io.NodeOutput(applied if image_tokens is None else apply_prompt(applied, image_tokens, image_strength))


NODES = [X2EditApply]

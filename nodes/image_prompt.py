"""Pictures as prompts: adapters from disk, and the tokens of an encoded picture."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..x2edit_core.comfy_bridge import image_prompts
from ..x2edit_core.comfy_bridge.image_prompts import ManagedImageAdapter, PicturePrompt
from .sockets import ImageAdapter, ImageTokens


class X2EditImageAdapterLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2EditImageAdapterLoader",
            display_name="Load X2Edit Image Adapter",
            category="X2Edit/image prompt",
            description="Loads an IP-Adapter for FLUX.1: InstantX's or XLabs'. With it a picture can say what to draw, "
            "beside the instruction. Every tensor of the file is accounted for. The published weights are NON-COMMERCIAL.",
            search_aliases=["ip-adapter", "ipadapter flux", "image prompt", "insightedit", "instantx", "xlabs"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=image_prompts.adapter_names(),
                    tooltip="A file in models/x2edit, models/ipadapter or models/ipadapter-flux. InstantX's ip-adapter.bin "
                    "(5.3 GB) and XLabs' ip_adapter.safetensors are under non-commercial licences.",
                ),
                io.Combo.Input(
                    "encoder_file",
                    options=image_prompts.encoder_names(),
                    default=image_prompts.AUTOMATIC,
                    optional=True,
                    advanced=True,
                    tooltip="For InstantX's: the file in models/clip_vision with SigLIP's pooling head, which ComfyUI's own "
                    "encoder leaves out. `automatic` takes the first that has one of the right width.",
                ),
            ],
            outputs=[
                ImageAdapter.Output(
                    "image_adapter", display_name="image_adapter", tooltip="Connect to X2Edit Image Tokens."
                )
            ],
        )

    @classmethod
    def execute(cls, file: str, encoder_file: str = image_prompts.AUTOMATIC) -> io.NodeOutput:
        managed = image_prompts.load_managed(image_prompts.adapter_path(file), encoder_file)
        image_prompts.tell_licence(managed)
        return io.NodeOutput(managed)

    @classmethod
    def fingerprint_inputs(cls, file: str, encoder_file: str = image_prompts.AUTOMATIC) -> str:
        return image_prompts.fingerprint(file, encoder_file)


class X2EditImageTokens(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2EditImageTokens",
            display_name="X2Edit Image Tokens",
            category="X2Edit/image prompt",
            description="A picture as a prompt: what it shows in one vector, made into tokens that an attention of their own "
            "reads. It says what appears (a material, a style, a kind of thing), not where. Connect it to Apply X2Edit "
            "Adapter.",
            search_aliases=["ip-adapter", "image prompt", "insightedit", "reference style", "decoupled attention"],
            inputs=[
                ImageAdapter.Input("image_adapter", tooltip="From Load X2Edit Image Adapter."),
                io.ClipVisionOutput.Input(
                    "clip_vision_output",
                    tooltip="From CLIP Vision Encode, with SigLIP so400m 384 for InstantX's adapter, CLIP ViT-L/14 for XLabs'. "
                    "`crop` none shows the whole picture. Several pictures: one for each that is sampled, in turn.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the picture prompt acts, white: on all that is sampled, so for ICEdit on both panels. "
                    "Without a mask it acts everywhere.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=-4.0,
                    max=4.0,
                    step=0.01,
                    optional=True,
                    tooltip="How strongly this picture acts beside others; Apply's image_strength multiplies all of them.",
                ),
                io.Float.Input(
                    "start_percent",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    optional=True,
                    advanced=True,
                    tooltip="From which part of sampling on the picture acts.",
                ),
                io.Float.Input(
                    "end_percent",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    optional=True,
                    advanced=True,
                    tooltip="Up to which part of sampling the picture acts.",
                ),
                ImageTokens.Input(
                    "image_tokens",
                    optional=True,
                    tooltip="Picture prompts from another X2Edit Image Tokens, of any adapter; their effects add up.",
                ),
            ],
            outputs=[
                ImageTokens.Output(
                    "image_tokens", display_name="image_tokens", tooltip="Connect to Apply X2Edit Adapter."
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        image_adapter: ManagedImageAdapter,
        clip_vision_output: Any,
        mask: Any = None,
        strength: float = 1.0,
        start_percent: float = 0.0,
        end_percent: float = 1.0,
        image_tokens: PicturePrompt | None = None,
    ) -> io.NodeOutput:
        vectors = image_prompts.vectors_of(image_adapter, clip_vision_output)
        return io.NodeOutput(
            image_prompts.prompt_of(image_adapter, vectors, strength, start_percent, end_percent, mask, image_tokens)
        )


NODES = [X2EditImageAdapterLoader, X2EditImageTokens]

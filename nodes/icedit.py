"""ICEdit: the source beside its edit on one canvas, and what FLUX Fill needs to paint the other half."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..x2edit_core import diptych as canvas
from ..x2edit_core.comfy_bridge import pictures
from ..x2edit_core.comfy_bridge.diptych import NOISE_MODES, T5_TOKENS, NoiseMode, SeededNoise, assembled, condition
from ..x2edit_core.comfy_bridge.models import ManagedAdapter, apply_static
from ..x2edit_core.geometry import DiptychLayout, Side
from .sockets import Adapter, Layout


class ICEditDiptych(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ICEditDiptych",
            display_name="ICEdit Diptych",
            category="X2Edit/ICEdit",
            description="Puts the source picture into one half of a canvas twice its width and masks the other half, where the "
            "edit will be painted. Any picture of any size, or a batch.",
            search_aliases=["icedit", "in-context edit", "side by side", "diptych", "fill"],
            inputs=[
                io.Image.Input(
                    "image", tooltip="The picture to edit, of any size; a batch edits each of its pictures."
                ),
                io.Int.Input(
                    "width",
                    default=512,
                    min=64,
                    max=4096,
                    step=16,
                    tooltip="Width of one panel. The adapters were trained at 512; others work, less surely.",
                ),
                io.Combo.Input(
                    "fill",
                    options=list(canvas.FILLS),
                    default="grey",
                    optional=True,
                    advanced=True,
                    tooltip="What lies in the edit's panel before sampling. The model is shown grey either way; a copy of the "
                    "source matters for a denoise below 1.",
                ),
                io.Combo.Input(
                    "side",
                    options=["right", "left"],
                    default="right",
                    optional=True,
                    advanced=True,
                    tooltip="The panel that the edit is painted into. The adapters were trained on the right one.",
                ),
            ],
            outputs=[
                io.Image.Output("diptych", display_name="diptych", tooltip="Connect to ICEdit Conditioning."),
                io.Mask.Output("mask", display_name="mask", tooltip="White over the panel of the edit."),
                Layout.Output("layout", display_name="layout", tooltip="The way back to the source's size."),
            ],
        )

    @classmethod
    def execute(
        cls, image: Tensor, width: int = 512, fill: canvas.Fill = "grey", side: Side = "right"
    ) -> io.NodeOutput:
        return io.NodeOutput(*assembled(image, width, fill, side))


class ICEditConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ICEditConditioning",
            display_name="ICEdit Conditioning",
            category="X2Edit/ICEdit",
            description="Wraps the instruction into ICEdit's sentence, encodes it with both text encoders, and encodes the "
            "diptych for FLUX Fill. The defaults are the reference's.",
            search_aliases=["icedit", "in-context edit", "instruction", "inpaint conditioning"],
            inputs=[
                io.Clip.Input("clip", tooltip="FLUX's text encoders, CLIP-L and T5."),
                io.Vae.Input("vae", tooltip="FLUX's autoencoder."),
                io.String.Input(
                    "instruction",
                    multiline=True,
                    default="",
                    tooltip="What to change, as it goes on after 'exactly the same as on the left but'. Brackets are taken "
                    "literally.",
                ),
                io.Image.Input("diptych", tooltip="From ICEdit Diptych."),
                io.Mask.Input("mask", tooltip="From ICEdit Diptych. A part of the panel works too, untrained."),
                io.String.Input(
                    "template",
                    multiline=True,
                    default=canvas.SENTENCE,
                    optional=True,
                    tooltip="The sentence around the instruction, with {instruction} in it. ICEdit's own, which empty stands "
                    "for too, is mirrored for an edit on the left.",
                ),
                io.Float.Input(
                    "guidance",
                    default=50.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    optional=True,
                    tooltip="FLUX's embedded guidance: 50 for Fill as in the reference, about 3.5 for a text-to-image FLUX.",
                ),
                io.Int.Input(
                    "t5_min_length",
                    default=T5_TOKENS,
                    min=0,
                    max=4096,
                    optional=True,
                    advanced=True,
                    tooltip="T5's tokens are padded to this length: 512 in the reference, 256 elsewhere in ComfyUI; 0 keeps "
                    "the CLIP's own setting.",
                ),
                io.Boolean.Input(
                    "keep_source_panel",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Put the source's panel back at every step. The reference lets it be painted too.",
                ),
            ],
            outputs=[
                io.Conditioning.Output("positive", display_name="positive", tooltip="Text, picture and mask."),
                io.Conditioning.Output("negative", display_name="negative", tooltip="The same with the text zeroed."),
                io.Latent.Output("latent", display_name="latent", tooltip="The diptych, to sample into."),
            ],
        )

    @classmethod
    def execute(
        cls,
        clip: Any,
        vae: Any,
        instruction: str,
        diptych: Tensor,
        mask: Tensor,
        template: str = canvas.SENTENCE,
        guidance: float = 50.0,
        t5_min_length: int = T5_TOKENS,
        keep_source_panel: bool = False,
    ) -> io.NodeOutput:
        return io.NodeOutput(
            *condition(clip, vae, instruction, diptych, mask, template, guidance, t5_min_length, keep_source_panel)
        )


class ICEditCrop(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ICEditCrop",
            display_name="ICEdit Crop",
            category="X2Edit/ICEdit",
            description="Takes the edit out of the finished diptych at the source's size. Stitched, only what changed comes "
            "from the edit and every other pixel is the source's own.",
            search_aliases=["icedit", "right panel", "paste back", "original size"],
            inputs=[
                io.Image.Input("image", tooltip="The decoded diptych, also after an upscaler."),
                Layout.Input("layout", tooltip="From ICEdit Diptych."),
                io.Image.Input("source", optional=True, tooltip="The source picture; needed to stitch."),
                io.Combo.Input(
                    "stitch",
                    options=["off", "feathered"],
                    default="off",
                    optional=True,
                    tooltip="off: the whole panel. feathered: only the edited area, with a soft seam, on the source.",
                ),
                io.Mask.Input(
                    "edit_mask",
                    optional=True,
                    tooltip="White where the edit is kept. Without it, that is where the two panels differ.",
                ),
            ],
            outputs=[io.Image.Output("image", display_name="image", tooltip="The edit at the source's size.")],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        layout: DiptychLayout,
        source: Tensor | None = None,
        stitch: str = "off",
        edit_mask: Tensor | None = None,
    ) -> io.NodeOutput:
        return io.NodeOutput(pictures.crop_admitted(image, layout, source, stitch == "feathered", edit_mask))


class ICEditNoise(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ICEditNoise",
            display_name="ICEdit Noise",
            category="X2Edit/ICEdit",
            description="The initial noise of a seed, for SamplerCustomAdvanced: as ComfyUI draws it, or as ICEdit's "
            "script does with either version of diffusers, so that a seed found there means the same here.",
            search_aliases=["icedit", "seed", "random noise", "diffusers seed"],
            inputs=[
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="The seed.",
                ),
                io.Combo.Input(
                    "mode",
                    options=list(NOISE_MODES),
                    default="host",
                    tooltip="host: as RandomNoise. diffusers 0.32: as ICEdit's script with the version that its published "
                    "seeds come from. diffusers 0.33: with that version or a later one, which draws in another order.",
                ),
            ],
            outputs=[io.Noise.Output("noise", display_name="noise", tooltip="Connect to SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(cls, seed: int, mode: NoiseMode = "host") -> io.NodeOutput:
        return io.NodeOutput(SeededNoise(seed, mode))


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
                io.String.Input(
                    "save_as",
                    default="",
                    optional=True,
                    advanced=True,
                    tooltip="Also save the averaged adapter as a LoRA file of this name in models/loras; empty saves nothing. "
                    "A model whose layers are fused then passes through: load the file with its own LoRA node.",
                ),
            ],
            outputs=[
                io.Model.Output("model", display_name="model", tooltip="The model with the averaged adapter merged.")
            ],
        )

    @classmethod
    def execute(cls, model: Any, adapter: ManagedAdapter, strength: float = 1.0, save_as: str = "") -> io.NodeOutput:
        return io.NodeOutput(apply_static(model, adapter, strength, save_as))


NODES = [ICEditDiptych, ICEditConditioning, ICEditCrop, ICEditNoise, ICEditStaticFallback]

"""X2Edit's own text conditioning: Qwen2.5-VL and AlignNet in the place of CLIP and T5."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..x2edit_core.alignnet import PROMPT_FORMS, PromptForm, prompt_text, with_triggers
from ..x2edit_core.comfy_bridge import admitted
from ..x2edit_core.comfy_bridge.qwen_text import encode_pair, picture_size
from ..x2edit_core.comfy_bridge.text import alignnet_names, alignnet_path, load_managed_alignnet
from ..x2edit_core.geometry import SIZE_RULES, EditLayout, SizeRule
from ..x2edit_core.pixels import to_rgb
from .reference import SIDE
from .sockets import AlignNet, Layout


class X2EditAlignNetLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2EditAlignNetLoader",
            display_name="Load X2Edit AlignNet",
            category="X2Edit/text",
            description=(
                "Loads AlignNet, the small network that turns Qwen2.5-VL's states into FLUX conditioning. Its file "
                "lies beside X2Edit's lora.safetensors; put it into models/x2edit."
            ),
            search_aliases=["x2edit", "alignnet", "x2i", "qwen2.5-vl", "text encoder"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=alignnet_names(),
                    tooltip=(
                        "diffusion_pytorch_model.bin of X2Edit, a .bin, .pt or .safetensors under models/x2edit. Not "
                        "the projector of X2I: X2Edit trained its own."
                    ),
                ),
            ],
            outputs=[AlignNet.Output("alignnet", display_name="alignnet", tooltip="Connect to X2Edit Text Encode.")],
        )

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        return io.NodeOutput(load_managed_alignnet(alignnet_path(file)))

    @classmethod
    def fingerprint_inputs(cls, file: str) -> str:
        status = alignnet_path(file).stat()
        return f"{status.st_mtime_ns}:{status.st_size}"


class X2EditTextEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2EditTextEncode",
            display_name="X2Edit Text Encode",
            category="X2Edit/text",
            description=(
                "Encodes an edit instruction as X2Edit was trained: all states of Qwen2.5-VL through AlignNet, in the "
                "place of CLIP and T5. Connect it where CLIP Text Encode would go."
            ),
            search_aliases=["x2edit", "prompt", "instruction", "alignnet", "qwen2.5-vl", "conditioning"],
            inputs=[
                io.Clip.Input("clip", tooltip="Qwen2.5-VL-7B from a CLIPLoader of type qwen_image, fp8 files too."),
                AlignNet.Input("alignnet", tooltip="From Load X2Edit AlignNet."),
                io.String.Input(
                    "instruction",
                    multiline=True,
                    default="",
                    tooltip="What to change in the picture, in English or Chinese.",
                ),
                io.String.Input(
                    "trigger_words",
                    default="",
                    optional=True,
                    tooltip='Trigger words of a style LoRA, put before the instruction: "ghibli,". Not for the classifier.',
                ),
                io.Combo.Input(
                    "prompt_form",
                    options=list(PROMPT_FORMS),
                    default="infer",
                    optional=True,
                    tooltip=(
                        "infer: wrapped as the authors' inference does it. train: the bare instruction, as the "
                        "released weights were trained on it. Try both."
                    ),
                ),
                io.Boolean.Input(
                    "one_per_line",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Take each line as an instruction of its own and return them as one batch.",
                ),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip=(
                        "Outside the released training: shows the language model the picture, at 256 x 256, as X2I "
                        "does. Leave it empty for results like the authors'."
                    ),
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    display_name="conditioning", tooltip="512 context rows and the pooled vector, for FLUX."
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        clip: Any,
        alignnet: Any,
        instruction: str,
        trigger_words: str = "",
        prompt_form: PromptForm = "infer",
        one_per_line: bool = False,
        image: Any = None,
    ) -> io.NodeOutput:
        lines = [line for line in instruction.splitlines() if line.strip()] if one_per_line else []
        prompts = [prompt_text(with_triggers(line, trigger_words), prompt_form) for line in lines or [instruction]]
        context, pooled = alignnet.encode(clip, prompts, [] if image is None else list(to_rgb(admitted.picture(image))))
        return io.NodeOutput([[context, clip.add_hooks_to_dict({"pooled_output": pooled})]])


class X2EditQwenTextEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2EditQwenTextEncode",
            display_name="X2Edit Qwen Text Encode",
            category="X2Edit/text",
            description="Encodes an edit instruction for Qwen-Image as X2Edit was trained. The prompt names the size at which "
            "the picture is edited, so give this node the same picture and size as X2Edit Reference. Both outputs then need "
            "the reference: guidance compares two passes that differ in their words alone.",
            search_aliases=["x2edit", "prompt", "instruction", "qwen image", "qwen2.5-vl", "conditioning"],
            inputs=[
                io.Clip.Input("clip", tooltip="Qwen2.5-VL-7B from a CLIPLoader of type qwen_image, fp8 files too."),
                io.String.Input(
                    "instruction",
                    multiline=True,
                    default="",
                    tooltip="What to change in the picture, in English or Chinese. Nothing in it is read as syntax.",
                ),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The picture to edit. Only its size counts: the language model never sees it.",
                ),
                io.Combo.Input(
                    "size",
                    options=list(SIZE_RULES),
                    default="1024 buckets",
                    optional=True,
                    tooltip="As on X2Edit Reference.",
                ),
                io.Int.Input("width", tooltip="As on X2Edit Reference; without a picture, the width itself.", **SIDE),
                io.Int.Input("height", tooltip="As on X2Edit Reference; without a picture, the height itself.", **SIDE),
                Layout.Input(
                    "layout",
                    optional=True,
                    tooltip="From an X2Edit Reference that does not come after this node; its size counts before all else.",
                ),
            ],
            outputs=[
                io.Conditioning.Output("positive", display_name="positive", tooltip="The instruction."),
                io.Conditioning.Output(
                    "negative",
                    display_name="negative",
                    tooltip="The same prompt without an instruction, for cfg above 1.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        clip: Any,
        instruction: str,
        image: Any = None,
        size: SizeRule = "1024 buckets",
        width: int = 0,
        height: int = 0,
        layout: EditLayout | None = None,
    ) -> io.NodeOutput:
        return io.NodeOutput(*encode_pair(clip, instruction, picture_size(layout, image, size, width, height)))


NODES = [X2EditAlignNetLoader, X2EditTextEncode, X2EditQwenTextEncode]

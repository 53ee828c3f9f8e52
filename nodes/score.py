"""How good one edit is, in numbers."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..x2edit_core.chat import Chat as ChatModel
from ..x2edit_core.choosing.judge import ScoreJudge
from ..x2edit_core.choosing.scoring import METRICS, Edit, report
from ..x2edit_core.comfy_bridge import admitted
from ..x2edit_core.comfy_bridge.encoders import NONE, encoder_names, load_encoder
from ..x2edit_core.comfy_bridge.notices import show_on_node
from .sockets import Chat

AUTO = "auto"


class X2EditScore(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2EditScore",
            display_name="X2Edit Score",
            category="X2Edit/analysis",
            description="Measures an edit: how near it is to a target, what changed inside and outside a mask, and, with a "
            "vision model, how well it follows the instruction and how good it looks.",
            search_aliases=[
                "x2edit",
                "viescore",
                "psnr",
                "ssim",
                "clip score",
                "dino",
                "evaluate",
                "metric",
                "quality",
            ],
            is_output_node=True,
            inputs=[
                io.Image.Input("source", tooltip="The picture before the edit."),
                io.Image.Input("image", tooltip="The edited picture; it is compared at the source's size."),
                io.String.Input(
                    "instruction", multiline=True, tooltip="What the edit should do, as the vision model is told."
                ),
                io.Combo.Input(
                    "metric",
                    options=[AUTO, *METRICS],
                    default=AUTO,
                    tooltip="Which measure becomes the score. auto: the most telling one that the connected inputs allow, "
                    "from the vision model's mark over nearness to the target to what changed.",
                ),
                io.Image.Input("target", optional=True, tooltip="The right answer, where it is known."),
                io.Mask.Input(
                    "mask", optional=True, tooltip="White where the edit belongs; the rest should stay as it is."
                ),
                Chat.Input(
                    "chat", optional=True, tooltip="A model that sees pictures and marks the edit, such as Qwen3-VL."
                ),
                io.String.Input(
                    "criteria",
                    default="",
                    multiline=True,
                    optional=True,
                    advanced=True,
                    tooltip="What else the vision model should look for, in your own words. May stay empty.",
                ),
                io.Combo.Input(
                    "encoder",
                    options=encoder_names(),
                    default=NONE,
                    optional=True,
                    advanced=True,
                    tooltip="A CLIP or DINO folder under models/clip_vision, to compare what the pictures show.",
                ),
                io.String.Input(
                    "caption",
                    default="",
                    multiline=True,
                    optional=True,
                    advanced=True,
                    tooltip="What the edited picture should show, for a CLIP encoder to compare with. May stay empty.",
                ),
            ],
            outputs=[
                io.Float.Output("score", display_name="score", tooltip="The chosen measure, the mean over the batch."),
                io.String.Output(
                    "report", display_name="report", tooltip="All measures with what they mean, and reasons."
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        source: Tensor,
        image: Tensor,
        instruction: str,
        metric: str = AUTO,
        target: Tensor | None = None,
        mask: Tensor | None = None,
        chat: ChatModel | None = None,
        criteria: str = "",
        encoder: str = NONE,
        caption: str = "",
    ) -> io.NodeOutput:
        before = admitted.picture(source, "source")
        after = admitted.picture_beside(before, image, "image")
        right = None if target is None else admitted.picture_beside(before, target, "target")
        edit = Edit(before, after, instruction, right, admitted.mask(before, mask), caption.strip())
        judge = ScoreJudge(chat, criteria) if chat is not None else None
        found = report(edit, metric, load_encoder(encoder), judge)
        show_on_node(found.text, cls.hidden.unique_id)
        return io.NodeOutput(found.value, found.text)


NODES = [X2EditScore]

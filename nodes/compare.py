"""Before and after an edit, under one slider in the node."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..x2edit_core.comfy_bridge import admitted
from ..x2edit_core.comfy_bridge.comparison import comparison


class X2EditCompare(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2EditCompare",
            display_name="X2Edit Compare",
            category="X2Edit",
            description="Shows a picture before and after an edit under one slider: drag it, or use the arrow keys. "
            "Pictures may be of different sizes; a batch is leafed through. Nothing is saved but temporary files.",
            search_aliases=[
                "x2edit",
                "before after",
                "compare images",
                "slider",
                "difference",
                "对比",
                "前后对比",
                "编辑",
            ],
            is_output_node=True,
            inputs=[
                io.Image.Input("before", tooltip="The picture before the edit."),
                io.Image.Input("after", tooltip="The edited picture."),
                io.Image.Input(
                    "target", optional=True, tooltip="The right answer, where it is known; T changes to it."
                ),
                io.Mask.Input("mask", optional=True, tooltip="An area to mark on the pictures; M shows and hides it."),
            ],
            outputs=[],
        )

    @classmethod
    def execute(
        cls, before: Tensor, after: Tensor, target: Tensor | None = None, mask: Tensor | None = None
    ) -> io.NodeOutput:
        before, after = admitted.picture(before, "before"), admitted.picture(after, "after")
        shown = None if mask is None else admitted.mask(after, mask)
        goal = None if target is None else admitted.picture(target, "target")
        return io.NodeOutput(ui=comparison(before, after, goal, shown))


NODES = [X2EditCompare]

"""The source picture into the sequence, and the edit back to its size."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..x2edit_core.comfy_bridge import pictures
from ..x2edit_core.comfy_bridge.unread import warn_of_graph
from ..x2edit_core.geometry import SIZE_RULES, EditLayout, SizeRule
from .sockets import Layout

SIDE: dict[str, Any] = {"default": 0, "min": 0, "max": 8192, "step": 16, "optional": True, "advanced": True}


class X2EditReference(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2EditReference",
            display_name="X2Edit Reference",
            category="X2Edit",
            description="Puts a source picture into the conditioning as clean reference tokens and gives the empty latent to "
            "sample into. Chain several to show the model more pictures; the first one's latent and layout count.",
            search_aliases=["x2edit source", "reference image", "edit image", "编辑", "图像编辑", "参考图"],
            inputs=[
                io.Conditioning.Input("conditioning", tooltip="The encoded instruction."),
                io.Vae.Input("vae", tooltip="The autoencoder of the model: FLUX.1's, Qwen-Image's or FLUX.2's."),
                io.Image.Input(
                    "image", tooltip="The picture to edit, of any size; a batch edits each of its pictures."
                ),
                io.Combo.Input(
                    "size",
                    options=list(SIZE_RULES),
                    default="1024 buckets",
                    tooltip="At which size to edit: the trained sizes of about 1 megapixel, the same shapes at a quarter of "
                    "it, or the picture's own size in steps of 16.",
                ),
                io.Int.Input("width", tooltip="Edit at this width instead; 0 follows `size`.", **SIDE),
                io.Int.Input("height", tooltip="Edit at this height instead; 0 follows `size`.", **SIDE),
            ],
            outputs=[
                io.Conditioning.Output(
                    "conditioning", display_name="conditioning", tooltip="With the reference added."
                ),
                io.Latent.Output("latent", display_name="latent", tooltip="Empty, of the target's size."),
                Layout.Output("layout", display_name="layout", tooltip="The way back to the source's size."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
        )

    @classmethod
    def execute(
        cls, conditioning: Any, vae: Any, image: Tensor, size: SizeRule, width: int = 0, height: int = 0
    ) -> io.NodeOutput:
        warn_of_graph(cls.hidden.prompt, cls.hidden.unique_id, "conditioning")
        latent, layout = pictures.encode_reference(vae, image, size, width, height)
        pictures.require_named_size(conditioning, layout)
        return io.NodeOutput(pictures.add_reference(conditioning, latent), pictures.empty_latent_like(latent), layout)


class X2EditRestore(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2EditRestore",
            display_name="X2Edit Restore",
            category="X2Edit",
            description="Brings the edited picture of any editor back to the source's size. With a mask, everything outside "
            "it is the source again, pixel for pixel; without one it can find for itself what the edit changed.",
            search_aliases=[
                "x2edit resize back",
                "paste back",
                "original size",
                "align",
                "pixel shift",
                "find changes",
                "编辑",
                "还原",
                "贴回",
                "对齐",
            ],
            inputs=[
                io.Image.Input("image", tooltip="The decoded edit."),
                Layout.Input(
                    "layout", optional=True, tooltip="From X2Edit Reference; not needed where `source` is connected."
                ),
                io.Image.Input(
                    "source",
                    optional=True,
                    tooltip="The source picture; needed with a mask, to find, and without a layout.",
                ),
                io.Mask.Input(
                    "mask", optional=True, tooltip="White where the edit is kept, black where the source returns."
                ),
                io.Combo.Input(
                    "unchanged",
                    options=list(pictures.UNCHANGED),
                    default="as pasted",
                    optional=True,
                    tooltip="as pasted: the edit is resized and pasted where it is. find: it is aligned to the source, its "
                    "colours are matched, and all that it did not change is the source. Edits of the whole picture stay.",
                ),
            ],
            outputs=[
                io.Image.Output("image", display_name="image", tooltip="The edit at the source's size."),
                io.Mask.Output("mask", display_name="mask", tooltip="White where the picture is the edit's."),
            ],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        layout: EditLayout | None = None,
        source: Tensor | None = None,
        mask: Tensor | None = None,
        unchanged: pictures.Unchanged = "as pasted",
    ) -> io.NodeOutput:
        return io.NodeOutput(*pictures.restore_admitted(image, layout, source, mask, unchanged))


NODES = [X2EditReference, X2EditRestore]

"""The extension: every node of the pack, in the order of the flow. Each file holds one stage."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from ..x2edit_core import comfy_bridge
from ..x2edit_core.comfy_bridge.picker import register_routes
from . import (
    apply,
    chat,
    classify,
    compare,
    demo,
    encode,
    filter,
    icedit,
    icedit_free,
    image_prompt,
    judge,
    load,
    reference,
    routing,
    score,
    shift,
    task,
    train,
)

STAGES = (
    demo,
    load,
    task,
    classify,
    chat,
    encode,
    reference,
    image_prompt,
    apply,
    shift,
    routing,
    score,
    compare,
    icedit,
    icedit_free,
    image_prompt,
    judge,
    filter,
    train,
)


class X2EditExtension(ComfyExtension):
    async def on_load(self) -> None:
        comfy_bridge.register_model_folders()
        comfy_bridge.make_adapter_folder()
        register_routes()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [node for stage in STAGES for node in stage.NODES]


async def comfy_entrypoint() -> X2EditExtension:
    return X2EditExtension()

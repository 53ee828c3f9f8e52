"""Adapters from disk."""

from __future__ import annotations

from comfy_api.latest import io

from ..x2edit_core.comfy_bridge import folders
from ..x2edit_core.comfy_bridge.models import load_managed
from ..x2edit_core.errors import X2EditError
from .sockets import Adapter


class X2EditAdapterLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2EditAdapterLoader",
            display_name="Load X2Edit Adapter",
            category="X2Edit",
            description="Loads a routed editing adapter. The kind is recognised by what is in the file, and every tensor "
            "of it is accounted for.",
            search_aliases=["x2edit", "moe lora", "mixture of experts lora", "icedit", "load adapter"],
            inputs=[
                io.Combo.Input(
                    "adapter_name",
                    options=folders.adapter_names(),
                    tooltip="A file in models/x2edit or models/loras; the released lora.safetensors needs its "
                    "task_embeddings.bin beside it. The embedded entries need no download.",
                ),
            ],
            outputs=[Adapter.Output("adapter", display_name="adapter", tooltip="Connect to Apply X2Edit Adapter.")],
        )

    @classmethod
    def execute(cls, adapter_name: str) -> io.NodeOutput:
        return io.NodeOutput(load_managed(folders.adapter_path(adapter_name)))

    @classmethod
    def validate_inputs(cls, adapter_name: str | None = None) -> bool | str:
        """In the host's place, which would take listed names only: older graphs name the released file's folder."""
        try:
            return adapter_name is None or bool(folders.adapter_path(adapter_name))
        except X2EditError as error:
            return str(error)

    @classmethod
    def fingerprint_inputs(cls, adapter_name: str) -> str:
        return folders.fingerprint(adapter_name)


NODES = [X2EditAdapterLoader]

"""Language and vision models for the classifier and the judge: from a CLIP, a folder, or a server."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..x2edit_core.chat.keys import NONE
from ..x2edit_core.chat.transport import Limits
from ..x2edit_core.comfy_bridge import endpoints
from ..x2edit_core.comfy_bridge.chat import DEVICES, DTYPES, HostClipChat, chat_folders, folder_chat
from .sockets import Chat

ALIASES = ["x2edit", "llm", "vlm", "language model", "qwen3", "judge", "classifier"]


def _image_side() -> io.Input:
    return io.Int.Input(
        "longest_image_side",
        default=1024,
        min=64,
        max=4096,
        step=8,
        optional=True,
        advanced=True,
        tooltip="Pictures shown to the model are made no larger than this, in pixels; more costs memory and time.",
    )


def _output() -> io.Output:
    return Chat.Output("chat", display_name="chat", tooltip="For X2Edit's classifier and judge nodes.")


class X2EditChatFromCLIP(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2EditChatFromCLIP",
            display_name="X2Edit Chat From CLIP",
            category="X2Edit/chat",
            description=(
                "Talks to a language model that ComfyUI has loaded as a text encoder: no second copy, and its memory "
                "is managed by ComfyUI. Qwen3 reads text, Qwen3-VL sees pictures too."
            ),
            search_aliases=ALIASES,
            inputs=[
                io.Clip.Input(
                    "clip",
                    tooltip="Qwen3 or Qwen3-VL from a CLIPLoader. The 8B models need a file that holds lm_head.weight.",
                ),
                _image_side(),
            ],
            outputs=[_output()],
        )

    @classmethod
    def execute(cls, clip: Any, longest_image_side: int = 1024) -> io.NodeOutput:
        return io.NodeOutput(HostClipChat(clip, longest_image_side))


class X2EditChatFromFolder(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2EditChatFromFolder",
            display_name="X2Edit Chat From Folder",
            category="X2Edit/chat",
            description=(
                "Runs a language model from a folder in the transformers layout, such as Qwen3, Qwen2.5-VL or "
                "Qwen3-VL. Nothing is downloaded; ComfyUI unloads it like its own models."
            ),
            search_aliases=[*ALIASES, "transformers", "qwen2.5-vl"],
            inputs=[
                io.Combo.Input(
                    "folder",
                    options=list(chat_folders()),
                    tooltip=(
                        "A folder with config.json, tokenizer and safetensors files under models/text_encoders or "
                        "models/LLM."
                    ),
                ),
                io.Combo.Input(
                    "device",
                    options=list(DEVICES),
                    default="auto",
                    optional=True,
                    tooltip="auto: where ComfyUI runs text encoders. cpu: slow, but takes no graphics memory.",
                ),
                io.Combo.Input(
                    "dtype",
                    options=list(DTYPES),
                    default="auto",
                    optional=True,
                    tooltip="Number format of the weights. auto: bfloat16 where the device computes in it, float32 on the CPU.",
                ),
                _image_side(),
            ],
            outputs=[_output()],
        )

    @classmethod
    def execute(
        cls, folder: str, device: str = "auto", dtype: str = "auto", longest_image_side: int = 1024
    ) -> io.NodeOutput:
        return io.NodeOutput(folder_chat(folder, device, dtype, longest_image_side))


class X2EditChatFromEndpoint(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2EditChatFromEndpoint",
            display_name="X2Edit Chat From Endpoint",
            category="X2Edit/chat",
            description=(
                "Talks to a server that speaks OpenAI's chat completions: vLLM, llama.cpp, Ollama, LM Studio or a "
                "cloud. Instructions, and pictures where a node shows them, are sent to that server."
            ),
            search_aliases=[*ALIASES, "openai", "vllm", "ollama", "llama.cpp", "api"],
            inputs=[
                io.String.Input(
                    "base_url",
                    default="http://127.0.0.1:8000/v1",
                    tooltip="Address of the server up to /v1. Check it in workflows of others: it gets what you write.",
                ),
                io.String.Input(
                    "model", default="", tooltip="Name of the model as the server lists it under /v1/models."
                ),
                io.String.Input(
                    "key_variable",
                    default="",
                    optional=True,
                    tooltip=(
                        "Name of the environment variable that holds the key, such as OPENAI_API_KEY; never the key "
                        "itself. It is sent only to the host it belongs to; choose an endpoint for your own servers. Empty "
                        "for a server without a key."
                    ),
                ),
                io.Boolean.Input(
                    "vision",
                    default=False,
                    optional=True,
                    tooltip="Whether the model sees pictures. Leave it off for text models.",
                ),
                io.Float.Input(
                    "timeout",
                    default=60.0,
                    min=1.0,
                    max=600.0,
                    step=1.0,
                    optional=True,
                    advanced=True,
                    tooltip="Seconds until an answer must be complete.",
                ),
                io.Int.Input(
                    "attempts",
                    default=4,
                    min=1,
                    max=10,
                    optional=True,
                    advanced=True,
                    tooltip="How often a request is tried when the server is busy, failing or not reachable.",
                ),
                _image_side(),
                io.Combo.Input(
                    "endpoint",
                    options=endpoints.endpoint_names(),
                    default=NONE,
                    optional=True,
                    tooltip=(
                        "A server and its key that were bound by name on this ComfyUI; it takes the place of base_url and "
                        "key_variable. none: base_url is asked."
                    ),
                ),
            ],
            outputs=[_output()],
        )

    @classmethod
    def execute(
        cls,
        base_url: str,
        model: str,
        key_variable: str = "",
        vision: bool = False,
        timeout: float = 60.0,
        attempts: int = 4,
        longest_image_side: int = 1024,
        endpoint: str = NONE,
    ) -> io.NodeOutput:
        limits = Limits(timeout_s=timeout, attempts=attempts)
        return io.NodeOutput(
            endpoints.endpoint_chat(endpoint, base_url, model, key_variable, vision, limits, longest_image_side)
        )

    @classmethod
    def validate_inputs(cls, endpoint: str | None = NONE) -> bool | str:
        return endpoints.endpoint_fault(endpoint or NONE) or True

    @classmethod
    def fingerprint_inputs(cls, endpoint: str | None = NONE, **_: Any) -> str:
        return endpoints.endpoint_address(endpoint or NONE)


NODES = [X2EditChatFromCLIP, X2EditChatFromFolder, X2EditChatFromEndpoint]

"""ChatML, the turns that every Qwen chat model reads, for models that come without a template of their own."""

from __future__ import annotations

from collections.abc import Sequence

from .protocol import Message, plain_text

IMAGE_SLOT = "<|vision_start|><|image_pad|><|vision_end|>"
NO_THINKING = "<think>\n\n</think>\n\n"
END_OF_TURN = "<|im_end|>"


def render(messages: Sequence[Message], no_thinking: bool = True) -> str:
    """The conversation up to where the assistant answers; each image stands as one slot before its turn's text.

    `no_thinking` opens the reply with an empty thought, Qwen3's own way to switch thinking off.
    """
    turns = "".join(
        f"<|im_start|>{message.role}\n{IMAGE_SLOT * len(message.images)}{plain_text(message.text)}{END_OF_TURN}\n"
        for message in messages
    )
    return f"{turns}<|im_start|>assistant\n{NO_THINKING if no_thinking else ''}"

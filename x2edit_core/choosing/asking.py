"""Putting questions to a vision model: it must see, and an answer out of form is asked for once more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..chat import Chat, ChatError, Message
from ..chat.endpoint import EndpointChat
from ..chat.protocol import printable
from ..errors import X2EditError

REPLY_TOKENS = 160
THOUGHT_TOKENS = 2048
"""For a second reply where nothing was left of the first, as of a thought that was cut off."""


class VisionJudge:
    """A vision model that is asked; raises `X2EditError` for one that sees no pictures, as it could only fail later."""

    def __init__(self, chat: Chat, criteria: str) -> None:
        if not chat.vision:
            raise X2EditError(
                f"{chat.name} sees no pictures, so it cannot judge edits. Choose a vision model, such as Qwen3-VL; for an "
                "endpoint, switch `vision` on."
            )
        self.chat = chat
        self.criteria = criteria.strip()

    @property
    def name(self) -> str:
        return self.chat.name

    @property
    def remote(self) -> bool:
        return isinstance(self.chat, EndpointChat)


def with_retry(
    chat: Chat, messages: list[Message], parse: Callable[[str], Any], again: str, tokens: int = REPLY_TOKENS
) -> Any:
    """What `parse` reads in the reply, after one repetition of the question if need be; else raises `ChatError`."""
    reply = printable(chat.generate(messages, tokens))
    found = parse(reply)
    if found is None:
        room = tokens if reply else THOUGHT_TOKENS
        reply = printable(chat.generate([*messages, Message("assistant", reply or "…"), Message("user", again)], room))
        found = parse(reply)
    if found is None:
        shown = " ".join(reply.split())[:120]
        raise ChatError("bad_reply", f"{chat.name} gave no usable answer, asked twice; the last was {shown!r}.")
    return found

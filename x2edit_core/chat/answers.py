"""How a server's reply becomes text: in which field it stands, what of it is thought, and what it means that there is none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .protocol import ChatError, Usage, printable
from .thinking import strip_thinking

THOUGHT_FIELDS = ("reasoning_content", "reasoning", "thinking", "thoughts")
THOUGHT_PARTS = ("thinking", "reasoning", "thought")
READ_CHARS = 100_000
"""Of a reply's end: more than all the room for thoughts holds, and little enough for whatever reads on."""
CUT = ("length", "max_tokens", "MAX_TOKENS")


@dataclass(frozen=True)
class Answer:
    """What a model said, stripped of its thoughts. `cut` says that it ran out of tokens before it said anything.

    `refusal` is its own or its provider's no, told in a field of its own.
    """

    text: str
    thoughts: str = ""
    finish: str = ""
    refusal: str = ""

    @property
    def cut(self) -> bool:
        return not self.text and self.finish in CUT

    def missing(self, url: str) -> ChatError:
        """Why there is no text, for the one who waits for it."""
        if self.refusal:
            return ChatError("rejected", f"The model at {url} declined to answer: {self.refusal[:200]!r}.")
        if self.finish == "content_filter":
            return ChatError("rejected", f"{url} withheld the answer: its content filter stepped in.")
        hint = ""
        if self.cut:
            hint = (
                " It ran out of tokens, perhaps while thinking. Choose a model that does not think, or switch its thinking "
                "off on the server."
            )
        return ChatError("bad_reply", f"{url} answered without text (finish_reason {self.finish or None!r}).{hint}")


def read_answer(reply: Any, url: str) -> Answer:
    """The answer in a chat completion; raises `ChatError` for anything else."""
    choice = _choice(reply, url)
    message = choice.get("message")
    message = message if isinstance(message, dict) else {}
    content = message.get("content")
    if content is None and isinstance(choice.get("text"), str):
        content = choice["text"]
    if isinstance(content, int | float) and not isinstance(content, bool):
        content = str(content)
    said = content if isinstance(content, str) else _joined(content, thoughts=False)
    thoughts = next((text for name in THOUGHT_FIELDS if (text := _text_of(message.get(name)))), "")
    thoughts = thoughts or _joined(content, thoughts=True)
    finish = choice.get("finish_reason")
    finish = finish if isinstance(finish, str) else ""
    text = printable(strip_thinking(said[-READ_CHARS:]))
    if not text and not said.strip() and finish not in CUT:
        text = printable(_conclusion(thoughts))
    refusal = message.get("refusal")
    return Answer(text, thoughts, finish, printable(refusal) if isinstance(refusal, str) else "")


def usage_of(reply: Any) -> Usage:
    """The tokens that a reply says it cost; `uncounted` where it does not say so in whole numbers."""
    told = reply.get("usage") if isinstance(reply, dict) else None
    told = told if isinstance(told, dict) else {}
    prompt = _count(told, "prompt_tokens", "input_tokens")
    completion = _count(told, "completion_tokens", "output_tokens")
    return Usage(1, prompt or 0, completion or 0, int(prompt is None or completion is None))


def _count(told: dict[str, Any], *names: str) -> int | None:
    found = [told[name] for name in names if name in told]
    whole = [value for value in found if isinstance(value, int) and not isinstance(value, bool) and value >= 0]
    return whole[0] if whole else None


def _choice(reply: Any, url: str) -> dict[str, Any]:
    choices = reply.get("choices") if isinstance(reply, dict) else None
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return choices[0]
    raise ChatError("bad_reply", f"{url} answered without any choice; it may not be a chat completions address.")


def _joined(content: Any, thoughts: bool) -> str:
    """The texts of content that comes in parts: those of thoughts, or the others."""
    parts = content if isinstance(content, list) else []
    return "".join(_text_of(part) for part in parts if _is_thought(part) == thoughts)


def _is_thought(part: Any) -> bool:
    return isinstance(part, dict) and (part.get("type") in THOUGHT_PARTS or part.get("thought") is True)


def _text_of(part: Any, depth: int = 3) -> str:
    """The text of a part, whatever its form: a string, a field, or parts again."""
    if isinstance(part, str):
        return part
    if isinstance(part, list) and depth:
        return "".join(_text_of(item, depth - 1) for item in part)
    if not isinstance(part, dict) or not depth:
        return ""
    fields: Iterable[Any] = (part.get(name) for name in ("text", *THOUGHT_PARTS))
    return next((text for field in fields if (text := _text_of(field, depth - 1))), "")


def _conclusion(thoughts: str) -> str:
    """The answer of a server that files whole replies under thoughts, as some do once thinking is switched off.

    Of real thoughts that is the last line, or the last paragraph where it holds JSON; their first line would be taken for
    an answer ("1. Look at the edits").
    """
    text = strip_thinking(thoughts[-READ_CHARS:])
    last = text.rpartition("\n\n")[2].strip()
    return text if "{" in text and text.startswith("{") else last if "{" in last else last.rpartition("\n")[2].strip()

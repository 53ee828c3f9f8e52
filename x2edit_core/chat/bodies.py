"""From the bytes of a reply to its JSON: compression, byte order marks, and streams that nobody asked for."""

from __future__ import annotations

import json
import re
import zlib
from typing import Any

_ANY_ZLIB = zlib.MAX_WBITS | 32
_GZIP_MAGIC = b"\x1f\x8b"


class BodyError(ValueError):
    """A body that is not in a form that can be read; the message continues "answered …"."""


def unpacked(body: bytes, encoding: str, limit: int) -> bytes:
    """`body` without its compression, and no more than one byte beyond `limit`. Raises `BodyError`."""
    encoding = encoding.strip().lower()
    if encoding in ("gzip", "x-gzip", "deflate") or body.startswith(_GZIP_MAGIC):
        try:
            return zlib.decompressobj(_ANY_ZLIB).decompress(body, limit + 1)
        except zlib.error:
            raise BodyError("a compressed body that is broken") from None
    if encoding not in ("", "identity"):
        raise BodyError("a body in a compression that it was not asked for")
    return body


def parsed(body: bytes) -> Any:
    """The JSON of `body`. An event stream becomes the one completion that it spells. Raises `BodyError`."""
    text = body.decode("utf-8-sig", "replace").strip()
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    events = _events(text)
    if not events:
        raise BodyError("something that is not JSON")
    return _spelled(events, "[DONE]" in text)


def _events(text: str) -> list[dict[str, Any]]:
    """The objects of a stream's `data:` lines; empty where it is no stream or one that broke off."""
    found: list[dict[str, Any]] = []
    for line in re.split(r"\r\n|\n|\r", text):  # and at no other sign: JSON may hold U+2028 as it is
        name, _, value = line.partition(":")
        if name != "data" or value.strip() in ("", "[DONE]"):
            if line.strip() and name not in ("data", "event", "id", "retry", ""):
                return []
            continue
        try:
            event = json.loads(value)
        except (ValueError, RecursionError):
            return []
        if isinstance(event, dict):
            found.append(event)
    return found


_SPELLED = ("content", "reasoning_content", "reasoning", "refusal")


def _spelled(events: list[dict[str, Any]], done: bool) -> dict[str, Any]:
    """The pieces of a stream put together as an answer that came at once; an error among them is the answer."""
    for event in events:
        if event.get("error"):
            return event
    choices = [event["choices"][0] for event in events if _has_choice(event)]
    message: dict[str, Any] = {"role": "assistant"}
    tokens: list[Any] = []
    finish = "stop" if done else None
    for choice in choices:
        delta = choice.get("delta") or choice.get("message") or {}
        for name in _SPELLED:
            if isinstance(delta, dict) and isinstance(delta.get(name), str):
                message[name] = message.get(name, "") + delta[name]
        tokens += _listed(choice.get("logprobs"))
        finish = choice.get("finish_reason") or finish
    if finish is None:
        raise BodyError("a stream that broke off")
    told = next((event["usage"] for event in reversed(events) if event.get("usage")), None)
    spelled = {"message": message, "finish_reason": finish, "logprobs": {"content": tokens}}
    return {"choices": [spelled], **({"usage": told} if told else {})}


def _has_choice(event: dict[str, Any]) -> bool:
    choices = event.get("choices")
    return isinstance(choices, list) and bool(choices) and isinstance(choices[0], dict)


def _listed(logprobs: Any) -> list[Any]:
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    return content if isinstance(content, list) else []

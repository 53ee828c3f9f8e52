"""JSON objects in what a language model wrote: read as they are, or, where none can be, repaired by `json-repair`.

That package is optional: without it, only JSON that is JSON is read.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

READ_CHARS = 8000
"""Of a reply's end; an answer is not longer."""
TRIED = 64
"""How many opening braces are tried."""


@dataclass(frozen=True)
class FoundObject:
    """An object's content, its keys in lower case, and the text that it was read from. `repaired` text says something
    else than its content, word for word, so that what is taken from it must be looked for there."""

    content: Mapping[str, Any]
    text: str
    repaired: bool


def objects_with(reply: str, key: str) -> list[FoundObject]:
    """The objects in `reply` that have `key` (lower case): those that are JSON, else those that a repair makes so."""
    reply = reply[-READ_CHARS:]
    plain = unicodedata.normalize("NFKC", reply)  # full-width digits, brackets, commas
    return _as_they_are(reply, key) or _as_they_are(plain, key) or _repaired(plain, key)


def _as_they_are(text: str, key: str) -> list[FoundObject]:
    decoder = json.JSONDecoder(strict=False)  # a raw line break inside a string is no reason to doubt it
    found: list[FoundObject] = []
    start = text.find("{")
    for _ in range(TRIED):
        if start < 0:
            break
        end = start + 1
        try:
            content, stop = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            content = None
        else:
            content = _lowered(content)
            end = stop if key in content else end
        if content and key in content:
            found.append(FoundObject(content, text[start:end], False))
        start = text.find("{", end)
    return found


def _repaired(text: str, key: str) -> list[FoundObject]:
    try:
        import json_repair
    except ImportError:
        return []
    found: dict[str, FoundObject] = {}
    for place in list(re.finditer(re.escape(key), text, re.IGNORECASE))[:TRIED]:
        start, last = text.rfind("{", 0, place.start()), text.rfind("}")
        if start < 0:
            continue
        part = text[start : last + 1] if last > place.end() else text[start:]
        try:
            content = json_repair.loads(part)
        except (ValueError, RecursionError):
            continue
        content = (
            next((item for item in content if isinstance(item, dict)), {}) if isinstance(content, list) else content
        )
        if key in _lowered(content):
            found.setdefault(part, FoundObject(_lowered(content), part, True))
    return list(found.values())


def _lowered(content: Any) -> dict[str, Any]:
    return {str(name).strip().lower(): value for name, value in content.items()} if isinstance(content, dict) else {}

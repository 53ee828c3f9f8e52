"""Why a server did not answer, by what it means: its status alone does not tell a bad key from a field it does not know."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from .protocol import ChatError, Fault, printable

Kind = Literal[
    "key",
    "rights",
    "quota",
    "rate",
    "loading",
    "pictures",  # more pictures at once than it takes
    "blind",  # no pictures at all
    "room",  # no answer within the tokens it was given
    "parameter",  # a field that it does not know or allow
    "size",
    "missing",
    "server",
    "request",
]

SHOWN_REASON = 300
PASSING_STATUS = {408, 425, 429, 500, 502, 503, 504, 529}
MEANT_CHARS = 4000
DEPTH = 4

PARAMETERS: dict[str, tuple[str, ...]] = {
    "logprobs": (
        "logprobs",
        "top_logprobs",
        "logprob",
        "log probs",
        "log_probs",
        "log probabilities",
        "log-probabilities",
    ),
    "chat_template_kwargs": ("chat_template_kwargs", "enable_thinking"),
    "max_completion_tokens": ("max_completion_tokens",),
    "max_tokens": ("max_tokens",),
    "reasoning_effort": ("reasoning_effort", "reasoning effort", "reasoning.effort"),
    "temperature": ("temperature",),
    "seed": ("seed",),
    "top_p": ("top_p",),
}
"""The fields of a request that a server may not take, and the words by which servers name them."""


@dataclass(frozen=True)
class Refusal:
    """`status` is 0 for an error inside a reply that says it is fine; `reason` is the server's own, in one line, `words` all
    that it said."""

    kind: Kind
    status: int
    reason: str
    words: str

    @property
    def passing(self) -> bool:
        """Whether the same request may be answered later."""
        return self.kind in ("rate", "loading") or (self.kind == "server" and self.status in PASSING_STATUS)


class RejectedError(ChatError):
    """The server refused the request itself; `kind` and all its `words` are for a caller that can ask differently."""

    def __init__(self, message: str, words: str, kind: Kind = "request") -> None:
        self.words = words
        self.kind: Kind = kind
        super().__init__("rejected", message)


def names(reason: str, field: str) -> bool:
    """Whether `reason` speaks of this field of `PARAMETERS`."""
    return any(
        re.search(rf"(?<![\w/-]){re.escape(word)}(?![\w-])", reason, re.IGNORECASE) for word in PARAMETERS[field]
    )


_QUOTA = re.compile(
    r"insufficient[_ ](quota|balance|credit|fund)|exceeded your (current )?quota|quota[_ ]exceeded|billing|credit balance"
    r"|out of credits|more credits|payment required|余额|欠费"
)
_KEY = re.compile(
    r"(invalid|incorrect|wrong|missing|bad|unknown|expired|no|provide|revoked)\W+(\w+\W+){0,3}"
    r"(api[ _-]?key|(access|auth\w*|bearer|api) token\b|credentials?)"
    r"|api[ _-]?key (is )?(not |in)valid|invalid_api_key|unauthenticated"
)
_LOADING = re.compile(
    r"loading (the )?model|model (\S+ )?is (currently |still |now )?(being )?(loaded|loading)|still (loading|starting)"
    r"|(currently|is) loading|warming up|cold start|(starting|booting) up|模型(正在)?加载|正在加载"
)
_BROKEN = re.compile(r"(fail|error|cannot|could not|can't)\w*\W+(\w+\W+){0,3}load")
_PICTURES = re.compile(
    r"(single|one|1) (image|picture)|(image|picture)\W?s?\W? per (message|prompt|request)"
    r"|(at most|only|maximum( of)?|up to|limit\w*|too many|multiple|more than \w+|number of) (\w+ )?(image|picture)"
    r"|limit[-_]mm[-_]per[-_]prompt"
)
_BLIND = re.compile(
    r"(image|vision|multi-?modal)( \w+)? (is |are )?not supported|(not|n't|that) support (image|vision|multi-?modal|picture)"
    r"|not a (vision|multi-?modal)|mmproj"
)
_LATER = re.compile(r"retry in \d|try again in \d|retrydelay")
_ROOM = re.compile(
    r"(max_tokens|max_completion_tokens|output limit)\W+(\w+\W+){0,6}(was )?reached|could not finish the message"
)
_RIGHTS = re.compile(
    r"permission|not allowed|forbidden|(no|not have) access|not authori[sz]ed|not entitled|access denied"
)
_RATE = re.compile(r"rate[ _-]?limit|too many requests")
_SIZE = re.compile(r"(request|payload|body|entity) (is |entity )?too large")
_BY_STATUS: dict[int, Kind] = {401: "key", 402: "quota", 403: "rights", 404: "missing", 413: "size", 429: "rate"}


def refusal_of(status: int, text: str) -> Refusal:
    """What a reply of this status and body means."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    return _refusal(status, [_page_title(text)] if content is None else _words(content, DEPTH))


def refusal_inside(content: Any) -> Refusal | None:
    """An error that stands in a reply of status 200; None for a reply that is one. Its own code counts as the status."""
    if isinstance(content, list):
        content = next((item for item in content if isinstance(item, dict)), None)
    if not isinstance(content, dict):
        return None
    choices = content.get("choices")
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    error = content.get("error") or first.get("error")
    if not error and not choices:
        told = content.get("object") == "error" or any(isinstance(content.get(name), str) for name in _TOLD)
        error = (content if told else None) or content.get("detail") or content.get("errors")
    if not error:
        return None
    found = _refusal(_code(error) or _code(content), _words(error, DEPTH))
    return found if found.passing else replace(found, status=0)


def _refusal(status: int, said: list[str]) -> Refusal:
    words = " ".join(said)[:MEANT_CHARS].casefold()
    return Refusal(_kind(status, words), status, _one_line(said[0] if said else ""), words)


def _kind(status: int, words: str) -> Kind:
    """Words first, as they say what is meant; the status where they say nothing."""
    if status == 401:
        return "key"
    if status != 413 and _QUOTA.search(words) and not _LATER.search(words):
        return "quota"
    if _KEY.search(words) and status < 500:
        return "key"
    if _LOADING.search(words) and not _BROKEN.search(words):
        return "loading"
    if status == 429 or _RATE.search(words):
        return "rate"
    if _ROOM.search(words):
        return "room"
    if _PICTURES.search(words):
        return "pictures"
    if _BLIND.search(words):
        return "blind"
    if (status != 404 or names(words, "logprobs")) and any(names(words, field) for field in PARAMETERS):
        return "parameter"
    if _SIZE.search(words):
        return "size"
    if _RIGHTS.search(words) and status < 500:
        return "rights"
    return _BY_STATUS.get(status, "server" if status >= 500 or status in PASSING_STATUS else "request")


_TOLD = ("message", "msg", "error_msg", "detail", "error_message", "title", "description")
_MARKED = ("code", "type", "param", "status", "loc", "metadata", "raw")


def _words(content: Any, depth: int) -> list[str]:
    """Everything that an error says, its message first."""
    if isinstance(content, str):
        return [content] if content.strip() else []
    if isinstance(content, list):
        return [word for item in content[:8] for word in _words(item, depth - 1)] if depth else []
    if not isinstance(content, Mapping) or not depth:
        return []
    inner = [word for name in ("error", "errors") for word in _words(content.get(name), depth - 1)]
    told = [word for name in (*_TOLD, *_MARKED) for word in _words(content.get(name), depth - 1)]
    return [*inner, *told] or ([json.dumps(content, ensure_ascii=False)[:SHOWN_REASON]] if content else [])


def _code(error: Any) -> int:
    """The status that an error names itself; 0 without one."""
    for name in ("code", "status", "status_code"):
        value = error.get(name) if isinstance(error, Mapping) else None
        if isinstance(value, int | str) and str(value).isdecimal() and 400 <= int(str(value)[:4]) < 600:
            return int(value)
    return 0


def _page_title(text: str) -> str:
    """The words of a plain text; of a page, its title, or what it says."""
    if "<" not in text:
        return text
    title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
    return title.group(1) if title else re.sub(r"<(script|style)\b.*?</\1>|<[^>]*>", " ", text, flags=re.DOTALL)


def _one_line(text: str) -> str:
    return " ".join(printable(text).split())[:SHOWN_REASON]


_FAULTS: dict[Kind, tuple[Fault, str]] = {
    "key": ("authentication", "refused the key{reason}. Check the key that is bound to it"),
    "rights": (
        "rights",
        "knows the key and does not allow this with it{reason}. Choose another model, or ask for the right",
    ),
    "quota": ("quota", "says that the quota is used up{reason}. Waiting does not help: look at the account"),
    "rate": ("rate_limit", "limits the rate of requests{reason}. Try again later"),
    "loading": ("loading", "is still loading its model{reason}. Try again when it is ready, or raise the time-out"),
    "size": ("too_large", "says the request is too large{reason}. Use fewer or smaller images"),
    "server": ("server", "failed{reason}"),
}
_REJECTIONS: dict[Kind, str] = {
    "missing": "was not found{reason}. Check the base URL and the name of the model",
    "pictures": "takes fewer pictures at once{reason}",
    "blind": "says that this model sees no pictures{reason}. Choose a vision model, such as Qwen3-VL",
    "room": "found no end within the tokens of its answer{reason}",
    "parameter": "does not take a field of the request{reason}",
    "request": "refused the request{reason}",
}


def error_of(refusal: Refusal, url: str) -> ChatError:
    """The refusal in words: what it means, the server's reason, and what to do."""
    reason = without_keys(refusal.reason) if refusal.kind == "key" else refusal.reason
    said = f" (status {refusal.status})" if refusal.status else " (in a reply of status 200)"
    said += f": {reason.rstrip(' .')}" if reason else ""
    if refusal.kind == "rights" and not reason:
        return ChatError("authentication", f"{url} refused access with this key{said}.")
    if refusal.kind in _FAULTS:
        fault, problem = _FAULTS[refusal.kind]
        return ChatError(fault, f"{url} {problem.format(reason=said)}.")
    return RejectedError(f"{url} {_REJECTIONS[refusal.kind].format(reason=said)}.", refusal.words, refusal.kind)


def without_keys(text: str) -> str:
    """`text` without words that could be a key or a part of one: servers quote what they refuse."""
    return re.sub(r"[^\s'\"`:,;()]*(?:[*…]|\.\.\.)[^\s'\"`,;()]*|\b(?=\w*\d)[\w-]{12,}|\bsk-[\w-]+", "***", text)

"""A chat behind an OpenAI-compatible address: vLLM, llama.cpp, Ollama, LM Studio, or a cloud."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from .images import to_data_url
from .protocol import ChatError, Message, Poll, check_answers, check_messages, no_poll, strip_thinking
from .transport import Limits, RejectedError, is_private, post_json

KEY_NAME = re.compile(r"[A-Z][A-Z0-9_]*_(API_KEY|API_TOKEN|ACCESS_TOKEN)|X2EDIT_[A-Z0-9_]+")
TOP_LOGPROBS = 20
REWORDINGS = 4


class EndpointChat:
    """Asks `model` at `base_url`, e.g. `http://127.0.0.1:8000/v1`.

    `key_variable` names the environment variable that holds the key. Its value is read for each request and kept
    nowhere. Raises `ChatError` for an address or a name that cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        key_variable: str = "",
        vision: bool = False,
        limits: Limits | None = None,
        longest_image_px: int = 1024,
        poll: Poll = no_poll,
    ) -> None:
        self.url = completions_url(base_url)
        self.model = model.strip()
        if not self.model:
            raise ChatError("missing", "No model is named. Put in the name that the server lists under /v1/models.")
        self.key_variable = _checked_key_variable(key_variable, self.url)
        self._vision = vision
        self._limits = limits or Limits()
        self._longest_image_px = longest_image_px
        self._poll = poll

    @property
    def name(self) -> str:
        return f"{self.model} at {urlsplit(self.url).netloc}"

    @property
    def vision(self) -> bool:
        return self._vision

    def generate(self, messages: Sequence[Message], max_tokens: int = 256) -> str:
        return strip_thinking(_content(self._ask(messages, max_tokens=max_tokens), self.url))

    def score(self, messages: Sequence[Message], answers: Sequence[str]) -> list[float] | None:
        """Log-probability of each answer as the first token, when each can be one token ("1", "A", "yes").

        A server reports the likeliest tokens only: an answer outside them gets the least of those, an upper bound.
        None when the server reports nothing of the kind, when none of the answers is among them, and when one answer
        begins another ("1" and "12"), as the first token does not tell those apart.
        """
        check_answers(answers)
        if any(one != other and other.startswith(one) for one in answers for other in answers):
            return None
        try:
            reply = self._ask(messages, max_tokens=1, logprobs=True, top_logprobs=TOP_LOGPROBS)
        except RejectedError as error:
            if "logprob" in error.reason:
                return None
            raise
        return _scores(_first_token_table(reply), answers)

    def _ask(self, messages: Sequence[Message], **options: Any) -> Any:
        """One completion. Optional fields that the server names as its reason to refuse are left out and asked again."""
        check_messages(messages, self.vision, self.name)
        payload = {
            "model": self.model,
            "messages": [self._turn(message) for message in messages],
            "temperature": 0,
            "seed": 0,
            "stream": False,
            # vLLM and llama.cpp: a reply of one word leaves no room for Qwen3's thinking.
            "chat_template_kwargs": {"enable_thinking": False},
            **options,
        }
        for _ in range(REWORDINGS):
            try:
                return post_json(self.url, payload, self._key(), self._limits, self._poll)
            except RejectedError as error:
                if not _reword(payload, error.reason):
                    raise
        return post_json(self.url, payload, self._key(), self._limits, self._poll)

    def _turn(self, message: Message) -> dict[str, Any]:
        if not message.images:
            return {"role": message.role, "content": message.text}
        urls = (to_data_url(image, self._longest_image_px) for image in message.images)
        parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        return {"role": message.role, "content": [*parts, {"type": "text", "text": message.text}]}

    def _key(self) -> str | None:
        if not self.key_variable:
            return None
        key = os.environ.get(self.key_variable, "").strip()
        if not key:
            raise ChatError(
                "authentication",
                f"The environment variable {self.key_variable} is not set. Set it to the server's key before "
                "ComfyUI starts, or leave the name empty for a server without a key.",
            )
        if not key.isascii() or not key.isprintable():
            raise ChatError("authentication", f"The value of {self.key_variable} has characters that no key has.")
        return key


def completions_url(base_url: str) -> str:
    """The address of the chat completions under `base_url`; raises `ChatError` where that cannot be one."""
    url = base_url.strip().rstrip("/")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        raise ChatError("rejected", "The base URL is malformed. Expected e.g. http://127.0.0.1:8000/v1.") from None
    if not usable:
        raise ChatError("rejected", f"The base URL is {url!r}; expected e.g. http://127.0.0.1:8000/v1.")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ChatError(
            "rejected",
            "The base URL carries a user name, a password or a query. A graph must hold no secret: put the key into "
            "an environment variable and give its name.",
        )
    if parts.path.endswith("/chat/completions"):
        return url
    return f"{url}/chat/completions" if parts.path else f"{url}/v1/chat/completions"


def _checked_key_variable(name: str, url: str) -> str:
    """A graph may come from a stranger: it must not be able to send any variable, or a key in the clear."""
    name = name.strip()
    if not name:
        return ""
    if not KEY_NAME.fullmatch(name):
        raise ChatError(
            "authentication",
            "The name of the key's variable is not taken. Expected the name, not the key itself: capitals, digits and "
            "underscores, ending in _API_KEY, _API_TOKEN or _ACCESS_TOKEN, or starting with X2EDIT_.",
        )
    if urlsplit(url).scheme == "http" and not is_private(url):
        raise ChatError("authentication", f"A key would travel unencrypted to {url}. Use https, or no key.")
    return name


_OPTIONAL: dict[str, Callable[[dict[str, Any]], None]] = {
    "max_completion_tokens": lambda payload: payload.update(max_completion_tokens=payload.pop("max_tokens")),
    "chat_template_kwargs": lambda payload: payload.pop("chat_template_kwargs"),
    "temperature": lambda payload: payload.pop("temperature"),
    "seed": lambda payload: payload.pop("seed"),
}


def _reword(payload: dict[str, Any], reason: str) -> bool:
    """Change the field that `reason` names; False when there is nothing left to change."""
    for field, change in _OPTIONAL.items():
        present = "max_tokens" if field == "max_completion_tokens" else field
        if field in reason and present in payload:
            change(payload)
            return True
    return False


def _choice(reply: Any, url: str) -> dict[str, Any]:
    choices = reply.get("choices") if isinstance(reply, dict) else None
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return choices[0]
    raise ChatError("bad_reply", f"{url} answered without any choice; it may not be a chat completions address.")


def _content(reply: Any, url: str) -> str:
    choice = _choice(reply, url)
    message = choice.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, dict))
        content = "".join(text for text in texts if isinstance(text, str))
    if not isinstance(content, str) or not content.strip():
        reason = choice.get("finish_reason")
        hint = " It ran out of tokens, perhaps while thinking." if reason == "length" else ""
        raise ChatError("bad_reply", f"{url} answered without text (finish_reason {reason!r}).{hint}")
    return content


def _first_token_table(reply: Any) -> dict[str, float]:
    """Token text without surrounding space → log-probability, as far as the server gave them."""
    try:
        listed = reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        pairs = [(str(entry["token"]).strip(), float(entry["logprob"])) for entry in listed]
    except (KeyError, IndexError, TypeError, ValueError, OverflowError):
        return {}
    table: dict[str, float] = {}
    for token, logprob in pairs:
        if not math.isnan(logprob):
            table[token] = _log_sum(table.get(token, -math.inf), logprob)  # "1" and " 1" are the same answer
    return table


def _scores(table: dict[str, float], answers: Sequence[str]) -> list[float] | None:
    if not any(answer in table for answer in answers):
        return None
    least = min(table.values())
    return [table.get(answer, least) for answer in answers]


def _log_sum(first: float, second: float) -> float:
    high, low = max(first, second), min(first, second)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))

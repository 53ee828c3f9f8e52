"""A chat behind an OpenAI-compatible address: vLLM, llama.cpp, Ollama, LM Studio, or a cloud."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from .addresses import check_url, completions_url
from .images import to_data_url
from .keys import Keyring, Pair
from .protocol import ChatError, Message, Poll, check_answers, check_messages, no_poll, strip_thinking
from .transport import Limits, RejectedError, post_json

TOP_LOGPROBS = 20
REWORDINGS = 4


class EndpointChat:
    """Asks `model` at `base_url`, e.g. `http://127.0.0.1:8000/v1`.

    The key comes from `pair`, or from the pair known for `key_variable` and this address (see `keys`). It is read for
    each request and kept nowhere. Raises `ChatError` for an address or a pair that cannot be used.
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
        pair: Pair | None = None,
    ) -> None:
        self.url = completions_url(base_url)
        self.model = model.strip()
        if not self.model:
            raise ChatError("missing", "No model is named. Put in the name that the server lists under /v1/models.")
        if pair is None and key_variable.strip():
            pair = Keyring().pair_for(key_variable.strip(), self.url)
        self._pair = pair
        check_url(self.url, with_key=pair is not None and pair.keyed)
        self._vision = vision
        self._limits = limits or Limits()
        self._longest_image_px = longest_image_px
        self._poll = poll

    @property
    def name(self) -> str:
        return f"{self.model} at {urlsplit(self.url).netloc}"

    @property
    def warning(self) -> str:
        """What the person should know about this connection; empty where there is nothing."""
        if self._pair is None or not self._pair.keyed or not self.url.startswith("http:"):
            return ""
        return f"{self.name} gets its key unencrypted: whoever can listen in this network can read it. https would hide it."

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
        return None if self._pair is None else self._pair.key_for(self.url)


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

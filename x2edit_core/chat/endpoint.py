"""A chat behind an OpenAI-compatible address: vLLM, llama.cpp, Ollama, LM Studio, or a cloud."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from .answers import Answer, read_answer
from .images import SHEET_NOTE, contact_sheet, to_data_url
from .likelihoods import first_token, scores_of, single_tokens
from .manners import Manners
from .protocol import ChatError, Message, Poll, check_answers, check_messages, no_poll
from .refusals import RejectedError
from .transport import Limits, is_private, post_json

KEY_NAME = re.compile(r"[A-Z][A-Z0-9_]*_(API_KEY|API_TOKEN|ACCESS_TOKEN)|X2EDIT_[A-Z0-9_]+")
REWORDINGS = 8


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
        self._manners = Manners()

    @property
    def name(self) -> str:
        return f"{self.model} at {urlsplit(self.url).netloc}"

    @property
    def vision(self) -> bool:
        return self._vision

    def generate(self, messages: Sequence[Message], max_tokens: int = 256) -> str:
        """The reply without its thoughts; a model that thought to the end of its tokens is given more of them."""
        answer: Answer | None = None
        refused: RejectedError | None = None
        for room in self._manners.rooms():
            try:
                answer = read_answer(self._ask(messages, max_tokens + room), self.url)
            except RejectedError as error:
                refused = error
                if error.kind == "room":
                    continue
                if answer is None:
                    raise
                self._manners.refuse_room()
                break
            if not answer.cut:
                break
        if answer is None:
            assert refused is not None
            raise refused
        if not answer.text:
            raise answer.missing(self.url)
        return answer.text

    def score(self, messages: Sequence[Message], answers: Sequence[str]) -> list[float] | None:
        """Log-probability of each answer as the reply's first token; an answer that the server did not report gets the
        most that it can have.

        None, so that the model is asked in words instead, for answers of several tokens, whose likelihood as a whole no
        server tells; for a server that gives no likelihoods; and where the model would say something else first
        (`likelihoods.FIRST_TOKEN_FLOOR`).
        """
        check_answers(answers)
        if not single_tokens(answers) or not self._manners.tells_likelihoods or self._manners.thinks:
            return None
        try:
            reply = self._ask(messages, 1, likelihoods=True)
        except RejectedError as error:
            if error.kind in ("parameter", "room"):
                return None
            raise
        return scores_of(first_token(reply), answers)

    def _ask(self, messages: Sequence[Message], max_tokens: int, likelihoods: bool = False) -> Any:
        """One completion; what the server refuses of the form of the request is given up, and asked again."""
        check_messages(messages, self.vision, self.name)
        pictures = sum(len(message.images) for message in messages)
        for attempt in range(REWORDINGS + 1):
            payload = {
                "model": self.model,
                "messages": [self._turn(message) for message in messages],
                **self._manners.options(max_tokens, likelihoods),
            }
            try:
                return post_json(self.url, payload, self._key(), self._limits, self._poll)
            except RejectedError as error:
                if attempt == REWORDINGS or not self._manners.learn(payload, error, pictures):
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _turn(self, message: Message) -> dict[str, Any]:
        if not message.images:
            return {"role": message.role, "content": message.text}
        images, text = message.images, message.text
        if self._manners.one_picture and len(images) > 1:
            images, text = (contact_sheet(images, self._longest_image_px),), f"{SHEET_NOTE}\n\n{text}"
        urls = (to_data_url(image, self._longest_image_px) for image in images)
        parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        return {"role": message.role, "content": [*parts, {"type": "text", "text": text}]}

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

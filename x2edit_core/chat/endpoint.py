"""A chat behind an OpenAI-compatible address: vLLM, llama.cpp, Ollama, LM Studio, or a cloud."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from .addresses import check_url, completions_url
from .answers import Answer, read_answer, usage_of
from .images import SHEET_NOTE, contact_sheet, to_data_url
from .keys import Keyring, Pair
from .likelihoods import first_token, scores_of, single_tokens
from .manners import GREEDY, Manners
from .protocol import ChatError, Message, Poll, Sampling, Usage, check_answers, check_messages, no_poll
from .refusals import RejectedError
from .transport import Limits, post_json

REWORDINGS = 8


class EndpointChat:
    """Asks `model` at `base_url`, e.g. `http://127.0.0.1:8000/v1`.

    The key comes from `pair`, or from the pair known for `key_variable` and this address (see `keys`). It is read for
    each request and kept nowhere. `sampling` draws replies, the likeliest ones as it is; `on_usage` hears in the asking
    thread what each reply cost. Raises `ChatError` for an address or a pair that cannot be used.
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
        sampling: Sampling = GREEDY,
        on_usage: Callable[[Usage], None] = lambda usage: None,
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
        self._manners = Manners()
        self._sampling = sampling
        self._on_usage = on_usage

    def sampled(self, sampling: Sampling) -> EndpointChat:
        """The same connection, with what it has learnt of its server, whose replies are drawn another way."""
        other = copy.copy(self)
        other._sampling = sampling
        return other

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
                **self._manners.options(max_tokens, likelihoods, self._sampling),
            }
            try:
                reply = post_json(self.url, payload, self._key(), self._limits, self._poll)
            except RejectedError as error:
                if attempt == REWORDINGS or not self._manners.learn(payload, error, pictures):
                    raise
            else:
                self._on_usage(usage_of(reply))
                return reply
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
        return None if self._pair is None else self._pair.key_for(self.url)

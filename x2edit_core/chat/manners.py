"""How a server wants to be asked, as it tells by refusing: which optional fields, how much room, how many pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .protocol import Sampling
from .refusals import RejectedError, names

TOP_LOGPROBS = (20, 5)
"""How many likely tokens are asked for; the second where a server says that the first are too many."""
EFFORTS = ("none", "low")
"""`reasoning_effort` for a model that thinks where a word is wanted: not at all, else little (OpenAI, Ollama, vLLM)."""
ROOMS = (0, 4096, 16384)
"""Tokens beyond what the answer needs, for a model that thinks all the same."""
GREEDY = Sampling()
OPTIONAL = ("chat_template_kwargs", "temperature", "seed", "top_p")


class Manners:
    """What one server was found to take. Several threads may learn at once: everything is only ever given up."""

    def __init__(self) -> None:
        self.one_picture = False
        self._left_out: set[str] = set()
        self._tokens = "max_tokens"
        self._top = 0
        self._effort: int | None = None
        self._room = 0
        self._rooms = len(ROOMS)

    @property
    def tells_likelihoods(self) -> bool:
        return self._top < len(TOP_LOGPROBS)

    @property
    def thinks(self) -> bool:
        """Whether room for thoughts was needed, so that no reply begins with its answer."""
        return self._room > 0

    def options(self, max_tokens: int, likelihoods: bool, sampling: Sampling = GREEDY) -> dict[str, Any]:
        """The fields of a request beside its model and messages."""
        found: dict[str, Any] = {
            "temperature": sampling.temperature or 0,
            "seed": sampling.seed,
            "stream": False,
            # vLLM and llama.cpp: a reply of one word leaves no room for Qwen3's thinking.
            "chat_template_kwargs": {"enable_thinking": False},
            self._tokens: max_tokens,
        }
        if sampling.top_p < 1:
            found["top_p"] = sampling.top_p
        if self._effort is not None and self._effort < len(EFFORTS):
            found["reasoning_effort"] = EFFORTS[self._effort]
        if likelihoods and self.tells_likelihoods:
            found |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS[self._top]}
        return {name: value for name, value in found.items() if name not in self._left_out}

    def rooms(self) -> Iterator[int]:
        """Tokens to add for thoughts, from what was needed last; each further one is for a reply that was cut off."""
        for index in range(self._room, self._rooms):
            if index > self._room:
                self._room = index
                self._effort = 0 if self._effort is None else self._effort
            yield ROOMS[index]

    def refuse_room(self) -> None:
        """The server does not allow as much as was added last."""
        self._rooms = max(1, self._room)
        self._room = self._rooms - 1

    def learn(self, sent: Mapping[str, Any], refusal: RejectedError, pictures: int) -> bool:
        """Give up what the server refused of the request `sent`; False when nothing in it can be asked differently."""
        if refusal.kind == "pictures" and pictures > 1 and not self.one_picture:
            self.one_picture = True
            return True
        if refusal.kind != "parameter":
            return False
        words = refusal.words
        if "max_tokens" in sent and names(words, "max_completion_tokens"):
            self._tokens = "max_completion_tokens"
            return True
        named = [field for field in OPTIONAL if field in sent and names(words, field)]
        self._left_out.update(named)
        return any([bool(named), self._less_effort(sent, words), self._fewer_likelihoods(sent, words)])

    def _less_effort(self, sent: Mapping[str, Any], words: str) -> bool:
        if "reasoning_effort" not in sent or not names(words, "reasoning_effort"):
            return False
        self._effort = EFFORTS.index(sent["reasoning_effort"]) + 1
        return True

    def _fewer_likelihoods(self, sent: Mapping[str, Any], words: str) -> bool:
        """Words with a number among them name a limit; any others are a no."""
        if "logprobs" not in sent or not names(words, "logprobs"):
            return False
        limited = any(c.isdigit() for c in words) and sent["top_logprobs"] == TOP_LOGPROBS[0]
        self._top = 1 if limited else len(TOP_LOGPROBS)
        return limited

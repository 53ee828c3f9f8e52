"""What every chat backend is: the messages it takes, the two questions it answers, the error it raises."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from ..errors import X2EditError

Role = Literal["system", "user", "assistant"]

Fault = Literal[
    "missing",  # a file, a key or a part of the model is not there
    "unsupported",  # this model or server cannot do what was asked
    "unreachable",  # no connection, or it was cut
    "timeout",
    "authentication",  # no key, or one that is not taken
    "rights",  # the key is known, and may not do this
    "rate_limit",
    "quota",  # what was paid for is used up
    "loading",  # the other side is still reading its model
    "server",  # the other side failed
    "rejected",  # the other side understood and refused
    "bad_reply",  # an answer that is not in the agreed form
    "too_large",
    "memory",
]

Poll = Callable[[], None]
"""Called often during long work; raises whatever should end it, such as the host's interrupt."""


class ChatError(X2EditError):
    """A chat backend that could not answer; `fault` says why, the message what to do about it."""

    def __init__(self, fault: Fault, message: str) -> None:
        self.fault: Fault = fault
        super().__init__(printable(message))


@dataclass(frozen=True)
class Message:
    """One turn. `images` are PIL images or float tensors (H, W, 3) in [0, 1]; they stand before the text."""

    role: Role
    text: str
    images: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        if self.role not in ("system", "user", "assistant"):
            raise X2EditError(f"A message's role is {self.role!r}; expected system, user or assistant.")
        if self.images and self.role != "user":
            raise X2EditError(f"Images can stand in a user's turn only, not in the {self.role}'s.")


@dataclass(frozen=True)
class Sampling:
    """How a reply is drawn. Without a temperature the likeliest one is taken; `seed` makes a drawn one repeatable where the
    server offers that."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.temperature <= 2 and 0 < self.top_p <= 1):
            told = f"temperature {self.temperature} and top_p {self.top_p}"
            raise X2EditError(f"Sampling with {told} was asked for; 0 to 2 and above 0 to 1 are possible.")


@dataclass(frozen=True)
class Usage:
    """What answers cost, in tokens as the server counts them. `uncounted` requests came back without a count."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    uncounted: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.uncounted + other.uncounted,
        )


@runtime_checkable
class Chat(Protocol):
    """A model that can be talked to. Same messages, same answer: every backend decodes greedily."""

    @property
    def name(self) -> str:
        """What to call the model in reports; never holds a secret."""
        ...

    @property
    def vision(self) -> bool:
        """Whether messages may hold images."""
        ...

    def generate(self, messages: Sequence[Message], max_tokens: int = 256) -> str:
        """The assistant's reply without its thinking, stripped; raises `ChatError`."""
        ...

    def score(self, messages: Sequence[Message], answers: Sequence[str]) -> list[float] | None:
        """Natural log-probability of each answer as the assistant's whole reply, in the order of `answers`.

        None when this backend cannot tell; raises `ChatError` when it failed.
        """
        ...


def printable(text: str) -> str:
    """`text` without control and direction characters, which could rewrite a terminal or hide what a line says.

    Line breaks and tabs stay.
    """
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs"))


def no_poll() -> None:
    """Where nothing can interrupt."""


def check_messages(messages: Sequence[Message], vision: bool, name: str) -> None:
    """Raise unless there is a last turn to answer and the model can see what it is shown."""
    if not messages or messages[-1].role == "assistant":
        raise ChatError("unsupported", "There is nothing to answer: the last message must be the user's.")
    if not vision and any(message.images for message in messages):
        raise ChatError("unsupported", f"{name} cannot see images. Choose a vision model, such as Qwen3-VL.")


def check_answers(answers: Sequence[str]) -> None:
    if not answers or len(set(answers)) != len(answers) or not all(answers):
        raise X2EditError(f"Answers to score must be different and not empty; found {list(answers)!r}.")


_MARKER = re.compile(r"<\|(\w+)\|>")


def plain_text(text: str) -> str:
    """`text` with chat markers such as `<|im_end|>` taken apart, so that a user's words cannot end their own turn."""
    return _MARKER.sub(r"< |\1| >", text)

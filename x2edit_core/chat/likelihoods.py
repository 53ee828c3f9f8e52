"""What a server tells about the likelihood of answers, and when that is enough to decide by.

A server reports the likeliest tokens of a place and nothing of the rest, so only answers that are one token each can be
compared there; longer ones would be compared by how they begin. Answers that the model would hardly give are no
answers, however they rank: two floors say where that begins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

FIRST_TOKEN_FLOOR = 0.5
"""Least probability of the allowed answers together as a reply's first token. Below it the model means to say something
else first, a thought or a sentence, and is asked in words."""
WHOLE_REPLY_FLOOR = 1e-4
"""The same for whole replies with their end: much smaller, as a right answer followed by a reason counts as none of them."""

_SPACES = str.maketrans({"▁": " ", "Ġ": " ", "Ċ": "\n"})


def first_token(reply: Any) -> dict[str, float]:
    """Token without surrounding space → natural logarithm of its probability, at the reply's first place.

    Empty where a server gives none, or numbers that are no logarithms of probabilities. Read are the form of chat
    completions and the older one of completions, which vLLM's and llama.cpp's relatives use in chats too.
    """
    try:
        pairs = _first_pairs(reply["choices"][0]["logprobs"])
    except (KeyError, IndexError, TypeError, ValueError, OverflowError, AttributeError):
        return {}
    table: dict[str, float] = {}
    for token, logprob in pairs.items():
        if logprob > 1e-3:
            return {}  # a probability, not its logarithm
        if not math.isnan(logprob):
            token = token.strip()
            table[token] = _log_sum(table.get(token, -math.inf), min(logprob, 0.0))  # "1" and " 1" are the same answer
    return table


def _first_pairs(logprobs: Any) -> dict[str, float]:
    """The likeliest tokens of the first place; the chosen one alone where a server lists no others."""
    content = logprobs.get("content")
    if isinstance(content, list):
        first = content[0]
        listed = first.get("top_logprobs") or [first]
        return {_text(entry): float(entry["logprob"]) for entry in listed}
    top = logprobs.get("top_logprobs")
    listed = (top[0] if top else None) or {logprobs["tokens"][0]: logprobs["token_logprobs"][0]}
    return {str(token).translate(_SPACES): float(value) for token, value in listed.items()}


def _text(entry: dict[str, Any]) -> str:
    """A token as it stands in the text: by its bytes where they are told, else without its vocabulary's signs for space."""
    told = entry.get("bytes")
    if isinstance(told, list) and told:
        return bytes(told).decode("utf-8", "replace")
    return str(entry["token"]).translate(_SPACES)


def single_tokens(answers: Sequence[str]) -> bool:
    """Whether each answer is one token in any vocabulary: single characters of ASCII."""
    return all(len(answer) == 1 and answer.isascii() for answer in answers)


def scores_of(table: dict[str, float], answers: Sequence[str]) -> list[float] | None:
    """Log-probability of each answer; one that was not told gets the most that it can have.

    None for an empty table, where the answers have less than `FIRST_TOKEN_FLOOR` together, and where one that was not
    told could be the best.
    """
    if not table:
        return None
    told = [table[answer] for answer in answers if answer in table]
    if sum(map(math.exp, told)) < FIRST_TOKEN_FLOOR:
        return None
    rest = 1 - sum(map(math.exp, table.values()))
    most = min(min(table.values()), math.log(rest) if rest > 1e-9 else math.log(1e-9))
    if len(told) < len(answers) and most >= max(told):
        return None
    return [table.get(answer, most) for answer in answers]


def are_sayable(scores: Sequence[float]) -> bool:
    """Whether whole replies with these log-probabilities reach `WHOLE_REPLY_FLOOR` together; never for none that is finite."""
    return sum(math.exp(min(score, 0.0)) for score in scores if math.isfinite(score)) >= WHOLE_REPLY_FLOOR


def _log_sum(first: float, second: float) -> float:
    high, low = max(first, second), min(first, second)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))

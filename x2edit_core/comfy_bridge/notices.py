"""Things worth saying once: a notice is logged at its first occasion and not again while it is remembered."""

from __future__ import annotations

import logging

REMEMBERED = 1000
"""How many notices are remembered, so that a server that runs for months does not grow."""
_said: dict[str, None] = {}


def say_once(key: str, text: str) -> None:
    """Log `text` as a warning unless this `key` was said before."""
    if key in _said:
        return
    _said[key] = None
    if len(_said) > REMEMBERED:
        del _said[next(iter(_said))]
    logging.getLogger("x2edit").warning(text)

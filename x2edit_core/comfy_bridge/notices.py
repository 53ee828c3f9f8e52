"""Things worth saying once: a notice is logged at its first occasion and not again in this process."""

from __future__ import annotations

import logging

_said: set[str] = set()


def say_once(key: str, text: str) -> None:
    """Log `text` as a warning unless this `key` was said before."""
    if key not in _said:
        _said.add(key)
        logging.getLogger("x2edit").warning(text)

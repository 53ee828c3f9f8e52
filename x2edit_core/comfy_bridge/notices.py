"""The one owner of words on nodes: warnings, and what a node reports. A warning is logged at its first occasion too.

A node shows its warnings above its report, for the run they belong to. Older pages put a node's words into their HTML, so
what a model or a server wrote is made harmless here, by look-alikes that newer pages show as well.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, field
from typing import Any

from .host import executing_node, server

REMEMBERED = 1000
"""How many warnings are remembered as logged, so that a server that runs for months does not grow."""
SHOWN_NODES = 200
_said: dict[str, None] = {}


@dataclass
class _Words:
    warnings: dict[str, str] = field(default_factory=dict)
    report: str = ""

    def __str__(self) -> str:
        return "\n".join([*self.warnings.values(), *([self.report] if self.report else [])])


_words: dict[tuple[str, str], _Words] = {}
"""(prompt, node) → what that node shows, the latest few."""

_LOOK_ALIKES = str.maketrans({"<": "‹", ">": "›", '"': "”", "`": "’"})


def say_once(key: str, text: str) -> None:
    """Show `text` as a warning on the node that runs now, and log it unless this `key` was said before."""
    log_once(key, text)
    _warn(key, text)


def _warn(key: str, text: str) -> None:
    place = executing_node()
    if place is not None:
        words = _words_of(*place)
        if words.warnings.get(key) != text:
            words.warnings[key] = text
            _send(place[1], str(words))


def say(text: str) -> None:
    """Show `text` as a warning on the node that runs now, and log it: for what concerns this run's own inputs."""
    logging.getLogger("x2edit").warning("%s", harmless(text))
    _warn(text, text)


def tell(text: str) -> None:
    """Like `say`, of what went well: an information in the log."""
    logging.getLogger("x2edit").info("%s", harmless(text))
    _warn(text, text)


def show_on_node(text: str, node_id: str | None) -> None:
    """Show `text` on the node, below its warnings; nothing happens where the node has no id, as in tests."""
    place = executing_node()
    if node_id is not None:
        words = _words_of(place[0] if place else "", node_id)
        words.report = text
        _send(node_id, str(words))


def harmless(text: str) -> str:
    """`text` without what a page would take as HTML, or a terminal as a command."""
    shown = "".join(letter for letter in text if letter.isprintable() or letter == "\n")
    return shown.translate(_LOOK_ALIKES)


def log_once(key: str, text: str) -> None:
    """Log `text` as a warning unless this `key` was said before: for what belongs to no node, such as a list of choices."""
    if key in _said:
        return
    _said[key] = None
    if len(_said) > REMEMBERED:
        del _said[next(iter(_said))]
    logging.getLogger("x2edit").warning("%s", harmless(text))


def _words_of(prompt_id: str, node_id: str) -> _Words:
    words = _words.setdefault((prompt_id, node_id), _Words())
    while len(_words) > SHOWN_NODES:
        del _words[next(iter(_words))]
    return words


def _send(node_id: str, text: str) -> None:
    """To whoever queued the prompt: another person's graph has nodes of the same numbers."""
    running = server()
    if running is None or getattr(running, "client_id", "") is None:
        return
    address: Any = getattr(running, "client_id", None)
    with contextlib.suppress(RuntimeError):  # the server is closing
        running.send_progress_text(harmless(text), node_id, address)

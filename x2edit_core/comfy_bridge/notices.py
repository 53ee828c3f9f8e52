"""Words for the person: in the log, where each notice is said once while it is remembered, or on the node that is running."""

from __future__ import annotations

import logging

from .host import comfy_execution
from .node_text import show_on_node

REMEMBERED = 1000
"""How many notices are remembered, so that a server that runs for months does not grow."""
_said: dict[str, None] = {}

_Run = tuple[str, str]
"""A prompt and a node of it."""
_words: tuple[_Run | None, list[str]] = (None, [])


def say_once(key: str, text: str) -> None:
    """Log `text` as a warning unless this `key` was said before."""
    if key in _said:
        return
    _said[key] = None
    if len(_said) > REMEMBERED:
        del _said[next(iter(_said))]
    logging.getLogger("x2edit").warning(text)


def say(text: str) -> None:
    """Log `text` as a warning and show it on the node that is running, below what was said there in this run."""
    logging.getLogger("x2edit").warning(text)
    _show(text)


def tell(text: str) -> None:
    """Like `say`, of what went well: an information in the log."""
    logging.getLogger("x2edit").info(text)
    _show(text)


def _show(text: str) -> None:
    run, words = _running()
    if text not in words:
        words.append(text)
    if run is not None:
        show_on_node("\n".join(words), run[1])


def with_notices(text: str) -> str:
    """`text`, which a node is about to show, below what was said on it in this run and would be overwritten."""
    return "\n".join([*_running()[1], text])


def _running() -> tuple[_Run | None, list[str]]:
    """The node that is running, if the host tells, and what was said on it."""
    global _words
    known = comfy_execution.offers("utils.get_executing_context")
    context = comfy_execution.utils.get_executing_context() if known else None
    run = None if context is None else (context.prompt_id, context.node_id)
    if run is None or run != _words[0]:
        _words = run, []
    return _words

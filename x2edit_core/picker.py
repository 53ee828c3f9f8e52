"""Questions to a person who sits before the page: kept open here, answered from another thread.

The page learns that something is open, asks what, and answers; nothing here knows how it is drawn or sent. Since open
questions stay listed, a reloaded page finds them again, and a program can answer instead of a person.
"""

from __future__ import annotations

import io
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .chat.images import to_pil
from .errors import X2EditError

LOOK_EVERY_S = 0.1
CARD_PX = 768


@dataclass(eq=False)
class Question:
    """One choice among `pictures` (PNG); `source` is shown beside them. `ends_at` is on the monotonic clock."""

    title: str
    source: bytes
    pictures: list[bytes]
    ends_at: float | None
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    answered: threading.Event = field(default_factory=threading.Event)
    choice: int | None = None

    def public(self) -> dict[str, Any]:
        """What a page or program is told; pictures are fetched one by one, `remaining_s` is None without a timer."""
        remaining = None if self.ends_at is None else round(max(self.ends_at - time.monotonic(), 0.0), 1)
        return {"id": self.id, "title": self.title, "count": len(self.pictures), "remaining_s": remaining}


class WaitingRoom:
    """The open questions. `notify` is called when their list changes, `poll` raises what should end the waiting."""

    def __init__(self, notify: Callable[[], None], poll: Callable[[], None]) -> None:
        self._notify, self._poll = notify, poll
        self._open: dict[str, Question] = {}
        self._lock = threading.Lock()

    def ask(self, title: str, source: Any, edits: Sequence[Any], timeout_s: float) -> int | None:
        """Show `edits` and wait: the chosen index, or None after `timeout_s` seconds (0 waits without end).

        Pictures are PIL images or float tensors [H, W, 3]. Whatever `poll` raises closes the question and passes on.
        """
        ends_at = time.monotonic() + timeout_s if timeout_s > 0 else None
        question = Question(title, _png(source), [_png(edit) for edit in edits], ends_at)
        with self._lock:
            self._open[question.id] = question
        self._notify()
        try:
            while not question.answered.wait(LOOK_EVERY_S):
                self._poll()
                if ends_at is not None and time.monotonic() >= ends_at:
                    break
        finally:
            with self._lock:
                self._open.pop(question.id, None)
            self._notify()
        return question.choice

    def questions(self) -> list[dict[str, Any]]:
        """Every open question, oldest first."""
        with self._lock:
            return [question.public() for question in self._open.values()]

    def picture(self, id: str, index: int) -> bytes:
        """PNG of edit `index`, or of the source for -1. Raises `X2EditError` for what is not there."""
        question = self._find(id)
        if index == -1:
            return question.source
        _check(index, question)
        return question.pictures[index]

    def answer(self, id: str, index: int) -> None:
        """Choose edit `index`; the first answer counts. Raises `X2EditError` for what is not there."""
        with self._lock:
            question = self._find(id)
            _check(index, question)
            if not question.answered.is_set():
                question.choice = index
                question.answered.set()

    def _find(self, id: str) -> Question:
        question = self._open.get(id)
        if question is None:
            raise X2EditError(f"No question {id!r} is open; it was answered, its time is over, or its run ended.")
        return question


def _check(index: int, question: Question) -> None:
    if not 0 <= index < len(question.pictures):
        raise X2EditError(f"Picture {index} was named; this question has 0 to {len(question.pictures) - 1}.")


def _png(picture: Any) -> bytes:
    buffer = io.BytesIO()
    to_pil(picture, CARD_PX).save(buffer, "PNG")
    return buffer.getvalue()

"""Questions to the person who queued a run: kept open here, answered from another thread.

The page learns that something is open, asks what, and answers; nothing here knows how it is drawn or sent. Since open
questions stay listed, a reloaded page finds them again, and a program can answer instead of a person. Other people's pages
learn only that a question waits.
"""

from __future__ import annotations

import io
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..chat.images import to_pil
from ..errors import X2EditError

LOOK_EVERY_S = 0.1
CARD_PX = 768
NEVER_SEEN_S = 30.0
"""How long a question waits for an owner who was never there: a run that was queued without a page."""
LEFT_S = 600.0
"""How long it waits for an owner who was there and left: a closed page, a sleeping computer."""


@dataclass(eq=False)
class Question:
    """One choice among `pictures` (PNG); `source` is shown beside them. `ends_at` is on the monotonic clock.

    `owner` is the page that queued the run; None for a run that none queued.
    """

    title: str
    source: bytes
    pictures: list[bytes]
    ends_at: float | None
    owner: str | None = None
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    answered: threading.Event = field(default_factory=threading.Event)
    choice: int | None = None

    def public(self) -> dict[str, Any]:
        """What a page or program is told; pictures are fetched one by one, `remaining_s` is None without a timer."""
        remaining = None if self.ends_at is None else round(max(self.ends_at - time.monotonic(), 0.0), 1)
        return {"id": self.id, "title": self.title, "count": len(self.pictures), "remaining_s": remaining}


class WaitingRoom:
    """The open questions. `notify` is called when their list changes, `poll` raises what should end the waiting.

    `owner` names the page that queued what this thread runs, `present` says whether a page of that name is there.
    """

    def __init__(
        self,
        notify: Callable[[], None],
        poll: Callable[[], None],
        owner: Callable[[], str | None] = lambda: None,
        present: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._notify, self._poll, self._owner, self._present = notify, poll, owner, present
        self._open: dict[str, Question] = {}
        self._lock = threading.Lock()

    def ask(self, title: str, source: Any, edits: Sequence[Any], timeout_s: float) -> int | None:
        """Show `edits` and wait: the chosen index, or None after `timeout_s` seconds or when nobody is there to choose.

        Pictures are PIL images or float tensors [H, W, 3]; a `timeout_s` of 0 waits for as long as the owner is there.
        Whatever `poll` raises closes the question and passes on.
        """
        ends_at = time.monotonic() + timeout_s if timeout_s > 0 else None
        question = Question(title, _png(source), [_png(edit) for edit in edits], ends_at, self._owner())
        with self._lock:
            self._open[question.id] = question
        self._notify()
        try:
            self._wait(question)
        finally:
            with self._lock:
                self._open.pop(question.id, None)
            self._notify()
        return question.choice

    def _wait(self, question: Question) -> None:
        patience, seen_at = NEVER_SEEN_S, time.monotonic()
        while not question.answered.wait(LOOK_EVERY_S):
            self._poll()
            now = time.monotonic()
            if question.owner is not None and self._present(question.owner):
                patience, seen_at = LEFT_S, now
            if now >= (seen_at + patience if question.ends_at is None else question.ends_at):
                return

    def questions(self, asker: str | None = None) -> list[dict[str, Any]]:
        """The open questions that `asker` may see, oldest first: a page its own, a program (None) every one."""
        with self._lock:
            return [question.public() for question in self._open.values() if asker in (None, question.owner)]

    def count(self) -> int:
        """How many questions are open, whoever's they are."""
        with self._lock:
            return len(self._open)

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

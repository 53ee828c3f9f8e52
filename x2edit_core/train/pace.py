"""How long the rest of a run will take."""

from __future__ import annotations

import time
from collections import deque

RECENT = 50
"""Steps whose pace is taken for that of the rest."""


class Pace:
    """Told of every step, says when the last one will be done: by the clock, so that saving and drawing count too."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._marks: deque[tuple[int, float]] = deque(maxlen=RECENT + 1)

    def add(self, step: int, seconds: float, now: float | None = None) -> None:
        """Step `step` took `seconds` and has just ended."""
        now = time.monotonic() if now is None else now
        if not self._marks:
            self._marks.append((step - 1, now - seconds))
        self._marks.append((step, now))

    @property
    def left(self) -> float | None:
        """Seconds to the end; None before the first step."""
        if not self._marks:
            return None
        (first, begun), (last, now) = self._marks[0], self._marks[-1]
        return (now - begun) / max(1, last - first) * (self._steps - last)

    def told(self) -> str:
        """What to put behind a line about a step: nothing at the end."""
        return "" if not self.left else f", {shown(self.left)} left"


def shown(seconds: float) -> str:
    """A time in its two largest units."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"

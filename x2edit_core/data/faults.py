"""What is wrong with one sample, and how its bytes are asked for."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import X2EditError

Read = Callable[[], bytes]
"""The file of one picture, read when it is needed."""


class SampleError(X2EditError):
    """A sample that cannot be used; it is skipped, counted and listed. `reason` is what it is counted under."""

    def __init__(self, message: str, reason: str = "cannot be read") -> None:
        super().__init__(message)
        self.reason = reason


class NothingThere(X2EditError):
    """A path that holds no data of the kind that was asked for."""

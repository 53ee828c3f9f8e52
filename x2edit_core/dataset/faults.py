"""What ends a run, and what ends one record: the first is tried again by the same command, the second is remembered."""

from __future__ import annotations

from ..errors import X2EditError


class RunStoppedError(X2EditError):
    """The run cannot go on, and says why. What was made is kept; the same command goes on from there."""


class StoreError(RunStoppedError):
    """What was made could not be kept: the run ends before more is made in vain."""


class RefusedError(X2EditError):
    """One record, or one edit of it, ends at this stage for a reason of its own, which would be the same again."""

    def __init__(self, stage: str, reason: str) -> None:
        self.stage, self.reason = stage, reason
        super().__init__(f"{stage}: {reason}")

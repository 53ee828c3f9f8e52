"""Typed errors. Each message says what was found, what was expected and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence


class X2EditError(ValueError):
    """Base of every error this project raises on bad input."""


class CheckpointError(X2EditError):
    """A file that cannot be used as an adapter; lists every problem found, not only the first."""

    def __init__(self, source: str, problems: Sequence[str], advice: str = "") -> None:
        self.source = source
        self.problems = list(problems)
        lines = [f"{source} cannot be used:"] + [f"  - {problem}" for problem in self.problems]
        super().__init__("\n".join(lines + ([advice] if advice else [])))


class ModelMismatchError(X2EditError):
    """A model that an adapter cannot be attached to: wrong family, width or depth."""


class HostError(X2EditError):
    """A ComfyUI that lacks something this pack builds on, or whose interface changed."""


def name_some(names: Sequence[str], shown: int = 3) -> str:
    """The first few names and how many more there are, for messages about long lists of keys."""
    head = ", ".join(names[:shown])
    return head if len(names) <= shown else f"{head} and {len(names) - shown} more"


def one_of(names: Sequence[str]) -> str:
    """A, B or C."""
    return " or ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))

"""The arguments of one of the host's calls by name, whatever their order, and however many this version has."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..errors import HostError

_WRAPPED = ("_forward", "_apply_model")
"""What the host's wrappers lead to, where another pack's function has a name of its own."""


class Call:
    """Arguments of the function that a wrapper's executor leads to, read and replaced by name.

    They are passed on in the form they came in, for the wrappers below. Where another pack put a function in its place
    that lacks one of the `needed` names, the host's own tells them; raises `HostError` where that one lacks it too.
    """

    def __init__(self, executor: Any, args: Sequence[Any], kwargs: dict[str, Any], needed: Sequence[str]) -> None:
        signatures = (names for names in _parameters(executor) if set(needed) <= set(names))
        names = next(signatures, None)
        if names is None:
            raise HostError(
                f"This ComfyUI changed what X2Edit builds on: {executor.original!r} has no {', '.join(needed)} among its "
                "parameters. Update ComfyUI if it is older than this pack; otherwise update the X2Edit node pack."
            )
        self._args, self._kwargs = list(args), dict(kwargs)
        self._place = {name: index for index, name in enumerate(names) if index < len(args)}
        self._defaults = names

    def __getitem__(self, name: str) -> Any:
        """The argument `name`; if it was not given its default, or None."""
        if name in self._place:
            return self._args[self._place[name]]
        return self._kwargs.get(name, self._defaults.get(name))

    def __setitem__(self, name: str, value: Any) -> None:
        if name in self._place:
            self._args[self._place[name]] = value
        else:
            self._kwargs[name] = value

    def on(self, executor: Callable[..., Any]) -> Any:
        """Calls the executor with the arguments as they are now."""
        return executor(*self._args, **self._kwargs)


def _parameters(executor: Any) -> Iterator[dict[str, Any]]:
    """Name → default (None without), in order: of the function that will run, then of those of that name in the class."""
    original, instance = executor.original, executor.class_obj
    yield _defaults(original)
    for name in dict.fromkeys((getattr(original, "__name__", ""), *_WRAPPED)):
        for owner in type(instance).__mro__:
            if name in vars(owner):
                yield _defaults(getattr(owner, name).__get__(instance))


def _defaults(function: Callable[..., Any]) -> dict[str, Any]:
    by_name = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return {
        name: None if parameter.default is parameter.empty else parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind in by_name
    }

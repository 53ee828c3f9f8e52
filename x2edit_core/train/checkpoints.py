"""The state of a run on disk: one process at a time, written beside and renamed, so that a kill leaves a whole one."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from ..errors import X2EditError
from ..files import missing_folders, remove_empty, save_pickled

logger = logging.getLogger(__name__)
_NAME = re.compile(r"^state-(\d+)\.pt$")
LOCK_FILE = ".lock"
START, NO_START = "adapter to start from", "none"
"""The part of a run's models that it began from, and what it is called where the run began with new weights."""


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Within it the run in `folder` is this process's; raises `X2EditError` where another one is at work.

    The system holds the claim and lets go of it with the process, however that ends. A run that leaves nothing leaves
    no folder either.
    """
    made = missing_folders(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise X2EditError(
            f"The run's folder {folder} cannot be made ({error.strerror}). Name another one in `output`."
        ) from error
    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise X2EditError(
            f"{folder} is being written by another training run. Wait for its end, stop it, or give this one another name."
        ) from None
    except NotImplementedError:
        logger.warning("The disk of %s knows no locks: take care that one run alone writes there", folder)
    try:
        yield
    finally:
        if made:
            _remove_lone_lock(folder)
        lock.release()
        if made:
            _remove_lone_lock(folder)  # Windows removes no file that is open
            remove_empty(made)


def _remove_lone_lock(folder: Path) -> None:
    with contextlib.suppress(OSError):
        if [path.name for path in folder.iterdir()] == [LOCK_FILE]:
            (folder / LOCK_FILE).unlink()


def states(folder: Path) -> list[Path]:
    """The states in `folder`, oldest first."""
    found = [(int(match[1]), path) for path in folder.glob("state-*.pt") if (match := _NAME.match(path.name))]
    return [path for _, path in sorted(found)]


def save_state(folder: Path, step: int, content: dict[str, Any], keep: int) -> Path:
    """Write the state after `step` steps and remove all but the `keep` newest."""
    path = folder / f"state-{step:07d}.pt"
    save_pickled(content, path)
    for old in states(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def load_newest(folder: Path) -> dict[str, Any] | None:
    """The newest readable state; None where there is none. Nothing in a state is ever executed."""
    for path in reversed(states(folder)):
        try:
            return _whole(torch.load(path, map_location="cpu", weights_only=True))
        except Exception as error:  # torch raises nearly anything on a damaged file
            logger.warning("%s is damaged (%s); the state before it is used", path, error)
    return None


def _whole(state: Any) -> dict[str, Any]:
    expected = {"step": int, "config": str, "weights": dict, "optimiser": dict, "average": dict}
    if not isinstance(state, dict):
        raise X2EditError(f"a dictionary was expected, {type(state).__name__} found")
    wrong = [name for name, kind in expected.items() if not isinstance(state.get(name), kind)]
    if wrong:
        raise X2EditError(f"it has no {', '.join(wrong)}")
    if not all(bool(torch.isfinite(weight).all()) for weight in state["weights"].values()):
        raise X2EditError("its weights are no longer numbers")
    return state


def require_same(saved: str, wanted: str, folder: Path) -> None:
    """Raise unless a state belongs to the configuration that is to go on."""
    if saved != wanted:
        old, new = set(saved.splitlines()), set(wanted.splitlines())
        raise X2EditError(
            f"{folder} holds a run of another configuration. It had: {'; '.join(sorted(old - new)) or '–'}. Now: "
            f"{'; '.join(sorted(new - old)) or '–'}. Name another output folder, or restore these values. "
            'With go_on = "rates" its rates may differ, with "fresh" all of [optim], whose moments begin anew then.'
        )


def require_same_models(saved: Mapping[str, str], wanted: Mapping[str, str], folder: Path) -> None:
    """Raise unless a state was learnt on the models that it is to go on with; both by part, as their fingerprints.

    States of earlier versions do not say, and began with new weights.
    """
    if wanted and not saved:
        logger.warning("The state in %s does not say which models it was learnt on; they are taken to be these", folder)
    unsaid = {START: NO_START}
    if changed := [part for part, found in wanted.items() if saved.get(part, unsaid.get(part, found)) != found]:
        raise X2EditError(
            f"{folder} holds a run on another {' and another '.join(changed)} than connected or named now, by their weights "
            "or what is patched onto them. Go on with those that it began with, or name another output folder."
        )

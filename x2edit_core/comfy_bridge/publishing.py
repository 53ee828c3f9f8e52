"""A run's result among the adapters that the loaders list: only ever over an earlier result of the same run.

A published adapter's metadata names its run, and the AlignNet published with it by its digest. Whatever else has the name
is somebody's file: it stays, and the result takes the next free name.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import uuid
from pathlib import Path

import torch

from ..adapters.adapter import Adapter
from ..adapters.checkpoint import load_adapter, save_adapter
from ..adapters.formats.released_x2edit import ALIGNNET_FILE
from ..alignnet import load_alignnet, save_alignnet
from ..errors import X2EditError
from ..files import TensorFile, replacing, try_to_write
from .training.setup import RELEASED, RESULT

RUN_FILE = "run-id.txt"
_RUN, _ALIGNNET = "x2edit_run", "x2edit_alignnet"
_TAKEN = "models/x2edit has another {} already, which this run did not make: that file stays, and the result is {}"


class Shelf:
    """Where the run in `run` publishes what is wanted under `wanted`, a path of models/x2edit; to be made within its claim.

    `told` says where a result went instead, if its name was taken.
    """

    def __init__(self, run: Path, wanted: Path, with_alignnet: bool) -> None:
        self._run, self._wanted, self._with_alignnet = run, wanted, with_alignnet
        self.told = ""
        self._id = _id_of(run)
        # An earlier version's results do not name their run: one that is the run's latest result is its own.
        self._adopted = not _notes(wanted).get(_RUN) and _equal(_loaded(wanted), _loaded(run / RESULT))
        self.path = self._free()

    def try_to_write(self) -> None:
        """Raise `X2EditError` if the result could not be published."""
        try_to_write(self.path)
        if self._with_alignnet:
            try_to_write(_alignnet_beside(self.path))

    def publish(self) -> Path | None:
        """The run's latest result, published; None where there is none yet."""
        if not (self._run / RESULT).exists():
            return None
        adapter = load_adapter(self._run / RESULT)
        _keep_id(self._run, self._id)
        self.path = self._free()
        notes = {_RUN: self._id}
        if self._with_alignnet and (self._run / RELEASED / ALIGNNET_FILE).exists():
            beside = _alignnet_beside(self.path)
            save_alignnet(load_alignnet(self._run / RELEASED / ALIGNNET_FILE), beside)
            notes[_ALIGNNET] = _digest(beside)
        save_adapter(adapter, self.path, notes)
        return self.path

    def _free(self) -> Path:
        """The wanted place, or the first after it, that is free or holds this run's own result."""
        stem = self._wanted.stem
        others = (self._wanted.with_name(f"{stem}_{number}{self._wanted.suffix}") for number in itertools.count(2))
        path = next(path for path in itertools.chain([self._wanted], others) if self._mine(path))
        self.told = "" if path == self._wanted else _TAKEN.format(self._wanted.name, path.name)
        return path

    def _mine(self, path: Path) -> bool:
        notes = _notes(path)
        adopted = self._adopted and path == self._wanted
        if path.exists() and notes.get(_RUN) != self._id and not adopted:
            return False
        beside = _alignnet_beside(path)
        if not self._with_alignnet or not beside.exists():
            return True
        latest = self._run / RELEASED / ALIGNNET_FILE
        return _digest(beside) in (notes.get(_ALIGNNET), _digest(latest) if latest.exists() else None)


def _id_of(run: Path) -> str:
    """The name of a run that no other has; `_keep_id` writes it into the run's folder once there is a result."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if found := (run / RUN_FILE).read_text(encoding="utf-8").strip():
            return found
    return uuid.uuid4().hex


def _keep_id(run: Path, name: str) -> None:
    with replacing(run / RUN_FILE) as part:
        part.write_text(name, encoding="utf-8")


def _alignnet_beside(path: Path) -> Path:
    return path.with_name(f"{path.stem}_alignnet.bin")


def _notes(path: Path) -> dict[str, str]:
    try:
        return TensorFile(path).metadata
    except X2EditError:
        return {}


def _loaded(path: Path) -> Adapter | None:
    try:
        return load_adapter(path) if path.exists() else None
    except X2EditError:
        return None


def _equal(one: Adapter | None, other: Adapter | None) -> bool:
    if one is None or other is None or one.spec != other.spec:
        return False
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while part := file.read(1 << 24):
            digest.update(part)
    return digest.hexdigest()

"""Tensor files as untrusted input: opened without running code, every fault a typed error; written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import pickle
import re
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .errors import CheckpointError, X2EditError, name_some

_PREFIXES = ("module.", "base_model.model.")
_PART = ".part"
_ABANDONED_S = 3600.0
_PARTS = re.compile(rf"\..+\.[0-9a-f]{{8}}{re.escape(_PART)}")
_REMEMBERED = 1000
_swept: dict[str, float] = {}
"""Folder → when it was last looked through for abandoned parts; the latest few."""
_NOT_OFFERED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
_DOWNLOAD_AGAIN = "Download it again and compare its size with the published one."
_WEB_PAGE = "it is a web page, not the file: the link led to a page about it, or to a sign-in"
_OTHERS = (
    (
        b"version https://git-lfs",
        "it is a Git LFS pointer of a few bytes, which stands for the file: run `git lfs pull`",
    ),
    (b"<!doctype", _WEB_PAGE),
    (b"<html", _WEB_PAGE),
    (b"<?xml", "it is an XML answer of a server, not the file"),
    (b"{", "it is a JSON answer of a server or a description, not the file"),
    (b"invalid username", "it is a server's refusal, not the file"),
    (b"access to model", "it is a server's refusal, not the file: accept the model's terms and sign in first"),
    (b"gguf", "it is a GGUF file, which no adapter of this pack comes in"),
    (b"\x1f\x8b", "it is packed with gzip; unpack it first"),
)
_TORCH = (
    (b"pk\x03\x04", "it is a torch file (.bin, .pt) or another zip, not safetensors"),
    (b"\x80\x02", "it is a pickle (.bin, .pt), not safetensors"),
)
_MAPPED_SHARE = 1 / 8
"""Of a file, read through one mapping: what was read of it counts as this process's memory as long as it is mapped."""
_MAPPED_AT_LEAST = 1 << 20
"""Bytes that are read through one mapping in any case; so a small file is one file, whatever gets its name meanwhile."""


class TensorFile:
    """A safetensors file whose tensors are read one by one; keys are given without `module.` prefixes.

    A tensor lies in the mapped file. Once copied and dropped it costs nothing, however many of them were read.
    Raises `CheckpointError` for a file that is missing, truncated, not safetensors, or holds one name twice.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mapped = 0
        try:
            self._state = _state(path)
            self._file = safe_open(path, framework="pt", device="cpu")
            raw = list(self._file.keys())
        except FileNotFoundError as error:
            raise CheckpointError(str(path), ["the file does not exist"]) from error
        except (SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(
                str(path),
                [looks_like(path, _TORCH) or f"it is not a complete safetensors file ({error})"],
                _DOWNLOAD_AGAIN,
            ) from error
        self.metadata: dict[str, str] = dict(self._file.metadata() or {})
        self._raw = {strip_prefix(key): key for key in raw}
        if len(self._raw) != len(raw):
            raise CheckpointError(str(path), ["two tensors have the same name once their prefixes are removed"])

    def names(self) -> set[str]:
        return set(self._raw)

    def __contains__(self, key: str) -> bool:
        return key in self._raw

    def shape(self, key: str) -> tuple[int, ...]:
        return tuple(self._file.get_slice(self._raw[key]).get_shape())

    def dtype(self, key: str) -> str:
        """As safetensors calls it, such as `BF16` or `F8_E4M3`."""
        return str(self._file.get_slice(self._raw[key]).get_dtype())

    def tensor(self, key: str) -> Tensor:
        """Raises `CheckpointError` for a tensor of a kind that is not known here, and for a file that changed meanwhile."""
        try:
            if self._mapped > max(self._state[0] * _MAPPED_SHARE, _MAPPED_AT_LEAST):
                self._map_anew()
            tensor = self._file.get_tensor(self._raw[key])
        except (SafetensorError, OSError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise CheckpointError(str(self.path), [f"its tensor {key} cannot be read ({error})"]) from error
        self._mapped += tensor.nbytes
        return tensor

    def _map_anew(self) -> None:
        """Give back the pages that were read; the same file is mapped again, or it is an error."""
        self._file = safe_open(self.path, framework="pt", device="cpu")
        self._mapped = 0
        if _state(self.path) != self._state:
            raise CheckpointError(
                str(self.path), ["it changed while it was being read"], "Load it again once it is written."
            )


def _state(path: Path) -> tuple[int, int, int]:
    """Size first; with another, another file lies at `path`."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def strip_prefix(key: str) -> str:
    """The key without wrapper prefixes that training frameworks put before it."""
    while key.startswith(_PREFIXES):
        key = key.split(".", 1)[1] if key.startswith("module.") else key.removeprefix("base_model.model.")
    return key


def read_pickle(path: Path) -> Mapping[str, Any]:
    """A torch `.bin` or `.pt` state dict, prefixes stripped; code inside is refused, never run."""
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(str(path), ["the file does not exist"]) from error
    except pickle.UnpicklingError as error:
        if found := looks_like(path):
            raise CheckpointError(str(path), [found], _DOWNLOAD_AGAIN) from error
        raise CheckpointError(
            str(path),
            ["it holds more than tensors (a pickle that would run code), or it is damaged"],
            "Use a file from the authors, or one saved as safetensors.",
        ) from error
    except Exception as error:  # torch raises nearly anything on a damaged file
        found = looks_like(path) or f"it is not a complete torch file ({error})"
        raise CheckpointError(str(path), [found], _DOWNLOAD_AGAIN) from error
    if not isinstance(loaded, Mapping):
        raise CheckpointError(str(path), [f"a dictionary of tensors was expected, {type(loaded).__name__} found"])
    return {strip_prefix(str(key)): value for key, value in loaded.items()}


def looks_like(path: Path, more: tuple[tuple[bytes, str], ...] = ()) -> str:
    """What a file that should hold tensors is instead, by its first bytes; empty if that is not known."""
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        return f"it cannot be read ({error})"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return next((said for start, said in (*_OTHERS, *more) if text.startswith(start)), "") if text else "it is empty"


def not_finite(name: str, tensor: Tensor) -> list[str]:
    """A one-problem list if `tensor` holds NaN or infinity, else an empty one."""
    if _surely_finite(tensor):
        return []
    if tensor.dtype.itemsize == 1:
        tensor = tensor.float()  # eight-bit kinds have no test of their own
    bad = int((~torch.isfinite(tensor)).sum())
    return [f"{name} holds {bad} NaN or infinite values"] if bad else []


def not_finite_parts(packed: Iterable[Tensor], parts: Mapping[str, Tensor]) -> list[str]:
    """A problem for each of `parts` that holds NaN or infinity; looked for in the `packed` tensors made of them first."""
    if all(map(_surely_finite, packed)):
        return []
    return [fault for name, part in parts.items() for fault in not_finite(name, part)]


def _surely_finite(tensor: Tensor) -> bool:
    """Whether one reduction shows it: a sum with NaN or infinity in it is neither. A sum may also overflow without."""
    if not tensor.is_floating_point():
        return True
    wide = tensor.float() if tensor.dtype.itemsize == 1 else tensor
    return math.isfinite(wide.sum().item())


def save_atomically(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write a safetensors file so that a crash or a full disk leaves the previous file as it was."""
    with replacing(path) as part:
        save_file({key: value.contiguous() for key, value in tensors.items()}, part, dict(metadata))


def save_pickled(content: Any, path: Path) -> None:
    """`torch.save`, in the same way."""
    with replacing(path) as part, part.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # torch's own, over the system's reason
            raise OSError(str(error.__context__ or error)) from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; what is written there becomes `path` once it is whole.

    Raises `X2EditError` if it cannot be written; then, as after a kill, the previous `path` is as it was. What a kill
    left behind in its folder goes with a later save. What is there afterwards outlives a power cut: file and folder are synced.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path.parent)
        part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{_PART}")
        try:
            part.touch()
            mode = part.stat().st_mode
            yield part
            part.chmod(mode)  # safetensors' own files are for their owner alone
            _sync(part, os.O_RDWR)
            part.replace(path)
            _sync_folder(path.parent)
        finally:
            part.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        raise X2EditError(
            f"{path} could not be written ({error}). What was there before is untouched. Is there room on the disk, and "
            "may this program write there?"
        ) from error


def _sync(path: Path, how: int) -> None:
    """Bring what the system still holds of a file or folder onto its disk, where that disk knows how to."""
    handle = os.open(path, how | getattr(os, "O_BINARY", 0))
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NOT_OFFERED:
            raise
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    """The new name itself; Windows opens no folders and writes names by itself. What is renamed is not undone."""
    if os.name == "posix":
        with contextlib.suppress(OSError):
            _sync(folder, os.O_RDONLY)


def try_to_write(path: Path) -> None:
    """Raise `X2EditError` if `path` could not be saved, as far as an empty file shows; nothing is left of the attempt."""
    made = missing_folders(path.parent)
    try:
        if os.path.isdir(path):  # noqa: PTH112 - Path's own raises for names that are too long
            raise X2EditError(f"{path} could not be written: there is a folder of that name. Choose another name.")
        with contextlib.suppress(_Tried), replacing(path):
            raise _Tried
    finally:
        remove_empty(made)


def missing_folders(folder: Path) -> list[Path]:
    """`folder` and those above it that do not exist, innermost first."""
    return [part for part in (folder, *folder.parents) if not os.path.exists(part)]  # noqa: PTH110 - as above


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove those of `folders`, innermost first, that hold nothing."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


class _Tried(Exception):
    """Leaves `replacing` before anything is replaced."""


def _remove_abandoned(folder: Path) -> None:
    """Parts that no living save is writing: another server may save into the same folder at this moment.

    A folder is looked through at its first save and once in a while: it may hold a file for each of thousands of saves.
    """
    now = time.monotonic()
    name = str(folder.absolute())
    if now - _swept.get(name, -math.inf) < _ABANDONED_S:
        return
    _swept.pop(name, None)  # the latest stand last
    _swept[name] = now
    while len(_swept) > _REMEMBERED:
        del _swept[next(iter(_swept))]
    parts: list[os.DirEntry[str]] = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        parts += [entry for entry in entries if _PARTS.fullmatch(entry.name)]
    for part in parts:
        with contextlib.suppress(OSError):
            if time.time() - part.stat(follow_symlinks=False).st_mtime > _ABANDONED_S:
                Path(part).unlink()


def account(file: TensorFile, expected: Mapping[str, tuple[int, ...]]) -> list[str]:
    """What is wrong with the names and shapes of `file`, of which it is to hold exactly the `expected`."""
    return account_shapes({key: file.shape(key) if key in expected else () for key in file.names()}, expected)


def account_shapes(found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Likewise of tensors by their names; the shape of an unexpected one does not matter."""
    missing, unexpected = difference(found, expected)
    wrong = [
        f"{key} is {list(found[key])}, {list(shape)} expected"
        for key, shape in expected.items()
        if key in found and found[key] != shape
    ]
    faults = {"missing": missing, "unexpected": unexpected, "of wrong shape": wrong}
    return [f"{len(names)} {fault}: {name_some(names)}" for fault, names in faults.items() if names]


def columns(file: TensorFile, key: str) -> int:
    """Width of a matrix; raises `CheckpointError` for a tensor of other than two dimensions."""
    if len(file.shape(key)) != 2:
        raise CheckpointError(str(file.path), [f"{key} is {list(file.shape(key))}; two dimensions were expected"])
    return file.shape(key)[1]


def difference(found: Iterable[str], expected: Iterable[str]) -> tuple[list[str], list[str]]:
    """Sorted (missing, unexpected) names."""
    found, expected = set(found), set(expected)
    return sorted(expected - found), sorted(found - expected)

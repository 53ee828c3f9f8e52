"""Tensor files as untrusted input: opened without running code, every fault a typed error."""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import CheckpointError

_PREFIXES = ("module.", "base_model.model.")


class TensorFile:
    """A safetensors file whose tensors are read one by one; keys are given without `module.` prefixes.

    Raises `CheckpointError` for a file that is missing, truncated, not safetensors, or holds one name twice.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = safe_open(path, framework="pt", device="cpu")
            raw = list(self._file.keys())
        except FileNotFoundError as error:
            raise CheckpointError(str(path), ["the file does not exist"]) from error
        except (SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(
                str(path),
                [f"it is not a complete safetensors file ({error})"],
                "Download it again and compare its size with the published one.",
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

    def tensor(self, key: str) -> Tensor:
        return self._file.get_tensor(self._raw[key])


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
        raise CheckpointError(
            str(path),
            ["it holds more than tensors (a pickle that would run code), or it is damaged"],
            "Use a file from the authors, or one saved as safetensors.",
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, AttributeError, IndexError, TypeError) as error:
        raise CheckpointError(str(path), [f"it is not a complete torch file ({error})"]) from error
    if not isinstance(loaded, Mapping):
        raise CheckpointError(str(path), [f"a dictionary of tensors was expected, {type(loaded).__name__} found"])
    return {strip_prefix(str(key)): value for key, value in loaded.items()}


def not_finite(name: str, tensor: Tensor) -> list[str]:
    """A one-problem list if `tensor` holds NaN or infinity, else an empty one."""
    bad = int((~torch.isfinite(tensor)).sum()) if tensor.is_floating_point() else 0
    return [f"{name} holds {bad} NaN or infinite values"] if bad else []


def save_atomically(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write a safetensors file so that a crash or a full disk leaves the previous file as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    try:
        save_file({key: value.contiguous() for key, value in tensors.items()}, partial, dict(metadata))
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def difference(found: Iterable[str], expected: Iterable[str]) -> tuple[list[str], list[str]]:
    """Sorted (missing, unexpected) names."""
    found, expected = set(found), set(expected)
    return sorted(expected - found), sorted(found - expected)

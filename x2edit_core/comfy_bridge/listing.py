"""Files and folders of models for the choices of nodes. Nothing here raises: what cannot be read is left out, said once.

A schema that raises takes the whole pack with it, and disks hold folders of other accounts, links to nowhere and circles.
"""

# os.path answers where pathlib raises: for names too long, circles and closed folders.
# ruff: noqa: PTH113, PTH116, PTH118

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import folder_paths

from .notices import log_once

MODEL_DEPTH = 2


def roots(category: str) -> list[str]:
    """The folders of a category, without what other packs registered in a form that is none."""
    registered = folder_paths.folder_names_and_paths.get(category)
    if registered is None:
        return [os.path.join(folder_paths.models_dir, category)]
    paths = registered[0] if isinstance(registered, (tuple, list)) and registered else registered
    if isinstance(paths, (str, os.PathLike)):  # one path where a list belongs
        paths = [paths]
    try:
        listed = list(paths)
    except TypeError:
        listed = []
    usable = [os.fspath(path) for path in listed if isinstance(path, (str, os.PathLike)) and os.fspath(path)]
    found = [path for path in usable if isinstance(path, str)]
    if len(found) < max(len(listed), 1):
        log_once(
            f"broken {category}", f"X2Edit: the registered folders of {category!r} are not all paths: {registered!r}."
        )
    return list(dict.fromkeys(found))


def files(category: str, suffixes: tuple[str, ...]) -> list[str]:
    """Every file with one of the suffixes under the folders of a category: relative to its folder, with `/`, sorted."""
    found = {name for root in roots(category) for name in _walk(root) if name.lower().endswith(suffixes)}
    return sorted(name.replace(os.sep, "/") for name in found)


def listed(category: str, suffixes: tuple[str, ...]) -> list[str]:
    """As the host lists a category of its own, which it keeps for a while; as `files` does where the host cannot."""
    if _is_sound(folder_paths.folder_names_and_paths.get(category)):
        try:
            found = folder_paths.get_filename_list(category)
            return [name.replace(os.sep, "/") for name in found if name.lower().endswith(suffixes)]
        except Exception as error:
            log_once(f"host cannot list {category}", f"X2Edit: ComfyUI cannot list models/{category}: {_why(error)}")
    return files(category, suffixes)


def _is_sound(registered: Any) -> bool:
    """Whether the host reads it as meant: a string in place of a list would be read letter by letter."""
    paths = registered[0] if isinstance(registered, (tuple, list)) and len(registered) > 1 else None
    return isinstance(paths, (list, tuple)) and all(isinstance(path, str) and path for path in paths)


def full_path(category: str, name: str) -> Path | None:
    """The file behind a name that `files` or `listed` gave."""
    candidates = (os.path.join(root, name) for root in roots(category))
    return next((Path(path) for path in candidates if os.path.isfile(path)), None)


def model_folders(category: str) -> dict[str, Path]:
    """Names (`category/folder`) and places of transformers models under the host's folders of a category."""
    found: dict[str, Path] = {}
    for root in roots(category):
        for path in _model_folders(root, MODEL_DEPTH):
            found.setdefault(f"{category}/{Path(path).relative_to(root).as_posix()}", Path(path))
    return dict(sorted(found.items()))


def _model_folders(folder: str, depth: int) -> Iterator[str]:
    if depth == 0:
        return
    for entry in _entries(folder):
        if entry.name.startswith(".") or _kind(entry) != "folder":
            continue
        if any(os.path.isfile(os.path.join(entry.path, name)) for name in ("config.json", "adapter_config.json")):
            yield entry.path
        else:
            yield from _model_folders(entry.path, depth - 1)


def _walk(root: str) -> Iterator[str]:
    """Files under `root`, through links too, but through no folder twice, so that a circle ends."""
    waiting, seen, start = [root], set(), len(os.path.join(root, ""))
    while waiting:
        folder = waiting.pop()
        identity = identity_of(folder)
        if identity in seen:
            continue
        seen.add(identity)
        for entry in _entries(folder):
            kind = _kind(entry)
            if kind == "folder":
                waiting.append(entry.path)
            elif kind == "file":
                yield entry.path[start:]


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """What lies in `folder`; nothing where it is not there, since a folder of models need not exist."""
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        log_once(f"unreadable {folder}", f"X2Edit: {folder!r} cannot be read and is left out: {_why(error)}")
        return []


def identity_of(path: str) -> Any:
    """The same for two paths to one file or folder, whatever links lie on the way."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return path
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(path)


def _kind(entry: os.DirEntry[str]) -> str:
    """`folder` or `file`; nothing for a link to nowhere or in a circle, and for what the system keeps closed.

    Files that are no links are not looked at, which would cost time.
    """
    try:
        if entry.is_dir():
            return "folder"
        if not entry.is_symlink() or os.path.isfile(entry.path):
            return "file"
        why = "it leads to no file"
    except (OSError, ValueError) as error:
        why = _why(error)
    log_once(f"unreadable {entry.path}", f"X2Edit: {entry.path!r} cannot be read and is left out: {why}")
    return ""


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"

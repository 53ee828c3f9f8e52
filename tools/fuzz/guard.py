"""What a reader does to the machine while it reads: files opened elsewhere, programs started, connections made."""

from __future__ import annotations

import contextlib
import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_NEVER = {
    "ctypes.dlopen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile", "os.system",
    "pickle.find_class", "pty.spawn", "socket.bind", "socket.connect", "socket.getaddrinfo", "subprocess.Popen",
    "urllib.Request", "webbrowser.open",
}  # fmt: skip
_CHANGES = {
    "os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate",
    "os.utime", "shutil.copyfile", "shutil.move", "shutil.rmtree", "shutil.unpack_archive",
}  # fmt: skip
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_REPO = Path(__file__).resolve().parents[2]
# Modules that are imported at first use lie here.
_PLACES = (*sysconfig.get_paths().values(), *filter(None, sys.path), sys.base_prefix, _REPO)
_PROGRAM = tuple(os.path.realpath(path) for path in _PLACES)


class Forbidden(BaseException):
    """Not an `Exception`: a reader that survives any damage must not survive this."""


class Guard:
    """Watches this process through Python's audit events; what compiled libraries do by themselves it cannot see."""

    def __init__(self) -> None:
        self._folder: str | None = None
        self._seen: list[str] = []
        sys.addaudithook(self._on_event)  # hooks are for the life of a process

    @contextlib.contextmanager
    def over(self, folder: Path) -> Iterator[None]:
        """Within it nothing but `folder` may be touched; raises `Forbidden` for what was tried."""
        self._seen.clear()
        self._folder = os.path.realpath(folder)
        try:
            yield
        finally:
            self._folder = None
        if self._seen:
            raise Forbidden("; ".join(self._seen))

    def _on_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._folder is None:
            return
        if event in _NEVER or (event in _CHANGES and not all(map(self._inside, _paths(arguments)))):
            self._refuse(event, arguments)
        elif event == "open" and _paths(arguments[:1]):
            path, _, flags = arguments
            writes = bool((flags or 0) & _WRITES)
            if not self._inside(path) and (writes or not _of_program(path)):
                self._refuse("write" if writes else "read", (path,))

    def _refuse(self, what: str, arguments: tuple[Any, ...]) -> None:
        self._seen.append(f"{what} {arguments!r}"[:300])
        raise Forbidden(self._seen[-1])

    def _inside(self, path: Any) -> bool:
        assert self._folder is not None
        return os.path.commonpath((self._folder, os.path.realpath(os.fsdecode(path)))) == self._folder


def _paths(arguments: tuple[Any, ...]) -> list[Any]:
    return [item for item in arguments if isinstance(item, str | bytes | os.PathLike)]


def _of_program(path: Any) -> bool:
    return os.path.realpath(os.fsdecode(path)).startswith(_PROGRAM)

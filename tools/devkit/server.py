"""The real host as a child process that has only this pack, that `workflow.client` talks to."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from x2edit_core.workflow.client import Client, ServerError

from .host import Host
from .layout import PACK_NAME, REPO, make_base

_ADDRESS = "127.0.0.1"


class Server(Client):
    """A running host; use it as a context manager. Its base directory is temporary unless `base` is given."""

    def __init__(
        self,
        host: Host,
        *,
        device: str = "cpu",
        flags: Sequence[str] = (),
        base: Path | None = None,
        pack: Path | None = REPO,
        port: int | None = None,
    ) -> None:
        self.host = host
        self._flags = [*([] if device != "cpu" else ["--cpu"]), *flags]
        self._own_base = base is None
        self.base = base or Path(tempfile.mkdtemp(prefix="x2edit-server-"))
        self._pack = pack
        self.port = port or _free_port()
        super().__init__(f"http://{_ADDRESS}:{self.port}")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """Everything the host has printed so far, without colours."""
        text = self._log_file.read_text(encoding="utf-8", errors="replace") if self._log_file.exists() else ""
        return re.sub(r"\x1b\[[0-9;]*m", "", text)

    @property
    def _log_file(self) -> Path:
        return self.base / "host.log"

    def __enter__(self) -> Server:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, timeout: float = 600.0) -> None:
        """Start the child and return when it answers."""
        self.base.mkdir(parents=True, exist_ok=True)
        names = ["--disable-all-custom-nodes"]
        if self._pack is not None:
            make_base(self.base, self._pack)
            names += ["--whitelist-custom-nodes", PACK_NAME]
        command = [
            self.host.python, str(Path(self.host.comfyui) / "main.py"), "--base-directory", str(self.base),
            "--listen", _ADDRESS, "--port", str(self.port), "--disable-auto-launch", "--disable-api-nodes",
            "--database-url", "sqlite:///:memory:", *names, *self._frontend_flags(), *self._flags,
        ]  # fmt: skip
        with open(self._log_file, "wb") as log:
            # The base directory as working directory: a host started in the repository would import our `nodes`.
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=self.base)
        self.wait_until(self._answers, timeout, "answer")

    def stop(self) -> None:
        """End the child and remove a temporary base directory."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None
        if self._own_base:
            shutil.rmtree(self.base, ignore_errors=True)

    def kill(self) -> None:
        """End the child without a chance to tidy up, as a power cut would; `start` brings it back on its base directory."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def wait(self) -> int:
        """Block until the child ends by itself."""
        assert self._process is not None
        return self._process.wait()

    def _frontend_flags(self) -> list[str]:
        """A host without the page's package refuses to start unless it is shown some folder in its place."""
        probe = "import importlib.util, sys; sys.exit(importlib.util.find_spec('comfyui_frontend_package') is None)"
        if subprocess.run([self.host.python, "-c", probe], cwd=self.base, check=False).returncode == 0:
            return []
        (self.base / "no_page").mkdir(exist_ok=True)
        return ["--front-end-root", str(self.base / "no_page")]

    def _answers(self) -> bool:
        with contextlib.suppress(ServerError):
            self.request("/system_stats")
            return True
        return False

    def check_alive(self) -> None:
        assert self._process is not None
        if self._process.poll() is not None:
            raise ServerError(f"The host ended with status {self._process.returncode}.{self.log_end()}")

    def log_end(self) -> str:
        return "\n".join(["", "The end of its log:", *self.log.splitlines()[-30:]])


def fill_input(host: Host, base: Path) -> None:
    """Give a base directory the pictures that the host ships, so that templates open with one."""
    folder = base / "input"
    folder.mkdir(parents=True, exist_ok=True)
    for picture in (Path(host.comfyui) / "input").glob("*.*"):
        if picture.is_file() and not (folder / picture.name).exists():
            shutil.copy(picture, folder)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_ADDRESS, 0))
        return probe.getsockname()[1]

"""The real host as a child process that has only this pack, and the HTTP conversation with it."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .host import DevError, Host
from .layout import PACK_NAME, REPO, make_base
from .websocket import WebSocket

Graph = dict[str, dict[str, Any]]
_ADDRESS = "127.0.0.1"


class ServerError(DevError):
    """The host did not start, went away, or answered a request with an error."""


class PromptError(DevError):
    """A graph was refused or failed; names the node at fault where the host does."""

    def __init__(self, message: str, node_id: str | None = None, node_class: str | None = None) -> None:
        self.node_id, self.node_class = node_id, node_class
        place = f"Node {node_id} ({node_class}): " if node_id is not None else ""
        super().__init__(place + message.strip())


class PromptInterrupted(PromptError):
    """The graph was stopped by a request to interrupt."""


@dataclass(frozen=True)
class Progress:
    """A node began (`total` 0) or reached `value` of `total` steps."""

    node_id: str
    node_class: str
    value: int = 0
    total: int = 0


@dataclass(frozen=True)
class Result:
    """What a finished graph left: each output node's `ui` entries, and every picture as (node id, bytes)."""

    prompt_id: str
    outputs: dict[str, dict[str, Any]]
    images: list[tuple[str, bytes]] = field(repr=False)

    def image(self) -> bytes:
        """The only picture of the run, as the file the host wrote."""
        if len(self.images) != 1:
            raise PromptError(f"One picture was expected from the run, {len(self.images)} came.")
        return self.images[0][1]


class Server:
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
        self.client_id = uuid.uuid4().hex
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{_ADDRESS}:{self.port}"

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

    def start(self, timeout: float = 300.0) -> None:
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
        self._wait_until(self._answers, timeout, "answer")

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

    def wait(self) -> int:
        """Block until the child ends by itself."""
        assert self._process is not None
        return self._process.wait()

    def object_info(self, node_id: str | None = None) -> dict[str, Any]:
        return self.get_json("/object_info" + (f"/{urllib.parse.quote(node_id)}" if node_id else ""))

    def history(self, prompt_id: str) -> dict[str, Any] | None:
        """The host's record of a prompt; None while it is waiting or running."""
        return self.get_json(f"/history/{prompt_id}").get(prompt_id)

    def view(self, image: dict[str, str]) -> bytes:
        """The bytes of a picture that a `ui` entry names."""
        return self.request("/view?" + urllib.parse.urlencode(image))

    def upload_image(self, path: Path, name: str | None = None) -> str:
        """Put a picture into the host's input folder; returns the name that LoadImage takes."""
        answer = self.request("/upload/image", *_multipart(name or path.name, path.read_bytes()))
        return json.loads(answer)["name"]

    def interrupt(self) -> None:
        self.post_json("/interrupt", {})

    def free(self) -> None:
        """Ask the host to unload models and drop cached outputs; it does so between prompts."""
        self.post_json("/free", {"unload_models": True, "free_memory": True})

    def queue(self, graph: Graph) -> str:
        """Hand over an API-format graph; returns its prompt id. Raises PromptError if the host finds it invalid."""
        try:
            answer = json.loads(self.post_json("/prompt", {"prompt": graph, "client_id": self.client_id}))
        except _HttpError as error:
            raise _refusal(error.body, graph) from None
        if answer.get("node_errors"):
            raise _refusal(answer, graph)
        return answer["prompt_id"]

    def run(
        self, graph: Graph, on_progress: Callable[[Progress], None] | None = None, timeout: float = 900.0
    ) -> Result:
        """Queue `graph`, wait for its end and fetch its pictures. Raises PromptError if any node failed."""
        with self._listening(graph, on_progress):
            prompt_id = self.queue(graph)
            self._wait_until(lambda: self.history(prompt_id) is not None, timeout, "finish the graph")
        record = self.history(prompt_id)
        assert record is not None
        _raise_failure(record["status"])
        found = [
            (node_id, self.view(image))
            for node_id, ui in record["outputs"].items()
            for image in ui.get("images", [])
            if image.get("filename")
        ]
        return Result(prompt_id, record["outputs"], found)

    def get_json(self, path: str) -> Any:
        return json.loads(self.request(path))

    def post_json(self, path: str, body: Any) -> bytes:
        return self.request(path, json.dumps(body).encode("utf-8"), "application/json")

    def request(self, path: str, body: bytes | None = None, content_type: str | None = None) -> bytes:
        request = urllib.request.Request(self.url + path, data=body)
        if content_type:
            request.add_header("Content-Type", content_type)
        try:
            # A proxy of the environment must not see requests to this machine.
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            raise _HttpError(path, error.code, error.read()) from None
        except (urllib.error.URLError, OSError) as error:
            raise ServerError(f"The host did not answer {path}: {error}\n{self._log_end()}") from None

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

    def _wait_until(self, done: Callable[[], bool], timeout: float, what: str) -> None:
        assert self._process is not None
        deadline = time.monotonic() + timeout
        while not done():
            if self._process.poll() is not None:
                raise ServerError(f"The host ended with status {self._process.returncode}.\n{self._log_end()}")
            if time.monotonic() > deadline:
                raise ServerError(f"The host did not {what} within {timeout:.0f} s.\n{self._log_end()}")
            time.sleep(0.1)

    def _log_end(self) -> str:
        return "\n".join(["The end of its log:", *self.log.splitlines()[-30:]])

    @contextlib.contextmanager
    def _listening(self, graph: Graph, on_progress: Callable[[Progress], None] | None) -> Iterator[None]:
        if on_progress is None:
            yield
            return
        connection = WebSocket(_ADDRESS, self.port, f"/ws?clientId={self.client_id}")
        reader = threading.Thread(target=_forward, args=(connection, graph, on_progress), daemon=True)
        reader.start()
        try:
            yield
        finally:
            connection.close()
            reader.join(5)


class _HttpError(ServerError):
    def __init__(self, path: str, code: int, body: bytes) -> None:
        try:
            self.body = json.loads(body)
        except ValueError:
            self.body = {"error": {"message": body.decode("utf-8", "replace")}}
        super().__init__(f"The host answered {path} with status {code}: {self.body}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_ADDRESS, 0))
        return probe.getsockname()[1]


def _multipart(name: str, content: bytes) -> tuple[bytes, str]:
    """The form that the host's upload route expects, and its content type."""
    boundary = uuid.uuid4().hex
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="overwrite"\r\n\r\ntrue\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return head.encode() + content + f"\r\n--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def _refusal(answer: dict[str, Any], graph: Graph) -> PromptError:
    """The first node error of a refused graph, or the general message where no node is named."""
    for node_id, fault in answer.get("node_errors", {}).items():
        details = "; ".join(f"{error['message']}: {error.get('details', '')}" for error in fault["errors"])
        return PromptError(details, node_id, fault.get("class_type") or graph[node_id]["class_type"])
    error = answer.get("error", answer)
    text = f"{error.get('message')} {error.get('details', '')}" if isinstance(error, dict) else str(error)
    return PromptError(text)


def _raise_failure(status: dict[str, Any]) -> None:
    for kind, detail in status["messages"]:
        if kind == "execution_interrupted":
            raise PromptInterrupted("interrupted", detail["node_id"], detail["node_type"])
        if kind == "execution_error":
            text = f"{detail['exception_type']}: {detail['exception_message']}"
            raise PromptError(text, detail["node_id"], detail["node_type"])
    if status["status_str"] != "success":
        raise PromptError(f"The host reports {status['status_str']} without saying why.")


def _forward(connection: WebSocket, graph: Graph, on_progress: Callable[[Progress], None]) -> None:
    for message in connection.messages():
        if isinstance(message, bytes):
            continue
        event = json.loads(message)
        data = event.get("data") or {}
        # A node inside an expanded graph carries an id that the queued graph does not have.
        node_id = data.get("display_node") or data.get("node")
        if node_id not in graph:
            continue
        if event["type"] == "executing":
            on_progress(Progress(node_id, graph[node_id]["class_type"]))
        elif event["type"] == "progress":
            on_progress(Progress(node_id, graph[node_id]["class_type"], data["value"], data["max"]))

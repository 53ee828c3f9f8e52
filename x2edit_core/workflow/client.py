"""The HTTP conversation with a running host: pictures in, a graph executed, pictures out."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import X2EditError
from .websocket import WebSocket

Graph = dict[str, dict[str, Any]]
"""A graph in the API form: node id → class_type and inputs."""


class ServerError(X2EditError):
    """The host did not start, went away, or answered a request with an error."""


class TimedOut(ServerError):
    """The host did not get done in time; it may still be at work, on the prompt `prompt_id` if that is what it had."""

    def __init__(self, message: str, prompt_id: str = "") -> None:
        self.prompt_id = prompt_id
        super().__init__(message)


class PromptError(X2EditError):
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


class Client:
    """A host at an address such as `http://127.0.0.1:8188`."""

    def __init__(self, url: str) -> None:
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise ServerError(f"{url!r} is no address of a host; something like http://127.0.0.1:8188 was expected.")
        self.url = url.rstrip("/")
        self.client_id = uuid.uuid4().hex

    def object_info(self, node_id: str | None = None) -> dict[str, Any]:
        return self.get_json("/object_info" + (f"/{urllib.parse.quote(node_id)}" if node_id else ""))

    def history(self, prompt_id: str) -> dict[str, Any] | None:
        """The host's record of a prompt; None while it is waiting or running."""
        return self.get_json(f"/history/{prompt_id}").get(prompt_id)

    def view(self, image: dict[str, str]) -> bytes:
        """The bytes of a picture that a `ui` entry names."""
        return self.request("/view?" + urllib.parse.urlencode(image))

    def upload_image(self, path: Path) -> str:
        """Put a picture into the host's input folder; returns the name that LoadImage takes."""
        return self.upload(path.name, path.read_bytes())

    def upload(self, name: str, content: bytes, folder: str = "input") -> str:
        """Put a picture into the host's folder `input` or `temp`; returns the name that LoadImage takes."""
        answer = json.loads(self.request("/upload/image", *_multipart(name, content, folder)))
        return answer["name"] if folder == "input" else f"{answer['name']} [{folder}]"

    def interrupt(self) -> None:
        """Stop whatever the host is running, whoever queued it."""
        self.post_json("/interrupt", {})

    def cancel(self, prompt_id: str) -> None:
        """End this prompt alone, whether it is waiting or running; one that has ended is left as it is."""
        self.post_json("/queue", {"delete": [prompt_id]})
        # Asked after the deletion, so that a prompt which began in between is seen; older hosts stop whatever runs.
        if any(item[1] == prompt_id for item in self.get_json("/queue")["queue_running"]):
            self.post_json("/interrupt", {"prompt_id": prompt_id})

    def free(self) -> None:
        """Ask the host to unload models and drop cached outputs; it does so between prompts."""
        self.post_json("/free", {"unload_models": True, "free_memory": True})

    def queue(self, graph: Graph) -> str:
        """Hand over an API-format graph; returns its prompt id. Raises `PromptError` if the host finds it invalid."""
        try:
            answer = json.loads(self.post_json("/prompt", {"prompt": graph, "client_id": self.client_id}))
        except HttpError as error:
            raise _refusal(error.body, graph) from None
        if answer.get("node_errors"):
            raise _refusal(answer, graph)
        return answer["prompt_id"]

    def run(
        self, graph: Graph, on_progress: Callable[[Progress], None] | None = None, timeout: float = 900.0
    ) -> Result:
        """Queue `graph`, wait for its end and fetch its pictures. Raises `PromptError` if any node failed.

        Raises `TimedOut` after `timeout` seconds, those in the queue counted; the prompt stays with the host.
        """
        with self._listening(graph, on_progress):
            prompt_id = self.queue(graph)
            self.wait_for(prompt_id, timeout)
        return self.result(prompt_id)

    def wait_for(self, prompt_id: str, timeout: float = 900.0) -> None:
        """Return once the prompt has ended, however it did. Raises `TimedOut`; the prompt then stays with the host."""
        try:
            self.wait_until(lambda: self.history(prompt_id) is not None, timeout, "finish the graph")
        except TimedOut as error:
            raise TimedOut(str(error), prompt_id) from None

    def result(self, prompt_id: str) -> Result:
        """What a prompt that has ended left; raises `PromptError` if any node failed."""
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

    def wait_until(self, done: Callable[[], bool], timeout: float, what: str) -> None:
        """Ask `done` until it is so; raises `ServerError` after `timeout` seconds or when `check_alive` does."""
        deadline = time.monotonic() + timeout
        while not done():
            self.check_alive()
            if time.monotonic() > deadline:
                raise TimedOut(f"The host did not {what} within {timeout:.0f} s.{self.log_end()}")
            time.sleep(0.1)

    def check_alive(self) -> None:
        """Raise `ServerError` if the host is known to have ended; an address alone cannot tell."""

    def log_end(self) -> str:
        """What to add to messages about a host that is gone."""
        return ""

    def get_json(self, path: str) -> Any:
        return json.loads(self.request(path))

    def post_json(self, path: str, body: Any) -> bytes:
        return self.request(path, json.dumps(body).encode("utf-8"), "application/json")

    def request(self, path: str, body: bytes | None = None, content_type: str | None = None) -> bytes:
        request = urllib.request.Request(self.url + path, data=body)  # noqa: S310 (the scheme was checked at the start)
        if content_type:
            request.add_header("Content-Type", content_type)
        try:
            with _opener(self.url).open(request, timeout=60) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            raise HttpError(path, error.code, error.read()) from None
        except (urllib.error.URLError, OSError) as error:
            raise ServerError(f"The host at {self.url} did not answer {path}: {error}{self.log_end()}") from None

    @contextlib.contextmanager
    def _listening(self, graph: Graph, on_progress: Callable[[Progress], None] | None) -> Iterator[None]:
        if on_progress is None:
            yield
            return
        address = urllib.parse.urlsplit(self.url)
        connection = WebSocket(
            address.hostname or "", address.port or 80, f"{address.path}/ws?clientId={self.client_id}"
        )
        reader = threading.Thread(target=_forward, args=(connection, graph, on_progress), daemon=True)
        reader.start()
        try:
            yield
        finally:
            connection.close()
            reader.join(5)


class HttpError(ServerError):
    """The host is there and answered a request with the status `code`."""

    def __init__(self, path: str, code: int, body: bytes) -> None:
        self.code = code
        try:
            self.body = json.loads(body)
        except ValueError:
            self.body = {"error": {"message": body.decode("utf-8", "replace")}}
        super().__init__(f"The host answered {path} with status {code}: {self.body}")


def _opener(url: str) -> urllib.request.OpenerDirector:
    """A proxy of the environment must not see requests to this machine."""
    local = urllib.parse.urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
    return urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if local else []))


def _multipart(name: str, content: bytes, folder: str) -> tuple[bytes, str]:
    """The form that the host's upload route expects, and its content type."""
    boundary = uuid.uuid4().hex
    fields = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'
        for field, value in (("overwrite", "true"), ("type", folder))
    )
    head = (
        f'{fields}--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
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

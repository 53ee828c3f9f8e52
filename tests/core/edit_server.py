"""A local server that answers as ComfyUI and as a chat does, counts what it is asked, and fails on request."""

from __future__ import annotations

import io
import json
import re
import threading
import time
import urllib.parse
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image

GRAPH = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "make it brighter"}},
    "3": {"class_type": "KSampler", "inputs": {"seed": 1, "positive": ["2", 0]}},
    "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0]}},
}
"""A workflow of its kind."""


def brighter(picture: np.ndarray, seed: int) -> np.ndarray:
    """The edit that the server makes: the lower half, by so much."""
    edited = picture.astype(int)
    edited[len(edited) // 2 :] += 40 + seed % 20
    return edited.clip(0, 255).astype(np.uint8)


class EditServer(ThreadingHTTPServer):
    """`edits` and `asked` count by what was asked; `edit`, `answer` and `fault` can be exchanged."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.edit = brighter
        self.answer = lambda body: "{}"
        self.fault = lambda path: None
        self.delay_s = 0.0
        self.edits: list[str] = []
        self.asked: list[dict] = []
        self.headers_seen: list[dict[str, str]] = []
        self.at_once = self.most_at_once = 0
        self.usage: dict | None = {"prompt_tokens": 100, "completion_tokens": 10}
        self.files: dict[str, bytes] = {}
        self.done: dict[str, str] = {}
        self.lock = threading.Lock()
        self.turn = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address) -> None:
        """A client that is killed is part of these tests."""

    def begin(self, graph: dict) -> str:
        """Queue a graph: one at a time, as a host does."""
        with self.lock:
            number = str(len(self.edits))
            self.edits.append(json.dumps(graph, sort_keys=True))
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        threading.Thread(target=self._work, args=(number, graph), daemon=True).start()
        return number

    def _work(self, number: str, graph: dict) -> None:
        with self.turn:
            time.sleep(self.delay_s)
            name = graph["1"]["inputs"]["image"].removesuffix(" [temp]")
            picture = np.asarray(Image.open(io.BytesIO(self.files[name])).convert("RGB"))
            buffer = io.BytesIO()
            Image.fromarray(self.edit(picture, graph["3"]["inputs"]["seed"])).save(buffer, "PNG")
            with self.lock:
                self.files[f"out{number}.png"] = buffer.getvalue()
                self.done[number] = f"out{number}.png"
                self.at_once -= 1


class Handler(BaseHTTPRequestHandler):
    server: EditServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self._failed():
            return
        place = urllib.parse.urlsplit(self.path)
        if place.path.startswith("/history/"):
            number = place.path.rpartition("/")[2]
            name = self.server.done.get(number)
            record = {"status": {"messages": [], "status_str": "success"},
                      "outputs": {"4": {"images": [{"filename": name}]}}}  # fmt: skip
            self._send({number: record} if name else {})
        elif place.path == "/view":
            self._send(self.server.files[urllib.parse.parse_qs(place.query)["filename"][0]])
        elif place.path == "/queue":
            self._send({"queue_running": [], "queue_pending": []})
        else:
            self._send({})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.headers_seen.append(dict(self.headers))
        if self._failed():
            return
        if self.path == "/upload/image":
            name = re.search(rb'filename="([^"]+)"', body)[1].decode()
            content = body.split(b"application/octet-stream\r\n\r\n", 1)[1].rpartition(b"\r\n--")[0]
            self.server.files[name] = content
            self._send({"name": name})
        elif self.path == "/prompt":
            self._send({"prompt_id": self.server.begin(json.loads(body)["prompt"])})
        elif self.path.endswith("/chat/completions"):
            asked = json.loads(body)
            with self.server.lock:
                self.server.asked.append(asked)
            time.sleep(self.server.delay_s)
            message = {"role": "assistant", "content": self.server.answer(asked)}
            reply = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
            self._send(reply | ({"usage": self.server.usage} if self.server.usage else {}))
        else:
            self._send({})

    def _failed(self) -> bool:
        status = self.server.fault(self.path)
        if status is None:
            return False
        if status:
            self._send({"error": {"message": "it failed on request"}}, status)
        else:
            self.close_connection = True
            self.connection.close()
        return True

    def _send(self, content, status=200) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args) -> None:
        """Quiet."""


@contextmanager
def editing():
    """A server that answers until the block ends."""
    with EditServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def text_of(asked: dict) -> str:
    """The words of a chat's last turn."""
    content = asked["messages"][-1]["content"]
    return content if isinstance(content, str) else content[-1]["text"]

"""A server that speaks chat completions and misbehaves on request."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def completion(text, **choice):
    return {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"} | choice]
    }


class Reply:
    """Status, body and what goes wrong while sending them."""

    def __init__(self, body=None, status=200, headers=None, cut=0, delay_s=0.0, chunked=False):
        self.body = body if isinstance(body, bytes) else json.dumps(completion("ok") if body is None else body).encode()
        self.status, self.headers, self.cut, self.delay_s, self.chunked = status, headers or {}, cut, delay_s, chunked


class FakeServer(ThreadingHTTPServer):
    """Answers each request with the next of `script` (the last one for ever) and keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[Reply | Callable[[dict], Reply]] = [Reply()]
        self.requests: list[dict] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.released = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request, client_address) -> None:
        """A client that hangs up early is part of these tests."""


@contextmanager
def serving() -> Iterator[FakeServer]:
    """A server that answers until the block ends; then no request is left waiting."""
    with FakeServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join()


class Handler(BaseHTTPRequestHandler):
    server: FakeServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(asked)
        self.server.headers.append(dict(self.headers))
        self.server.paths.append(self.path)
        script = self.server.script
        step = script.pop(0) if len(script) > 1 else script[0]
        self._send(step(asked) if callable(step) else step)

    def do_GET(self) -> None:
        """What a followed redirect would ask."""
        self.server.headers.append(dict(self.headers))
        self.server.paths.append(self.path)
        self._send(Reply(b"", 404))

    def _send(self, reply: Reply) -> None:
        self.server.released.wait(reply.delay_s)
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            body = b"%x\r\n%s\r\n" % (len(reply.body), reply.body) + b"0\r\n\r\n"
        else:
            self.send_header("Content-Length", str(len(reply.body)))
            body = reply.body
        self.end_headers()
        self.wfile.write(body[: len(body) - reply.cut])
        self.close_connection = reply.cut > 0

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

"""The receiving half of a WebSocket client (RFC 6455), enough for the host's progress messages."""

from __future__ import annotations

import base64
import os
import socket
import struct
from collections.abc import Iterator

_TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x1, 0x2, 0x8, 0x9, 0xA


class WebSocketClosed(ConnectionError):
    """The peer went away or refused the upgrade."""


class WebSocket:
    """One connection; iterate over `messages` and `close` it from any thread."""

    def __init__(self, host: str, port: int, path: str, timeout: float = 10.0) -> None:
        self._socket = socket.create_connection((host, port), timeout=timeout)
        self._stream = self._socket.makefile("rb")
        self._handshake(f"{host}:{port}", path)
        self._socket.settimeout(None)

    def _handshake(self, authority: str, path: str) -> None:
        key = base64.b64encode(os.urandom(16)).decode("ascii")
        lines = (
            f"GET {path} HTTP/1.1",
            f"Host: {authority}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        )
        self._socket.sendall("\r\n".join((*lines, "", "")).encode("ascii"))
        status = self._stream.readline().decode("latin-1").strip()
        while self._stream.readline().strip():
            pass
        if " 101" not in status:
            self.close()
            raise WebSocketClosed(f"The server answered {status!r} instead of switching to WebSocket.")

    def messages(self) -> Iterator[str | bytes]:
        """Whole messages, text as str; ends when either side closes."""
        parts: list[bytes] = []
        kind = _TEXT
        try:
            while True:
                final, opcode, payload = self._frame()
                if opcode == _CLOSE:
                    return
                if opcode == _PING:
                    self._send(_PONG, payload)
                if opcode >= _CLOSE:
                    continue
                kind = opcode or kind
                parts.append(payload)
                if final:
                    whole, parts = b"".join(parts), []
                    yield whole.decode("utf-8") if kind == _TEXT else whole
        except (OSError, ValueError):
            return

    def close(self) -> None:
        """End the connection; a reader blocked in `messages` returns."""
        try:
            self._send(_CLOSE, b"")
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()

    def _frame(self) -> tuple[bool, int, bytes]:
        first, second = self._read(2)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack(">H", self._read(2))
        elif length == 127:
            (length,) = struct.unpack(">Q", self._read(8))
        return bool(first & 0x80), first & 0x0F, self._read(length)

    def _read(self, count: int) -> bytes:
        data = self._stream.read(count)
        if len(data) < count:
            raise WebSocketClosed("The connection ended inside a frame.")
        return data

    def _send(self, opcode: int, payload: bytes) -> None:
        """One short client frame; clients must mask theirs."""
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        self._socket.sendall(bytes((0x80 | opcode, 0x80 | len(payload))) + mask + masked)

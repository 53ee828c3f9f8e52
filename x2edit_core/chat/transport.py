"""One JSON request with every limit in place: total time, reply size, retries; and no secret in any message.

Standard library only: `requests` would add neither a total time-out nor a reply limit, and the core needs no other
part of it.
"""

from __future__ import annotations

import http.client
import json
import queue
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from .addresses import check_url, connect, host_of, is_private
from .bodies import BodyError, parsed, unpacked
from .protocol import ChatError, Poll, no_poll, printable
from .refusals import RejectedError, error_of, refusal_inside, refusal_of

__all__ = ["Limits", "RejectedError", "is_private", "post_json"]

LOADING_WAIT_S = 5.0
"""The longest wait between two questions to a server that is loading its model."""
CHUNK_BYTES = 64 * 1024
POLL_EVERY_S = 0.1
_AZURE = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")


@dataclass(frozen=True)
class Limits:
    """`timeout_s` bounds one attempt from connect to last byte; waits between attempts double from `first_wait_s`.

    A server that says that it is loading its model costs no attempt and is waited for, all in all for `timeout_s`.
    """

    timeout_s: float = 60.0
    attempts: int = 4
    first_wait_s: float = 0.5
    longest_wait_s: float = 20.0
    request_bytes: int = 24 * 1024 * 1024
    reply_bytes: int = 4 * 1024 * 1024


class _PassingError(Exception):
    """A fault worth another attempt; `wait_s` is what the server asked for."""

    def __init__(self, error: ChatError, wait_s: float | None = None) -> None:
        self.error = error
        self.wait_s = wait_s
        super().__init__(str(error))


@dataclass(frozen=True)
class _Call:
    """What is sent. A request is made of it for each attempt, as urllib changes one that goes through a proxy."""

    url: str
    body: bytes
    headers: Mapping[str, str]
    with_key: bool

    def request(self) -> urllib.request.Request:
        return urllib.request.Request(self.url, self.body, dict(self.headers), method="POST")  # noqa: S310 (checked)

    @property
    def encrypted(self) -> bool:
        return urlsplit(self.url).scheme == "https"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to an address the user never named."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        return None


def post_json(
    url: str, payload: Mapping[str, Any], key: str | None = None, limits: Limits | None = None, poll: Poll = no_poll
) -> Any:
    """POST `payload` to `url` and return the parsed reply; raises `ChatError`, and `RejectedError` for status 4xx.

    Whoever calls says that `key` belongs to `url`; where no key may go at all, none goes (see `addresses`).
    """
    check_url(url, key is not None)
    limits = limits or Limits()
    body = json.dumps(payload, ensure_ascii=False).encode()
    if len(body) > limits.request_bytes:
        found, allowed = len(body) >> 20, limits.request_bytes >> 20
        raise ChatError("too_large", f"The request has {found} MiB; at most {allowed} MiB are sent. Use fewer images.")
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if key is not None:
        headers |= _key_header(url, key)
    call = _Call(url, body, headers, key is not None)
    scrub = _scrubber(key)
    patience = _Patience(limits, url)
    while True:
        try:
            return _content(_within(limits.timeout_s, lambda: _attempt(call, limits, scrub), url, poll), url, scrub)
        except _PassingError as fault:
            _sleep(patience.wait_after(fault), poll)


class _Patience:
    """How long to wait after a fault, and when to give up."""

    def __init__(self, limits: Limits, url: str) -> None:
        if limits.attempts < 1:
            raise ChatError("unreachable", f"{url} was not asked: the limit on attempts is {limits.attempts}.")
        self._limits = limits
        self._attempts = 0
        self._loads = 0
        self._loading_since: float | None = None

    def wait_after(self, fault: _PassingError) -> float:
        """Seconds until the next attempt; raises the fault's error when there is none."""
        wait_s, enough = self._loading(fault) if fault.error.fault == "loading" else self._failing(fault)
        if enough:
            raise fault.error from None
        return wait_s

    def _failing(self, fault: _PassingError) -> tuple[float, bool]:
        wait_s = self._limits.first_wait_s * 2**self._attempts if fault.wait_s is None else fault.wait_s
        self._attempts += 1
        return wait_s, self._attempts >= self._limits.attempts or wait_s > self._limits.longest_wait_s

    def _loading(self, fault: _PassingError) -> tuple[float, bool]:
        now = time.monotonic()
        self._loading_since = now if self._loading_since is None else self._loading_since
        wait_s = max(self._limits.first_wait_s * 2 ** min(self._loads, 16), fault.wait_s or 0.0)
        wait_s = min(wait_s, LOADING_WAIT_S)
        self._loads += 1
        return wait_s, now + wait_s - self._loading_since > self._limits.timeout_s


def _key_header(url: str, key: str) -> dict[str, str]:
    """Azure reads keys in a header of its own; a bearer there is an identity's token."""
    return {"api-key": key} if host_of(url).endswith(_AZURE) else {"Authorization": f"Bearer {key}"}


def _scrubber(key: str | None) -> Callable[[str], str]:
    """Some servers quote the key they refuse."""
    return lambda text: text.replace(key, "***") if key else text


def _within(timeout_s: float, work: Callable[[], bytes], url: str, poll: Poll) -> bytes:
    """`work` in a thread, so that the total time is bounded however slowly bytes trickle, and `poll` can interrupt.

    A thread given up on ends at its own socket time-out.
    """
    results: queue.SimpleQueue[bytes | BaseException] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put(work())
        except BaseException as error:
            results.put(error)

    threading.Thread(target=run, name="x2edit-chat", daemon=True).start()
    deadline = time.monotonic() + timeout_s
    while (left := deadline - time.monotonic()) > 0:
        poll()
        try:
            result = results.get(timeout=min(POLL_EVERY_S, left))
        except queue.Empty:
            continue
        if isinstance(result, BaseException):
            raise result
        return result
    raise _timeout(url, timeout_s)


def _sleep(seconds: float, poll: Poll) -> None:
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        poll()
        time.sleep(min(POLL_EVERY_S, left))


def _timeout(url: str, timeout_s: float) -> ChatError:
    return ChatError("timeout", f"{url} did not finish its answer within {timeout_s:g} s. Raise the time-out?")


def _attempt(call: _Call, limits: Limits, scrub: Callable[[str], str]) -> bytes:
    """One request; faults worth another attempt come out as `_PassingError`."""
    url = call.url
    try:
        with _opener(call).open(call.request(), timeout=limits.timeout_s) as reply:
            return _read(reply, limits, url)
    except urllib.error.HTTPError as error:
        with error:
            raise _status_error(error, url, scrub) from None
    except TimeoutError as error:
        raise _timeout(url, limits.timeout_s) from error
    except urllib.error.URLError as error:
        raise _unreachable(error.reason, url, limits) from None
    except (http.client.IncompleteRead, ConnectionError) as error:
        problem = f"The connection to {url} was cut before the answer was complete ({type(error).__name__})."
        raise _PassingError(ChatError("unreachable", problem)) from None
    except http.client.HTTPException as error:
        problem = f"{url} does not speak HTTP as expected ({type(error).__name__}). Is the port right?"
        raise ChatError("bad_reply", problem) from None


def _opener(call: _Call) -> urllib.request.OpenerDirector:
    """Through no proxy where that could read a key, or where the server is on this machine or network.

    An encrypted call goes through one as a tunnel, whose ends the certificate proves.
    """
    readable = call.with_key and not call.encrypted
    direct = [urllib.request.ProxyHandler({})] if readable or is_private(call.url) else []
    return urllib.request.build_opener(_NoRedirect, _Plain(call), _Encrypted(call), *direct)


class _Checked:
    """Opens connections to checked addresses only. A proxy, which the machine's owner named, is taken as it is."""

    def __init__(self, call: _Call) -> None:
        super().__init__()
        self._call = call

    def _open(self, kind: Any, request: Any) -> Any:
        direct = request.host == urlsplit(self._call.url).netloc

        def made(*args: Any, **options: Any) -> Any:
            connection = kind(*args, **options)
            if direct:
                connection._create_connection = self._connect
            return connection

        return self.do_open(made, request)  # pyright: ignore[reportAttributeAccessIssue]

    def _connect(self, place: tuple[str, int], timeout: Any, *_: Any) -> socket.socket:
        return connect(self._call.url, place, timeout, self._call.with_key)


class _Plain(_Checked, urllib.request.HTTPHandler):
    def http_open(self, req: Any) -> Any:
        return self._open(http.client.HTTPConnection, req)


class _Encrypted(_Checked, urllib.request.HTTPSHandler):
    def https_open(self, req: Any) -> Any:
        return self._open(http.client.HTTPSConnection, req)


def _read(reply: Any, limits: Limits, url: str) -> bytes:
    """The whole body; `read1` returns what has arrived, so that a trickle meets the deadline here too."""
    body, deadline = bytearray(), time.monotonic() + limits.timeout_s
    while chunk := reply.read1(CHUNK_BYTES):
        body += chunk
        if len(body) > limits.reply_bytes:
            raise _too_long(url, limits)
        if time.monotonic() > deadline:
            raise _timeout(url, limits.timeout_s)
    promised = reply.headers.get("Content-Length", "")
    if promised.isdigit() and len(body) < int(promised):
        raise http.client.IncompleteRead(bytes(body), int(promised) - len(body))
    try:
        content = unpacked(bytes(body), reply.headers.get("Content-Encoding", ""), limits.reply_bytes)
    except BodyError as error:
        raise ChatError("bad_reply", f"{url} answered {error}.") from None
    if len(content) > limits.reply_bytes:
        raise _too_long(url, limits)
    return content


def _too_long(url: str, limits: Limits) -> ChatError:
    problem = f"The answer of {url} is longer than {limits.reply_bytes >> 10} KiB; it was not read on."
    return ChatError("too_large", problem)


def _unreachable(reason: object, url: str, limits: Limits) -> Exception:
    if isinstance(reason, TimeoutError):
        return _timeout(url, limits.timeout_s)
    if isinstance(reason, ssl.SSLError):
        return ChatError("unreachable", f"{url} offers no connection that can be trusted ({reason.reason}).")
    if isinstance(reason, socket.gaierror):
        return ChatError("unreachable", f"{urlsplit(url).hostname} is not a known host. Check the base URL.")
    problem = f"{url} cannot be reached ({reason}). Is the server running, and is the port right?"
    return _PassingError(ChatError("unreachable", problem))


def _status_error(error: urllib.error.HTTPError, url: str, scrub: Callable[[str], str]) -> Exception:
    status = error.code
    if 300 <= status < 400:
        target = printable(error.headers.get("Location", "another address"))
        return RejectedError(f"{url} redirects to {target}. Put the final address in as base URL.", "")
    refusal = refusal_of(status, scrub(_text(error)))
    found = error_of(refusal, url)
    return _PassingError(found, _asked_wait(error)) if refusal.passing else found


def _asked_wait(error: urllib.error.HTTPError) -> float | None:
    """Seconds from `Retry-After`; its other form, a date, is ignored."""
    try:
        return max(0.0, float(error.headers.get("Retry-After", "")))
    except ValueError:
        return None


def _text(error: urllib.error.HTTPError) -> str:
    """What the server says about its refusal, as far as it can be read."""
    try:
        body = unpacked(error.read(CHUNK_BYTES), error.headers.get("Content-Encoding", ""), CHUNK_BYTES)
    except (OSError, http.client.HTTPException, BodyError):
        return ""
    return body.decode("utf-8-sig", "replace")


def _content(body: bytes, url: str, scrub: Callable[[str], str]) -> Any:
    """The parsed reply; an error that stands in it is raised like one with a status of its own."""
    try:
        content = parsed(body)
    except BodyError as error:
        start = scrub(" ".join(body.decode("utf-8", "replace").split()))[:80]
        raise ChatError("bad_reply", f"{url} answered {error}: {start!r}.") from None
    refusal = refusal_inside(content)
    if refusal is None:
        return content
    found = error_of(replace(refusal, reason=scrub(refusal.reason)), url)
    raise _PassingError(found) if refusal.passing else found

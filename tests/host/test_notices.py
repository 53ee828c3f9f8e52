"""Words on nodes: said once in the log, shown to whoever queued the run, harmless in any page."""

from __future__ import annotations

import logging
import re
import struct
import threading
import urllib.parse
import uuid

import pytest
from devkit.layout import REPO

from x2edit_core.workflow.client import Client
from x2edit_core.workflow.websocket import WebSocket

from .runs import edit_graph

TEXT_EVENT = 3


@pytest.fixture
def notices(pack):
    return pack.core("comfy_bridge.notices")


def test_a_notice_is_said_once_and_memory_of_notices_is_bounded(notices, monkeypatch, caplog):
    monkeypatch.setattr(notices, "_said", {})
    with caplog.at_level(logging.WARNING, "x2edit"):
        for _ in range(2):
            notices.say_once("first", "look")
        assert [record.message for record in caplog.records] == ["look"]
        for number in range(3 * notices.REMEMBERED):
            notices.say_once(f"other {number}", "look")
    assert len(notices._said) == notices.REMEMBERED


def test_the_memory_of_nodes_is_bounded(notices, monkeypatch):
    monkeypatch.setattr(notices, "_words", {})
    for number in range(3 * notices.SHOWN_NODES):
        notices.show_on_node("report", str(number))
    assert len(notices._words) == notices.SHOWN_NODES


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, 50 % & more\n第二行", "plain text, 50 % & more\n第二行"),
        ("<img src=x onerror=alert(1)>", "‹img src=x onerror=alert(1)›"),
        ("&lt;b&gt;", "&lt;b&gt;"),
        ('http://a/"onclick="x', "http://a/”onclick=”x"),
        ("\x1b[2J\x07red\x1b[0m\x9b1m", "[2Jred[0m1m"),
        ("a\u202eb\ud800c\x00d\r\n", "abcd\n"),
    ],
)
def test_words_of_others_are_made_harmless(notices, text, shown):
    assert notices.harmless(text) == shown
    assert notices.harmless(shown) == shown


def test_a_log_line_holds_no_percent_or_terminal_command(notices, monkeypatch, caplog):
    monkeypatch.setattr(notices, "_said", {})
    with caplog.at_level(logging.WARNING, "x2edit"):
        notices.say_once("key", "100 %s \x1b[2J done")
    assert caplog.messages == ["100 %s [2J done"]


def test_nothing_but_the_notices_speaks_on_nodes():
    sources = [path for part in ("nodes", "x2edit_core") for path in sorted((REPO / part).rglob("*.py"))]
    speaking = [path.name for path in sources if "send_progress_text" in path.read_text(encoding="utf-8")]
    assert speaking == ["notices.py"]
    bridge = [path for path in sources if path.parent.name in ("comfy_bridge", "nodes") and path.name != "notices.py"]
    logged = [path.name for path in bridge if re.search(r"\blog\.(warning|error)\(", path.read_text(encoding="utf-8"))]
    assert logged == [], "a warning that only the log gets is one that nobody sees"


class Listener:
    """A page that keeps the words it is sent, as (node, text)."""

    def __init__(self, server):
        self.id, self.words = uuid.uuid4().hex, []
        address = urllib.parse.urlsplit(server.url)
        self._socket = WebSocket(address.hostname, address.port, f"/ws?clientId={self.id}")
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self):
        for message in self._socket.messages():
            if isinstance(message, bytes) and struct.unpack(">I", message[:4])[0] == TEXT_EVENT:
                length = struct.unpack(">I", message[4:8])[0]
                self.words.append((message[8 : 8 + length].decode(), message[8 + length :].decode()))

    def close(self):
        self._socket.close()
        self._thread.join(5)


def test_words_go_to_whoever_queued_the_run_and_warnings_stay_above_the_report(server):
    graph = edit_graph(seed=31)
    del graph["apply"]["inputs"]["task"], graph["task"]
    graph["apply"]["inputs"]["strength"] = 0.93
    graph["name"] = {"class_type": "X2EditClassify", "inputs": {"instruction": "ünklar", "minimum_confidence": 1.0}}
    graph["seen"] = {"class_type": "PreviewAny", "inputs": {"source": ["name", 1]}}
    owner, other = Listener(server), Listener(server)
    try:
        client = Client(server.url)
        client.client_id = owner.id
        client.run(graph)
    finally:
        owner.close()
        other.close()
    assert other.words == [], "its graph has nodes of the same numbers"
    words = dict(owner.words)
    assert "no task is connected" in words["apply"]
    *warning, report = words["name"].splitlines()
    assert warning[0].startswith("Classifier: ") and re.fullmatch(r"other \(0\.\d+\)", report)


def test_words_about_a_runs_own_inputs_are_logged_each_time_and_shown_above_the_report(notices, monkeypatch, caplog):
    from comfy_execution.utils import CurrentNodeContext

    shown = []
    monkeypatch.setattr(notices, "_words", {})
    monkeypatch.setattr(notices, "_send", lambda node, text: shown.append((node, text)))
    with caplog.at_level(logging.WARNING, "x2edit"):
        for run in ("one", "two"):
            with CurrentNodeContext(run, "7"):
                notices.say("first")
                notices.say("second")
                notices.say("first")
                notices.show_on_node("result", "7")
    assert shown == [("7", "first"), ("7", "first\nsecond"), ("7", "first\nsecond\nresult")] * 2
    assert caplog.messages == ["first", "second", "first"] * 2

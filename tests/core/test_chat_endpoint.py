"""The endpoint chat against a real server on this machine, with every fault a server can have."""

from __future__ import annotations

import base64
import io
import json
import logging
import math
import time

import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from x2edit_core.chat import Chat, ChatError, Message
from x2edit_core.chat.addresses import completions_url
from x2edit_core.chat.endpoint import EndpointChat
from x2edit_core.chat.keys import Keyring
from x2edit_core.chat.transport import Limits
from x2edit_core.choosing.judge import ChatJudge, pair_prompt
from x2edit_core.errors import X2EditError

from .chat_server import Handler, Reply, completion, serving

KEY = "sk-do-not-show-this"
QUICK = Limits(timeout_s=5.0, attempts=3, first_wait_s=0.01, longest_wait_s=0.5, reply_bytes=64 * 1024)
HELLO = [Message("user", "Hello")]


@pytest.fixture
def server():
    with serving() as server:
        yield server


@pytest.fixture
def chat(server):
    return EndpointChat(server.address, "tiny", limits=QUICK)


def test_endpoint_is_a_chat(chat):
    assert isinstance(chat, Chat)
    assert chat.vision is False
    assert "tiny" in chat.name


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1/chat/completions"),
        ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000/v1/chat/completions"),
        (" https://example.org/openai/v1 ", "https://example.org/openai/v1/chat/completions"),
        ("https://example.org/v1/chat/completions", "https://example.org/v1/chat/completions"),
        (
            "https://Mine.OpenAI.azure.com/openai/deployments/gpt-4o?api-version=2024-10-21",
            "https://mine.openai.azure.com/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
        ),
        ("http://ollama.:11434", "http://ollama:11434/v1/chat/completions"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1/chat/completions"),
        ("https://example.org/模型/v1", "https://example.org/%E6%A8%A1%E5%9E%8B/v1/chat/completions"),
    ],
)
def test_base_urls(base, expected):
    assert completions_url(base) == expected


@pytest.mark.parametrize(
    "base", ["", "example.org", "ftp://example.org", "file:///etc/passwd", "http://", "http://[::1", "http://h:99999"]
)
def test_addresses_that_are_none(base):
    with pytest.raises(ChatError, match="base URL"):
        completions_url(base)


@pytest.mark.parametrize(
    "base",
    [
        f"http://u:{KEY}@h/v1",
        f"https://{KEY}@h/v1",
        f"https://h/v1?api_key={KEY}",
        f"https://h/v1?code={KEY}",
        f"https://h/v1?api-version=1&k={KEY}",
        f"https://h/v1?{KEY}",
        f"https://h/v1?api-version={KEY * 3}",
        f"https://h/v1#{KEY}",
    ],
)
def test_secrets_in_the_address_are_refused_unseen(base):
    with pytest.raises(ChatError) as caught:
        completions_url(base)
    assert KEY not in str(caught.value)


def test_a_request_holds_what_was_said(server, chat):
    server.script = [Reply(completion("  <think></think>\nremove "))]
    messages = [Message("system", "Be brief."), Message("user", "改成蓝色"), Message("assistant", "?"), HELLO[0]]
    assert chat.generate(messages, max_tokens=7) == "remove"
    asked = server.requests[0]
    assert [(turn["role"], turn["content"]) for turn in asked["messages"]] == [(m.role, m.text) for m in messages]
    assert (asked["model"], asked["max_tokens"], asked["temperature"], asked["stream"]) == ("tiny", 7, 0, False)
    assert server.paths == ["/v1/chat/completions"]
    assert "Authorization" not in server.headers[0]


def test_images_are_sent_within_the_limit(server):
    chat = EndpointChat(server.address, "tiny", vision=True, limits=QUICK, longest_image_px=16)
    image = torch.rand(64, 32, 3)
    chat.generate([Message("user", "What is it?", (image, Image.new("L", (8, 8))))])
    parts = server.requests[0]["messages"][0]["content"]
    assert [part["type"] for part in parts] == ["image_url", "image_url", "text"]
    sizes = [
        Image.open(io.BytesIO(base64.b64decode(part["image_url"]["url"].partition(",")[2]))).size for part in parts[:2]
    ]
    assert sizes == [(8, 16), (8, 8)]


def test_a_request_carries_the_named_pictures_and_texts_and_nothing_else(server, monkeypatch):
    """Byte by byte: no further field, picture, header, file name or text that a picture's file had in it."""
    monkeypatch.setenv("X2EDIT_OTHER", KEY)
    told = PngInfo()
    told.add_text("prompt", "a private workflow")
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x010E] = "a private place"
    Image.new("RGB", (8, 8), (9, 8, 7)).save(buffer, "PNG", pnginfo=told, exif=exif, icc_profile=b"a private profile")
    dressed = Image.open(io.BytesIO(buffer.getvalue()))
    assert b"private" in buffer.getvalue() and dressed.info
    plain = torch.zeros(8, 8, 4)
    plain[..., 3] = torch.rand(8, 8)
    chat = EndpointChat(server.address, "tiny", vision=True, limits=QUICK)
    chat.generate([Message("system", "Be brief."), Message("user", "What is it?", (dressed, plain))], max_tokens=5)
    (asked,) = server.requests
    (system, question) = asked.pop("messages")
    assert asked == {
        "model": "tiny", "temperature": 0, "seed": 0, "stream": False, "max_tokens": 5,
        "chat_template_kwargs": {"enable_thinking": False},
    }  # fmt: skip
    assert system == {"role": "system", "content": "Be brief."}
    assert question.keys() == {"role", "content"}
    *pictures, words = question["content"]
    assert words == {"type": "text", "text": "What is it?"}
    files = []
    for part in pictures:
        assert part.keys() == {"type", "image_url"} and part["image_url"].keys() == {"url"}
        head, _, data = part["image_url"]["url"].partition(",")
        assert head == "data:image/png;base64"
        files.append(base64.b64decode(data))
    bare = [io.BytesIO(), io.BytesIO()]
    for colour, target in zip([(9, 8, 7), (0, 0, 0)], bare, strict=True):
        Image.new("RGB", (8, 8), colour).save(target, "PNG")
    assert files == [target.getvalue() for target in bare], "pixels alone; not even transparency"
    assert set(server.headers[0]) == {
        "Accept", "Accept-Encoding", "Connection", "Content-Length", "Content-Type", "Host", "User-Agent",
    }  # fmt: skip
    assert KEY not in json.dumps(server.headers)


def test_a_judgement_sends_two_edits_a_source_and_the_question(server):
    """What leaves the machine for one comparison: three pictures of that comparison, no other candidate."""
    chat = EndpointChat(server.address, "tiny", vision=True, limits=QUICK)
    server.script = [Reply(completion("1"))]
    source, a, b = (torch.full((8, 8, 3), shade) for shade in (0.0, 0.4, 0.8))
    ChatJudge(chat, debias=True).compare(source, a, b, "make it red")
    shades = []
    for asked in server.requests:
        (message,) = asked["messages"]
        *pictures, words = message["content"]
        assert words["text"] == pair_prompt("make it red")
        data = [base64.b64decode(part["image_url"]["url"].partition(",")[2]) for part in pictures]
        shades.append([Image.open(io.BytesIO(item)).getpixel((0, 0))[0] for item in data])
    assert {tuple(row) for row in shades} == {(102, 204, 0), (204, 102, 0)}


def test_a_blind_model_is_not_shown_images(server, chat):
    with pytest.raises(ChatError, match="cannot see") as caught:
        chat.generate([Message("user", "x", (Image.new("RGB", (4, 4)),))])
    assert caught.value.fault == "unsupported"
    assert server.requests == []


def test_a_request_that_is_too_large_is_not_sent(server):
    limits = Limits(request_bytes=1000)
    with pytest.raises(ChatError, match="fewer images") as caught:
        EndpointChat(server.address, "tiny", limits=limits).generate([Message("user", "x" * 2000)])
    assert caught.value.fault == "too_large"
    assert server.requests == []


@pytest.mark.parametrize(
    "passing",
    [
        Reply({"error": {"message": "slow down"}}, 429),
        Reply({"error": {"message": "slow down"}}, 429, {"Retry-After": "0"}),
        Reply(b"<html>oops</html>", 500),
        Reply({"error": "warming up"}, 503),
        Reply(completion("half an answer"), cut=10),
        Reply(completion("half an answer"), cut=12, chunked=True),
    ],
    ids=["429", "retry-after", "500", "503", "cut", "cut-chunk"],
)
def test_passing_faults_are_tried_again(server, chat, passing):
    server.script = [passing, Reply(completion("at last"))]
    assert chat.generate(HELLO) == "at last"
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("reply", "fault", "asked"),
    [
        (Reply({"error": {"message": "slow down"}}, 429), "rate_limit", 3),
        (Reply({"error": {"message": "slow down"}}, 429, {"Retry-After": "3600"}), "rate_limit", 1),
        (Reply(b"", 500), "server", 3),
        (Reply(b"", 501), "server", 1),
        (Reply(completion("x"), cut=5), "unreachable", 3),
        (Reply({"error": {"message": "no such model"}}, 404), "rejected", 1),
        (Reply({"error": {"message": "bad"}}, 400), "rejected", 1),
        (Reply(b"", 401), "authentication", 1),
        (Reply(b"", 403), "authentication", 1),
        (Reply(b"", 413), "too_large", 1),
        (Reply(b"{not json"), "bad_reply", 1),
        (Reply(b"[" * 50_000), "bad_reply", 1),
        (Reply(b"\xff\xfe\x00"), "bad_reply", 1),
        (Reply(b"x" * 70_000), "too_large", 1),
        (Reply([1, 2]), "bad_reply", 1),
        (Reply({"choices": []}), "bad_reply", 1),
        (Reply({"choices": [{"message": None}]}), "bad_reply", 1),
        (Reply(completion(None)), "bad_reply", 1),
        (Reply(completion("", finish_reason="length")), "bad_reply", 3),
        (Reply(completion({"text": "x"})), "bad_reply", 1),
    ],
    ids=lambda value: getattr(value, "status", None) or str(value),
)
def test_lasting_faults_are_named_and_bounded(server, chat, reply, fault, asked):
    server.script = [reply]
    with pytest.raises(ChatError) as caught:
        chat.generate(HELLO)
    assert caught.value.fault == fault
    assert len(server.requests) == asked
    assert "127.0.0.1" in str(caught.value)


def test_content_in_parts_is_joined(server, chat):
    server.script = [Reply(completion([{"type": "text", "text": "re"}, {"type": "text", "text": "move"}]))]
    assert chat.generate(HELLO) == "remove"


def test_the_servers_reason_is_shown_briefly(server, chat):
    server.script = [Reply({"error": {"message": "context is too long\n" + "x" * 5000}}, 400)]
    with pytest.raises(ChatError, match="context is too long x") as caught:
        chat.generate(HELLO)
    assert len(str(caught.value)) < 600


def test_a_slow_answer_times_out_once(server):
    server.script = [Reply(delay_s=30)]
    chat = EndpointChat(server.address, "tiny", limits=Limits(timeout_s=0.3))
    with pytest.raises(ChatError, match=r"0\.3 s") as caught:
        chat.generate(HELLO)
    assert caught.value.fault == "timeout"
    assert len(server.requests) == 1


def test_a_trickle_times_out_as_a_whole(server):
    def trickle(handler, reply):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        while not server.released.wait(0.05):
            handler.wfile.write(b" ")

    server.RequestHandlerClass = type("Trickle", (Handler,), {"_send": trickle})
    chat = EndpointChat(server.address, "tiny", limits=Limits(timeout_s=0.4))
    with pytest.raises(ChatError) as caught:
        chat.generate(HELLO)
    assert caught.value.fault == "timeout"


@pytest.mark.parametrize("script", [[Reply(delay_s=30)], [Reply(b"", 503)]], ids=["waiting", "between attempts"])
def test_an_interrupt_ends_the_wait(server, script):
    class Interrupted(Exception):
        pass

    def poll():
        if server.requests and time.monotonic() > started + 0.2:
            raise Interrupted

    started = time.monotonic()
    server.script = script
    limits = Limits(timeout_s=60, first_wait_s=20)
    with pytest.raises(Interrupted):
        EndpointChat(server.address, "tiny", limits=limits, poll=poll).generate(HELLO)
    assert len(server.requests) == 1


def test_nobody_listening_is_said_plainly(server):
    address = server.address
    server.server_close()
    with pytest.raises(ChatError, match="Is the server running") as caught:
        EndpointChat(address, "tiny", limits=QUICK).generate(HELLO)
    assert caught.value.fault == "unreachable"


def test_the_key_reaches_the_server_and_nothing_else(server, monkeypatch, caplog):
    monkeypatch.setenv("X2EDIT_ENDPOINT_TINY_URL", server.address)
    monkeypatch.setenv("X2EDIT_ENDPOINT_TINY_KEY", KEY)
    chat = EndpointChat(server.address, "tiny", limits=QUICK, pair=Keyring().pair("TINY"))
    with caplog.at_level(logging.DEBUG):
        assert chat.generate(HELLO) == "ok"
        assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
        assert KEY not in json.dumps(server.requests)
        assert KEY not in repr(vars(chat)) + chat.name
        for status in (400, 401, 404, 500):
            server.script = [Reply({"error": {"message": f"bad key {KEY}"}}, status)]
            with pytest.raises(ChatError) as caught:
                chat.generate(HELLO)
            assert KEY not in str(caught.value)
            assert caught.value.__cause__ is None
        server.script = [Reply(f"no json {KEY}".encode())]
        with pytest.raises(ChatError) as caught:
            chat.generate(HELLO)
        assert KEY not in str(caught.value)
    assert KEY not in caplog.text


def test_fields_a_server_refuses_are_reworded(server, chat):
    def picky(asked):
        for field in ("chat_template_kwargs", "temperature"):
            if field in asked:
                return Reply({"error": {"message": f"Unsupported parameter: {field}"}}, 400)
        if "max_tokens" in asked:
            return Reply({"error": {"message": "Use 'max_completion_tokens' instead of 'max_tokens'."}}, 400)
        return Reply(completion("fine"))

    server.script = [picky]
    assert chat.generate(HELLO, max_tokens=9) == "fine"
    assert server.requests[-1]["max_completion_tokens"] == 9
    assert len(server.requests) == 4


def ranked(**table):
    top = [{"token": token, "logprob": value} for token, value in table.items()]
    return Reply(completion("1", logprobs={"content": [{"token": "1", "logprob": -0.1, "top_logprobs": top}]}))


def test_scores_come_from_the_first_token(server, chat):
    server.script = [ranked(**{"1": -0.5, " 1": -1.5, "2": -2.0, "x": -6.0})]
    one, two, three = chat.score(HELLO, ["1", "2", "3"])
    assert one == pytest.approx(math.log(math.exp(-0.5) + math.exp(-1.5)))
    assert (two, three) == (-2.0, -6.0)
    asked = server.requests[0]
    assert (asked["max_tokens"], asked["logprobs"]) == (1, True)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(),
        Reply(completion("1", logprobs=None)),
        Reply(completion("1", logprobs={"content": []})),
        Reply(completion("1", logprobs={"content": [{"top_logprobs": [{"token": "1"}]}]})),
        Reply(completion("1", logprobs={"content": [{"top_logprobs": "none"}]})),
        Reply({"error": {"message": "logprobs is not supported by this model"}}, 400),
        ranked(a=-1.0),
        ranked(**{"1": float("nan")}),
    ],
)
def test_no_scores_where_the_server_gives_none(server, chat, reply):
    server.script = [reply]
    assert chat.score(HELLO, ["1", "2"]) is None


def test_no_scores_where_one_answer_begins_another(server, chat):
    server.script = [ranked(**{"1": -0.5})]
    assert chat.score(HELLO, ["1", "12"]) is None
    assert server.requests == []


def test_scoring_that_fails_is_an_error_not_none(server, chat):
    server.script = [Reply(b"", 500)]
    with pytest.raises(ChatError):
        chat.score(HELLO, ["1", "2"])


@pytest.mark.parametrize("answers", [[], ["a", "a"], ["a", ""]])
def test_answers_must_differ(chat, answers):
    with pytest.raises(X2EditError, match="different"):
        chat.score(HELLO, answers)


@pytest.mark.parametrize("messages", [[], [Message("user", "a"), Message("assistant", "b")]])
def test_there_must_be_something_to_answer(chat, messages):
    with pytest.raises(ChatError, match="nothing to answer"):
        chat.generate(messages)

"""Keys and where they go: to the host that they are bound to outside any graph, on a real server; nowhere else."""

from __future__ import annotations

import json
import os
import socket
import threading
from contextlib import contextmanager

import pytest

from x2edit_core.chat import ChatError, Message, transport
from x2edit_core.chat.addresses import completions_url
from x2edit_core.chat.endpoint import EndpointChat
from x2edit_core.chat.keys import PROVIDERS, Keyring, written_by_hand
from x2edit_core.chat.transport import Limits

from .chat_server import Reply, serving

KEY, OTHER_KEY = "sk-do-not-show-this", "sk-nor-this-one"
QUICK = Limits(timeout_s=5.0, attempts=2, first_wait_s=0.01)
HELLO = [Message("user", "Hello")]


@pytest.fixture
def mine():
    with serving() as server:
        yield server


@pytest.fixture
def thief():
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def no_other_pairs(monkeypatch):
    for name in [*os.environ]:
        if name.startswith("X2EDIT_ENDPOINT_") or name.lower().endswith("_proxy") or name in PROVIDERS:
            monkeypatch.delenv(name)


def bind(monkeypatch, url, key=KEY, name="MINE"):
    monkeypatch.setenv(f"X2EDIT_ENDPOINT_{name}_URL", url)
    monkeypatch.setenv(f"X2EDIT_ENDPOINT_{name}_KEY", key)


def chat_with(name="MINE", file=None):
    pair = Keyring(file).pair(name)
    return EndpointChat(pair.url, "m", limits=QUICK, pair=pair)


def resolving(monkeypatch, **names):
    """Name → addresses, in place of the resolver; everything else goes to the real one. Returns what was looked up."""
    real, asked = socket.getaddrinfo, []

    def answer(host, port, *args, **options):
        asked.append(host)
        if host not in names:
            return real(host, port, *args, **options)
        found = names[host].pop(0) if isinstance(names[host][0], list) else names[host]
        families = [(socket.AF_INET6 if ":" in address else socket.AF_INET, address) for address in found]
        return [(family, socket.SOCK_STREAM, 6, "", (address, port)) for family, address in families]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return asked


def everything(*servers):
    return json.dumps([[server.headers, server.requests, server.paths] for server in servers])


def test_a_strangers_graph_cannot_send_a_key_to_its_author(thief, monkeypatch):
    for variable in ("OPENAI_API_KEY", "SOME_API_TOKEN", "X2EDIT_ANYTHING", "AZURE_OPENAI_API_KEY"):
        monkeypatch.setenv(variable, KEY)
        with pytest.raises(
            ChatError, match=f"{variable} is not bound to {thief.address}.*X2EDIT_ENDPOINT_MINE_URL"
        ) as caught:
            EndpointChat(thief.address, "m", variable, limits=QUICK)
        assert KEY not in str(caught.value)
    assert thief.requests == []
    assert EndpointChat(thief.address, "m", limits=QUICK).generate(HELLO) == "ok", (
        "without a key any address may be asked"
    )
    assert KEY not in everything(thief)


@pytest.mark.parametrize("name", ["X2EDIT_ENDPOINT_MINE_KEY", "X2EDIT_ENDPOINT_MINE_URL", "X2EDIT_ENDPOINT_"])
def test_bound_keys_are_no_variables_of_a_graph(mine, monkeypatch, name):
    bind(monkeypatch, mine.address)
    with pytest.raises(ChatError, match="choose the name it stands for as endpoint"):
        EndpointChat(mine.address, "m", name)
    with pytest.raises(ChatError, match="choose the name"):
        written_by_hand(mine.address, name)


@pytest.mark.parametrize(
    "base",
    [
        "https://api.openai.com",
        "https://api.openai.com/v1/",
        "https://API.OpenAI.com:443/v1",
        "https://api.openai.com./v1/chat/completions",
    ],
)
def test_a_provider_gets_its_own_key(base, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    chat = EndpointChat(base, "m", "OPENAI_API_KEY")
    assert chat._key() == KEY
    assert chat.url.startswith("https://api.openai.com")
    assert chat.warning == ""


@pytest.mark.parametrize(
    "base",
    [
        "http://api.openai.com/v1",
        "https://api.openai.com:8443/v1",
        "https://api.openai.com.evil.example/v1",
        "https://evil.example/api.openai.com/v1",
        "https://xapi.openai.com/v1",
        "https://openai.com/v1",
        "https://api。openai.com.evil.example/v1",
        "https://\u0430pi.openai.com/v1",
        "https://xn--pi-7kc.openai.com/v1",
        "https://api.openai.com@evil.example/v1",
        "https://api.openai.com:x@evil.example/v1",
        "https://@api.openai.com/v1",
        "https://evil.example\\@api.openai.com/v1",
        "https://api.openai.com\\.evil.example/v1",
        "https://api.openai.com\n.evil.example/v1",
        "https://api.openai.com%2eevil.example/v1",
        "https://api.groq.com/openai/v1",
        "https://169.254.169.254/v1",
    ],
)
def test_another_host_does_not(base, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(ChatError) as caught:
        EndpointChat(base, "m", "OPENAI_API_KEY")
    assert KEY not in str(caught.value)


def test_no_provider_is_a_host_where_anyone_rents_a_name():
    hosts = [host for found in PROVIDERS.values() for host in found]
    rented = ("azure.com", "amazonaws.com", "run.app", "workers.dev", "hf.space", "ngrok.io", "cloudflare.com")
    assert not [host for host in hosts if host.endswith(rented)]
    assert all(completions_url(f"https://{host}") for host in hosts)


def test_a_bound_server_gets_its_key_and_a_graph_names_it_only(mine, monkeypatch, tmp_path):
    file = write(tmp_path, {"Office": {"url": f"{mine.address}/v1", "key": KEY}})
    assert Keyring(file).names() == ["Office"]
    chat = chat_with("Office", file)
    assert chat.generate(HELLO) == "ok"
    assert mine.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert KEY not in repr(vars(chat)) + repr(chat._pair) + chat.name + chat.warning
    assert "unencrypted" in chat.warning


def test_a_graph_that_names_a_bound_address_by_hand_keeps_working(mine, monkeypatch, tmp_path):
    monkeypatch.setenv("LAN_API_KEY", OTHER_KEY)
    file = write(tmp_path, {"Office": {"url": mine.address, "key_variable": "LAN_API_KEY"}})
    pair = Keyring(file).pair_for("LAN_API_KEY", completions_url(mine.address))
    assert pair.key_for(completions_url(f"{mine.address}/")) == OTHER_KEY
    for variable, address in [("OPENAI_API_KEY", mine.address), ("LAN_API_KEY", f"{mine.address}/elsewhere/v1")]:
        with pytest.raises(ChatError, match="is not bound to"):
            Keyring(file).pair_for(variable, completions_url(address))
    bind(monkeypatch, mine.address)
    assert EndpointChat(mine.address, "m", "ANY_API_KEY", limits=QUICK).generate(HELLO) == "ok"
    assert mine.headers[-1]["Authorization"] == f"Bearer {KEY}", "the key that is bound there, whatever it was called"
    with pytest.raises(ChatError, match="does not get it"):
        Keyring().pair("MINE").key_for("http://127.0.0.1:9/v1/chat/completions")


def test_an_address_bound_without_a_key_gets_none(mine, monkeypatch):
    monkeypatch.setenv("X2EDIT_ENDPOINT_MINE_URL", mine.address)
    chat = chat_with()
    assert chat.generate(HELLO) == "ok" and chat.warning == ""
    assert KEY not in everything(mine)
    monkeypatch.setenv("X2EDIT_ENDPOINT_OPEN_URL", "http://open.example/v1")
    chat_with("OPEN")


def test_a_pair_bound_anew_under_a_running_chat_sends_nothing(mine, thief, monkeypatch):
    bind(monkeypatch, mine.address)
    chat = chat_with()
    bind(monkeypatch, thief.address, OTHER_KEY)
    with pytest.raises(ChatError, match="bound to another address"):
        chat.generate(HELLO)
    assert mine.requests == thief.requests == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("other_scheme", ["http", "https"])
def test_a_redirect_takes_no_key_along(mine, thief, monkeypatch, status, other_scheme):
    bind(monkeypatch, mine.address)
    target = thief.address.replace("http", other_scheme) + "/steal"
    mine.script = [Reply(b"", status, {"Location": target})]
    with pytest.raises(ChatError, match="redirects to http"):
        chat_with().generate(HELLO)
    assert len(mine.requests) == 1
    assert thief.paths == [] and KEY not in everything(thief)


@contextmanager
def listening():
    """What is sent to a socket that answers nothing; a proxy that only listens."""
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        done = threading.Event()

        def listen():
            while not done.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.settimeout(1)
                    heard.append(connection.recv(65536))

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", heard
        done.set()
        thread.join()


@pytest.fixture
def proxy(monkeypatch):
    with listening() as (address, heard):
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, address)
        yield heard


def test_a_proxy_never_sees_a_key(mine, proxy, monkeypatch):
    bind(monkeypatch, mine.address)
    assert chat_with().generate(HELLO) == "ok", "a server of one's own is reached directly"
    resolving(monkeypatch, box=["127.0.0.1"], **{"box.example": ["127.0.0.1"]})
    port = mine.server_port
    bind(monkeypatch, f"http://box:{port}/v1")
    assert chat_with().generate(HELLO) == "ok"
    assert proxy == [] and len(mine.requests) == 2
    bind(monkeypatch, "https://models.example/v1")
    with pytest.raises(ChatError):
        chat_with().generate(HELLO)
    assert len(proxy) == QUICK.attempts, "each attempt goes through the proxy"
    assert all(heard.startswith(b"CONNECT models.example:443 ") for heard in proxy)
    assert not any(KEY.encode() in heard or b"Hello" in heard for heard in proxy)


def test_without_a_key_a_proxy_is_used_as_ever(proxy):
    with pytest.raises(ChatError):
        EndpointChat("http://models.example/v1", "m", limits=QUICK).generate(HELLO)
    assert proxy and all(heard.startswith(b"POST http://models.example/") for heard in proxy)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("addresses", "told"),
    [
        (["169.254.169.254"], "It is not asked"),
        (["::ffff:169.254.169.254"], "It is not asked"),
        (["127.0.0.1", "169.254.169.254"], "It is not asked"),
        (["169.254.7.7"], "link-local"),
        (["fe80::1"], "link-local"),
        (["127.0.0.1", "fe80::1"], "link-local"),
    ],
)
def test_a_name_that_leads_to_such_an_address_gets_nothing(mine, monkeypatch, scheme, addresses, told):
    resolving(monkeypatch, **{"box": addresses})
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a connection was opened"))
    bind(monkeypatch, f"{scheme}://box:{mine.server_port}/v1")
    with pytest.raises(ChatError, match=told):
        chat_with().generate(HELLO)


def test_a_name_of_one_word_that_leads_outside_gets_no_key_in_the_clear(monkeypatch):
    resolving(monkeypatch, ollama=["8.8.8.8"])
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a connection was opened"))
    bind(monkeypatch, "http://ollama:11434")
    with pytest.raises(ChatError, match="unencrypted"):
        chat_with().generate(HELLO)


def test_a_name_is_looked_up_once_so_it_cannot_lead_elsewhere_later(mine, monkeypatch):
    asked = resolving(monkeypatch, box=[["127.0.0.1"], ["169.254.169.254"]])
    bind(monkeypatch, f"http://box:{mine.server_port}/v1")
    assert chat_with().generate(HELLO) == "ok"
    assert asked == ["box"]
    with pytest.raises(ChatError, match="It is not asked"):
        chat_with().generate(HELLO)


def test_the_second_address_of_a_name_is_tried(mine, monkeypatch):
    resolving(monkeypatch, box=["::1", "127.0.0.1"])
    bind(monkeypatch, f"http://box:{mine.server_port}/v1")
    assert chat_with().generate(HELLO) == "ok"


def test_azure_reads_the_key_in_its_own_header(mine, monkeypatch):
    host = "mine.openai.azure.com"
    resolving(monkeypatch, **{host: ["127.0.0.1"]})
    port = mine.server_port
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    pair = written_by_hand(f"http://{host}:{port}/openai/deployments/x?api-version=2024-10-21", "AZURE_OPENAI_API_KEY")
    with pytest.raises(ChatError, match="unencrypted"):
        EndpointChat(pair.url, "m", limits=QUICK, pair=pair)
    monkeypatch.setattr(transport, "check_url", lambda *_, **__: None)  # no certificate can be had for that name
    transport.post_json(pair.url, {"messages": []}, pair.read(), QUICK)
    assert mine.headers[0]["Api-Key"] == KEY and "Authorization" not in mine.headers[0]
    assert mine.paths == ["/openai/deployments/x/chat/completions?api-version=2024-10-21"]


def write(folder, content, mode=0o600):
    file = folder / "endpoints.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    file.chmod(mode)
    return file


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "JSONDecodeError"),
        ("[]", "no JSON object"),
        ('{"a": "b"}', "entry 'a'"),
        (json.dumps({"a": {"key": KEY}}), "entry 'a'"),
        ('{"a": {"url": "http://h", "key": 5}}', "entry 'a'"),
        (json.dumps({"a": {"url": "http://h", "kay": KEY}}), "entry 'a'"),
        ('{"none": {"url": "http://h"}}', "entry 'none'"),
        ("[" * 100_000, "cannot be used"),
    ],
)
def test_a_file_that_cannot_be_used_names_nothing_and_says_why(tmp_path, content, told):
    keys = Keyring(write(tmp_path, content))
    assert keys.names() == []
    assert told in keys.problem()
    with pytest.raises(ChatError, match="cannot be used") as caught:
        keys.pair("a")
    assert KEY not in str(caught.value) + keys.problem()


@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX's")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_file_that_others_may_read_is_refused(tmp_path, mode):
    keys = Keyring(write(tmp_path, {"a": {"url": "http://127.0.0.1", "key": KEY}}, mode))
    assert "chmod 600" in keys.problem() and keys.names() == []


@pytest.mark.skipif(os.name != "posix", reason="named pipes are POSIX's")
def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path / "pipe", tmp_path, tmp_path / ("x" * 300), tmp_path / "a\0b"):
        assert Keyring(path).names() == []
    assert Keyring(tmp_path / "missing").problem() == ""


def test_the_environment_wins_over_the_file(mine, monkeypatch, tmp_path):
    file = write(
        tmp_path, {"mine": {"url": "http://127.0.0.1:9", "key": OTHER_KEY}, "b": {"url": "http://127.0.0.1:9"}}
    )
    bind(monkeypatch, mine.address)
    assert Keyring(file).names() == ["MINE", "b"]


def test_an_unknown_name_says_how_to_bind_it(monkeypatch, tmp_path):
    bind(monkeypatch, "http://127.0.0.1:9", name="HOME")
    with pytest.raises(
        ChatError, match=r"No endpoint 'Office'.*bound are: HOME.*X2EDIT_ENDPOINT_NAME_URL.*endpoints\.json"
    ):
        Keyring(tmp_path / "endpoints.json").pair("Office")


def test_a_missing_key_names_the_variable(mine, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ChatError, match="OPENAI_API_KEY is not set") as caught:
        EndpointChat("https://api.openai.com/v1", "m", "OPENAI_API_KEY").generate(HELLO)
    assert caught.value.fault == "authentication"


@pytest.mark.parametrize("name", [KEY, "PATH", "AWS_SECRET_ACCESS_KEY", "tiny_api_key", "A_API_KEY x"])
def test_only_names_of_keys_are_taken_and_never_shown(name):
    for ask in (lambda: EndpointChat("http://127.0.0.1:1/v1", "m", name), lambda: written_by_hand("http://h", name)):
        with pytest.raises(ChatError) as caught:
            ask()
        assert name not in str(caught.value)


def test_a_configuration_run_by_hand_binds_what_stands_in_it(mine, monkeypatch):
    monkeypatch.setenv("TINY_API_KEY", KEY)
    pair = written_by_hand(mine.address, " TINY_API_KEY ")
    EndpointChat(mine.address, "m", limits=QUICK, pair=pair).generate(HELLO)
    assert mine.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert written_by_hand(mine.address, "") is None
    with pytest.raises(ChatError, match="unencrypted"):
        EndpointChat("http://example.org", "m", pair=written_by_hand("http://example.org", "TINY_API_KEY"))


def test_a_servers_words_cannot_command_a_terminal(mine):
    mine.script = [Reply({"error": {"message": "bad \x1b[2J\x07 thing\x9b1m"}}, 400)]
    with pytest.raises(ChatError, match="bad") as caught:
        EndpointChat(mine.address, "m", limits=QUICK).generate(HELLO)
    assert str(caught.value).isprintable()
    mine.script = [Reply(b"\x1b]0;title\x07 no json")]
    with pytest.raises(ChatError, match="not JSON") as caught:
        EndpointChat(mine.address, "m", limits=QUICK).generate(HELLO)
    assert "\x1b" not in str(caught.value)

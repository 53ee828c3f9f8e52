"""What an address is, and which of them a key may go to: before a name is looked up, and after."""

from __future__ import annotations

import pytest

from x2edit_core.chat import ChatError
from x2edit_core.chat.addresses import check_found, check_url, completions_url, is_private, kind_of, origin

KINDS = {
    "private": [
        "127.0.0.1", "127.9.9.9", "10.0.0.8", "172.16.0.1", "172.31.255.255", "192.168.1.5", "100.64.0.1",
        "100.127.255.254", "::1", "fd12::1", "::ffff:10.0.0.1",
    ],
    "public": [
        "8.8.8.8", "172.32.0.1", "172.15.0.1", "100.63.0.1", "100.128.0.1", "192.169.0.1", "2606:4700::1111", "0.0.0.0",  # noqa: S104
        "::", "255.255.255.255", "::ffff:8.8.8.8", "2002:808:808::1",
    ],
    "link-local": ["169.254.0.1", "169.254.169.253", "fe80::1", "fe80::1%eth0", "febf::1", "::ffff:169.254.1.1"],
    "metadata": [
        "169.254.169.254", "::ffff:169.254.169.254", "::ffff:a9fe:a9fe", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1",
        "::169.254.169.254", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "169.254.170.2",
    ],
}  # fmt: skip
METADATA_SPELLINGS = [
    "169.254.169.254", "2852039166", "0xa9fea9fe", "0xA9.0xFE.0xA9.0xFE", "0251.0376.0251.0376", "169.254.43518",
    "[::ffff:169.254.169.254]", "169.254.169.254.", "metadata.google.internal", "Metadata.Google.Internal.",
]  # fmt: skip


@pytest.mark.parametrize(("kind", "address"), [(kind, address) for kind, all in KINDS.items() for address in all])
def test_kinds_of_addresses(kind, address):
    assert kind_of(address) == kind


@pytest.mark.parametrize(
    ("base", "private"),
    [
        ("http://ollama:11434", True),
        ("http://localhost:1", True),
        ("http://100.64.1.1:8000", True),
        ("http://100.128.1.1:8000", False),
        ("http://2130706433:80", True),
        ("http://0x7f.1", True),
        ("http://0177.0.0.1", True),
        ("http://134744072", False),
        ("http://[fd00::8]", True),
        ("http://box.lan", True),
        ("http://x.example.org", False),
        ("http://10.0.0.1.nip.io", False),
        ("http://LOCALHOST.", True),
    ],
)
def test_private_addresses_by_their_spelling(base, private):
    assert is_private(base) is private


@pytest.mark.parametrize("host", METADATA_SPELLINGS)
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("with_key", [True, False])
def test_metadata_is_never_asked(host, scheme, with_key):
    with pytest.raises(ChatError, match="It is not asked"):
        check_url(completions_url(f"{scheme}://{host}/v1"), with_key)


@pytest.mark.parametrize("host", ["169.254.10.1", "[fe80::1]", "0xa9fe0a01", "[::ffff:169.254.10.1]"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_no_key_goes_to_a_link_local_address(host, scheme):
    url = completions_url(f"{scheme}://{host}/v1")
    check_url(url, with_key=False)
    with pytest.raises(ChatError, match="link-local"):
        check_url(url, with_key=True)


@pytest.mark.parametrize(
    "host", ["example.org", "8.8.8.8", "nas.local", "NAS.Local.", "llm.internal", "host.docker.internal"]
)
def test_a_key_is_not_sent_in_the_clear(host):
    check_url(completions_url(f"https://{host}/v1"), with_key=True)
    check_url(completions_url(f"http://{host}/v1"), with_key=False)
    with pytest.raises(ChatError, match="unencrypted"):
        check_url(completions_url(f"http://{host}/v1"), with_key=True)


def test_every_address_behind_a_name_must_do():
    url = "http://models.example/v1"
    check_found(url, ["10.0.0.1", "::1"], with_key=True)
    for other, told in [("8.8.8.8", "unencrypted"), ("169.254.1.1", "link-local"), ("169.254.169.254", "not asked")]:
        with pytest.raises(ChatError, match=told):
            check_found(url, ["10.0.0.1", other], with_key=True)
    check_found(url, ["10.0.0.1", "8.8.8.8", "169.254.1.1"], with_key=False)
    check_found("https://models.example/v1", ["8.8.8.8"], with_key=True)


@pytest.mark.parametrize(
    "base",
    ["http://a..b/v1", "http://.a/v1", f"http://{'a' * 64}.org", "http://a\\b/v1", "http://a b/v1", "http://a|b/v1"],
)
def test_hosts_that_are_none(base):
    with pytest.raises(ChatError, match="base URL"):
        completions_url(base)


def test_an_origin_is_scheme_host_and_port():
    assert origin("https://API.openai.com./v1") == ("https", "api.openai.com", 443)
    assert origin("http://[::1]:8000/v1") == ("http", "::1", 8000)
    assert origin("http://h") != origin("https://h")

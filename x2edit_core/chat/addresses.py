"""What an address is, before and after its name is looked up: this machine, a private network, a place no key may go."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence
from typing import Any, Literal
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit, urlunsplit

from .protocol import ChatError

Kind = Literal["private", "link-local", "metadata", "public"]
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_PRIVATE = [
    ipaddress.ip_network(network)
    for network in (
        "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7",
        "100.64.0.0/10",  # RFC 6598: behind a carrier's translation, and Tailscale's
    )
]  # fmt: skip
_LINK_LOCAL = [ipaddress.ip_network(network) for network in ("169.254.0.0/16", "fe80::/10")]
_METADATA = {
    ipaddress.ip_address(address)
    for address in (
        "169.254.169.254",  # AWS, Azure, Google, OpenStack and most others
        "169.254.170.2", "169.254.170.23", "fd00:ec2::254", "fd00:ec2::23",  # AWS: tasks and pods, and both over IPv6
        "fd20:ce::254",  # Google over IPv6
        "100.100.100.200",  # Alibaba, inside 100.64.0.0/10
        "168.63.129.16",  # Azure's wire server
        "192.0.0.192",  # Oracle
    )
}  # fmt: skip
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_METADATA_NAMES = ("metadata.google.internal", "metadata.goog")
_PRIVATE_SUFFIXES = (".localhost", ".local", ".internal", ".lan", ".home.arpa")
_SPOOFABLE = (".local", ".internal")
"""Names that anyone on the network may answer for, or that a cloud gives its own services."""
_HOST = re.compile(r"[^\s/\\@?#%<>\"'^`{|}\x00-\x1f\x7f]+(%\w+)?")
QUERY_NAMES = ("api-version",)
"""What a query may say: how Azure names the version of its interface. Any other name could hide a secret."""

_EXAMPLE = "http://127.0.0.1:8000/v1"


def completions_url(base_url: str) -> str:
    """The address of the chat completions under `base_url`, its host in one spelling; `ChatError` where that cannot be one."""
    parts = _checked(base_url)
    path = quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=~")
    if not path.endswith("/chat/completions"):
        path = f"{path}/chat/completions" if path else "/v1/chat/completions"
    return urlunsplit((parts.scheme, _netloc(parts), path, parts.query, ""))


def _checked(base_url: str) -> SplitResult:
    url = base_url.strip()
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        raise ChatError("rejected", f"The base URL is malformed. Expected e.g. {_EXAMPLE}.") from None
    if parts.username or parts.password or "@" in parts.netloc or parts.fragment or not _harmless(parts.query):
        raise ChatError(
            "rejected",
            "The base URL carries a user name, a password, a fragment, or a query other than api-version. A graph must "
            "hold no secret: bind the key to its address outside the graph, as the node's help page says.",
        )
    if not usable or not _is_host(host_of(url)):
        raise ChatError("rejected", f"The base URL is {url!r}; expected e.g. {_EXAMPLE}.")
    return parts


def _harmless(query: str) -> bool:
    pairs = parse_qsl(query, keep_blank_values=True)
    named = all(name in QUERY_NAMES and re.fullmatch(r"[\w.-]{1,40}", value) for name, value in pairs)
    return named and bool(pairs) == bool(query)


def _is_host(host: str) -> bool:
    try:
        host.encode("idna")
    except UnicodeError:  # an empty label or one too long
        return False
    return bool(_HOST.fullmatch(host))


def _netloc(parts: SplitResult) -> str:
    host = host_of(urlunsplit(parts))
    host = f"[{host}]" if ":" in host else host
    return host if parts.port is None else f"{host}:{parts.port}"


def host_of(url: str) -> str:
    """The host of `url` in one spelling: lower case, without the root's dot."""
    return (urlsplit(url).hostname or "").removesuffix(".")


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: what a key is bound to."""
    parts = urlsplit(url)
    return parts.scheme, host_of(url), parts.port or (443 if parts.scheme == "https" else 80)


def kind_of(address: str) -> Kind:
    """Of a numeric address. An IPv4 address inside an IPv6 one counts as itself; `ValueError` for what is no address."""
    kinds = {_kind(each) for each in _spellings(ipaddress.ip_address(address.partition("%")[0]))}
    return next(kind for kind in ("metadata", "link-local", "public", "private") if kind in kinds)


def _kind(address: IPAddress) -> Kind:
    if address in _METADATA:
        return "metadata"
    if any(address in network for network in _LINK_LOCAL):
        return "link-local"
    return "private" if any(address in network for network in _PRIVATE) else "public"


def _spellings(address: IPAddress) -> list[IPAddress]:
    """The address, or the IPv4 addresses that an IPv6 one carries."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped:
        return [address.ipv4_mapped]
    carried = [found for found in (address.sixtofour, *(address.teredo or ())) if found]
    last = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _NAT64 or (int(address) >> 32 == 0 and int(address) > 1):
        carried.append(last)
    return [address, *carried]


def _numeric(host: str) -> str | None:
    """The address that `host` spells without a name, in any spelling that a resolver takes, such as 0x7f.1 or 2130706433."""
    try:
        return str(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(host)) if re.fullmatch(r"[0-9a-fx.]+", host) else None
    except OSError:
        return None


def is_private(url: str) -> bool:
    """Whether the address is this machine or a private network, as far as the address itself tells.

    A name of one word is one of the local network, such as another container's.
    """
    host = host_of(url)
    number = _numeric(host)
    if number is not None:
        return kind_of(number) in ("private", "link-local")
    return "." not in host or host.endswith(_PRIVATE_SUFFIXES)


def check_url(url: str, with_key: bool) -> None:
    """Raise `ChatError` where the address itself shows that it must not be asked, or not with a key."""
    host, number = host_of(url), _numeric(host_of(url))
    if host in _METADATA_NAMES:
        raise _metadata(url)
    if number is not None:
        check_found(url, [number], with_key)
    elif with_key and urlsplit(url).scheme == "http":
        if host.endswith(_SPOOFABLE):
            raise ChatError(
                "authentication",
                f"A key would travel unencrypted to {url}, and names ending in .local or .internal can be answered by "
                "others. Bind it to the server's private IP address, or use https.",
            )
        if not is_private(url):
            raise _unencrypted(url)


def check_found(url: str, addresses: Iterable[str], with_key: bool) -> None:
    """Raise `ChatError` unless every one of the `addresses` behind `url` may be asked, and with a key where there is one."""
    kinds = {kind_of(address) for address in addresses}
    if "metadata" in kinds:
        raise _metadata(url)
    if with_key and "link-local" in kinds:
        raise ChatError("authentication", f"{url} is a link-local address; no key is sent to one. Nothing was sent.")
    if with_key and urlsplit(url).scheme == "http" and kinds != {"private"}:
        raise _unencrypted(url)


def _unencrypted(url: str) -> ChatError:
    return ChatError("authentication", f"A key would travel unencrypted to {url}. Use https, or no key.")


def _metadata(url: str) -> ChatError:
    return ChatError("rejected", f"{url} is an address where clouds keep the secrets of a machine. It is not asked.")


def connect(url: str, place: tuple[str, int], timeout: Any, with_key: bool) -> socket.socket:
    """A connection to `place`, the host and port of `url`: looked up once, checked, and nothing sent before that.

    A name that is looked up twice can lead elsewhere the second time.
    """
    found: Sequence[Any] = socket.getaddrinfo(place[0], place[1], type=socket.SOCK_STREAM)
    check_found(url, [str(entry[4][0]) for entry in found], with_key)
    fault: OSError = socket.gaierror(f"{place[0]} has no address")
    for family, kind, protocol, _, address in found:
        try:
            return _connected(socket.socket(family, kind, protocol), address, timeout)
        except OSError as error:
            fault = error
    raise fault


def _connected(made: socket.socket, address: Any, timeout: Any) -> socket.socket:
    try:
        if isinstance(timeout, (int, float)):
            made.settimeout(timeout)
        made.connect(address)
    except BaseException:
        made.close()
        raise
    return made

"""The servers and keys that the person bound on this host, and chats with them."""

from __future__ import annotations

from pathlib import Path

from ..chat.addresses import completions_url
from ..chat.endpoint import EndpointChat
from ..chat.keys import NONE, Keyring
from ..chat.transport import Limits
from ..errors import X2EditError
from .chat import poll
from .folders import owners_file
from .notices import log_once, say_once

FILE = "endpoints.json"


def endpoints_file() -> Path:
    return owners_file(FILE)


def keyring() -> Keyring:
    return Keyring(endpoints_file())


def endpoint_names() -> list[str]:
    """`none`, and the names of what is bound here; a file that cannot be read is said once."""
    found = keyring()
    if problem := found.problem():
        log_once("endpoints file", problem)
    return [NONE, *found.names()]


def endpoint_fault(name: str) -> str:
    """What keeps the endpoint of that name from being used; empty for `none` and for one that can be."""
    if name == NONE:
        return ""
    try:
        keyring().pair(name)
    except X2EditError as error:
        return str(error)
    return ""


def endpoint_address(name: str) -> str:
    """The address behind a name now, so that one bound anew is noticed; empty where there is none."""
    try:
        return "" if name == NONE else keyring().pair(name).url
    except X2EditError:
        return ""


def endpoint_chat(
    name: str, base_url: str, model: str, key_variable: str, vision: bool, limits: Limits, side: int
) -> EndpointChat:
    """A chat with the endpoint of that name; for `none`, with `base_url`, and the key only where that pair is known."""
    url, pair = base_url, None
    if name != NONE:
        pair = keyring().pair(name)
        url = pair.url
    elif key_variable.strip():
        pair = keyring().pair_for(key_variable.strip(), completions_url(base_url))
    chat = EndpointChat(url, model, "", vision, limits, side, poll, pair)
    if chat.warning:
        say_once(f"unencrypted key: {chat.url}", chat.warning)
    return chat

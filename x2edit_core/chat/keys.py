"""Keys and the addresses they belong to. A graph names a pair; it never joins a key to an address of its own choice.

Three kinds of pairs: a provider's variable and its own host (`PROVIDERS`); environment variables
`X2EDIT_ENDPOINT_<NAME>_URL` and `_KEY`; and a file that the person writes, `{"name": {"url": "…", "key": "…"}}`, where
`"key_variable": "NAME"` may stand for the key.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .addresses import completions_url, host_of, origin
from .protocol import ChatError

KEY_NAME = re.compile(r"[A-Z][A-Z0-9_]*_(API_KEY|API_TOKEN|ACCESS_TOKEN)|X2EDIT_[A-Z0-9_]+")
ENDPOINT = re.compile(r"X2EDIT_ENDPOINT_(?P<name>[A-Z0-9_]+)_URL")
RESERVED = "X2EDIT_ENDPOINT_"
FILE_BYTES = 1 << 20
NONE = "none"
"""The choice of no pair, so not a name of one."""

PROVIDERS: dict[str, tuple[str, ...]] = {
    "OPENAI_API_KEY": ("api.openai.com", "eu.api.openai.com", "us.api.openai.com"),
    "ANTHROPIC_API_KEY": ("api.anthropic.com",),
    "GEMINI_API_KEY": ("generativelanguage.googleapis.com",),
    "GOOGLE_API_KEY": ("generativelanguage.googleapis.com",),
    "OPENROUTER_API_KEY": ("openrouter.ai",),
    "GROQ_API_KEY": ("api.groq.com",),
    "MISTRAL_API_KEY": ("api.mistral.ai",),
    "DEEPSEEK_API_KEY": ("api.deepseek.com",),
    "XAI_API_KEY": ("api.x.ai",),
    "TOGETHER_API_KEY": ("api.together.xyz", "api.together.ai"),
    "FIREWORKS_API_KEY": ("api.fireworks.ai",),
    "CEREBRAS_API_KEY": ("api.cerebras.ai",),
    "PERPLEXITY_API_KEY": ("api.perplexity.ai",),
    "NVIDIA_API_KEY": ("integrate.api.nvidia.com",),
    "DASHSCOPE_API_KEY": ("dashscope.aliyuncs.com", "dashscope-intl.aliyuncs.com", "dashscope-us.aliyuncs.com"),
    "MOONSHOT_API_KEY": ("api.moonshot.cn", "api.moonshot.ai"),
    "ZAI_API_KEY": ("api.z.ai",),
    "ZHIPUAI_API_KEY": ("open.bigmodel.cn",),
    "SILICONFLOW_API_KEY": ("api.siliconflow.cn", "api.siliconflow.com"),
    "ARK_API_KEY": ("ark.cn-beijing.volces.com",),
    "OLLAMA_API_KEY": ("ollama.com",),
}
"""A provider's variable → the hosts that it alone answers at. Hosts where anyone may rent a name do not belong here."""


@dataclass(frozen=True)
class Pair:
    """An address and the key bound to it. `read` gives the key anew for each request and keeps it nowhere.

    An address can be bound without a key: then `keyed` is False.
    """

    url: str
    read: Callable[[], str | None]
    keyed: bool = True

    def key_for(self, url: str) -> str | None:
        """The key, if `url` is the very address it is bound to; raises `ChatError` otherwise."""
        if url != self.url:
            raise ChatError("authentication", f"The key is bound to {self.url}; {url} does not get it.")
        return self.read()


@dataclass(frozen=True)
class _Bound:
    """What stands in the file or the environment under one name; holds a key, so it is never kept or shown."""

    url: str
    key: str
    variable: str


class Keyring:
    """The pairs that the person bound: in `file` and in the environment, which wins where both have a name."""

    def __init__(self, file: Path | None = None) -> None:
        self.file = file

    def names(self) -> list[str]:
        """The names of all pairs, sorted; a file that cannot be read has none (`problem` says why)."""
        try:
            written = list(self._written())
        except ChatError:
            written = []
        named = _environment_names()
        shadowed = {name.casefold() for name in named}
        return sorted([*named, *(name for name in written if name.casefold() not in shadowed)])

    def problem(self) -> str:
        """Why the file cannot be read; empty where there is no file or nothing is wrong with it."""
        try:
            self._written()
        except ChatError as error:
            return str(error)
        return ""

    def pair(self, name: str) -> Pair:
        """The pair of that name; raises `ChatError` where there is none, or its address is none."""
        bound = self._bound(name)
        url = _completions(name, bound.url)

        def read() -> str | None:
            found = self._bound(name)
            if _completions(name, found.url) != url:
                raise ChatError("authentication", f"The endpoint {name!r} was bound to another address. Run it again.")
            return _checked(_value(name, found), f"the endpoint {name!r}")

        return Pair(url, read, bool(bound.key.strip() or bound.variable))

    def pair_for(self, variable: str, url: str) -> Pair:
        """The known pair of `variable` and `url`, a completions address; raises `ChatError` that says how to bind them."""
        _check_variable(variable)
        if urlsplit(url).scheme == "http" and host_of(url) in PROVIDERS.get(variable, ()):
            raise ChatError("authentication", f"A key would travel unencrypted to {url}. Use https, or no key.")
        if origin(url) in [("https", host, 443) for host in PROVIDERS.get(variable, ())]:
            return Pair(url, lambda: _from_environment(variable))
        matching = [name for name in self.names() if self._is_for(name, url, variable)]
        if matching:
            return self.pair(matching[0])
        raise ChatError("authentication", self._how_to_bind(variable, url))

    def _is_for(self, name: str, url: str, variable: str) -> bool:
        """Whether the pair of that name has this address, and no other variable than this."""
        bound = self._bound(name)
        try:
            return completions_url(bound.url) == url and bound.variable in ("", variable)
        except ChatError:
            return False

    def _how_to_bind(self, variable: str, url: str) -> str:
        place = (
            "" if self.file is None else f', or {{"mine": {{"url": "…", "key_variable": "{variable}"}}}} in {self.file}'
        )
        problem = self.problem()
        return (
            f"The key {variable} is not bound to {url}, so it is not sent: a graph could name any address. If you trust this "
            f"server, set X2EDIT_ENDPOINT_MINE_URL to its base URL and X2EDIT_ENDPOINT_MINE_KEY to the key before ComfyUI "
            f"starts{place}, then choose that name as endpoint. A server without a key needs no key_variable."
            + (f" {problem}" if problem else "")
        )

    def _bound(self, name: str) -> _Bound:
        if name in _environment_names():
            prefix = f"{RESERVED}{name}"
            return _Bound(os.environ[f"{prefix}_URL"], os.environ.get(f"{prefix}_KEY", ""), "")
        written = self._written()
        if name not in written:
            known = ", ".join(self.names()) or "none"
            place = "" if self.file is None else f" or write it into {self.file}"
            raise ChatError(
                "missing",
                f"No endpoint {name!r} is bound on this server; bound are: {known}. Set X2EDIT_ENDPOINT_NAME_URL and "
                f"X2EDIT_ENDPOINT_NAME_KEY before ComfyUI starts{place}, and refresh the page.",
            )
        return written[name]

    def _written(self) -> dict[str, _Bound]:
        """The file's pairs; `ChatError` for a file that others may read, or that is not in the agreed form."""
        if self.file is None:
            return {}
        try:
            content = _read_private(self.file)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            raise self._unreadable(type(error).__name__) from None  # never the content, which holds keys
        if not isinstance(content, dict):
            raise self._unreadable("no JSON object")
        return {name: self._entry(name, entry) for name, entry in content.items()}

    def _entry(self, name: str, entry: Any) -> _Bound:
        texts = entry if isinstance(entry, dict) else {}
        known = {"url", "key", "key_variable"}
        if name.strip() in ("", NONE) or not texts.get("url") or set(texts) - known or not _all_texts(texts):
            raise self._unreadable(f'entry {name!r} is not {{"url": "…", "key": "…"}}')
        return _Bound(texts["url"], texts.get("key", ""), texts.get("key_variable", ""))

    def _unreadable(self, why: str) -> ChatError:
        return ChatError(
            "authentication",
            f'The endpoints in {self.file} cannot be used ({why}). Expected: {{"name": {{"url": "https://…/v1", "key": '
            '"…"}}}, readable by you alone (chmod 600).',
        )


def written_by_hand(base_url: str, variable: str) -> Pair | None:
    """A pair from a configuration that the person runs by hand: what stands in it is bound by standing there."""
    variable = variable.strip()
    if not variable:
        return None
    _check_variable(variable)
    return Pair(completions_url(base_url), lambda: _from_environment(variable))


def _all_texts(entry: Mapping[str, Any]) -> bool:
    return all(isinstance(value, str) for value in entry.values())


def _read_private(file: Path) -> Any:
    """The file's JSON. A file that other accounts may read raises PermissionError, as ssh treats its keys."""
    mode = file.stat().st_mode
    if not stat.S_ISREG(mode) or (os.name == "posix" and mode & 0o077):
        raise PermissionError
    with open(file, "rb") as opened:
        return json.loads(opened.read(FILE_BYTES).decode("utf-8-sig"))


def _environment_names() -> list[str]:
    return [found["name"] for name in os.environ if (found := ENDPOINT.fullmatch(name)) and os.environ[name].strip()]


def _completions(name: str, base_url: str) -> str:
    try:
        return completions_url(base_url)
    except ChatError as error:
        raise ChatError(error.fault, f"The endpoint {name!r}: {error}") from None


def _value(name: str, bound: _Bound) -> str | None:
    if bound.key.strip() or not bound.variable:
        return bound.key.strip() or None
    if not re.fullmatch(r"[A-Za-z_]\w*", bound.variable, re.ASCII):
        raise ChatError("authentication", f"The key_variable of the endpoint {name!r} is no variable's name.")
    return _from_environment(bound.variable)


def _check_variable(name: str) -> None:
    """A graph may come from a stranger: it must not be able to name any variable, or hold the key itself."""
    if name.startswith(RESERVED):
        raise ChatError(
            "authentication",
            "X2EDIT_ENDPOINT_… is no key_variable: choose the name it stands for as endpoint instead.",
        )
    if not KEY_NAME.fullmatch(name):
        raise ChatError(
            "authentication",
            "The name of the key's variable is not taken. Expected the name, not the key itself: capitals, digits and "
            "underscores, ending in _API_KEY, _API_TOKEN or _ACCESS_TOKEN, or starting with X2EDIT_.",
        )


def _from_environment(variable: str) -> str:
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ChatError(
            "authentication",
            f"The environment variable {variable} is not set. Set it to the server's key before ComfyUI starts, or leave "
            "the name empty for a server without a key.",
        )
    checked = _checked(key, variable)
    assert checked is not None
    return checked


def _checked(key: str | None, whose: str) -> str | None:
    if key is not None and not (key.isascii() and key.isprintable()):
        raise ChatError("authentication", f"The key of {whose} has characters that no key has.")
    return key

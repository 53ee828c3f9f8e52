"""Settings files: TOML into dataclasses, every fault reported at once, and dataclasses back into TOML."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from .errors import X2EditError

Settings = typing.TypeVar("Settings")


class ConfigError(X2EditError):
    """A configuration that cannot be run; lists every problem found, not only the first."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("The configuration has faults:\n" + "\n".join(f"  - {item}" for item in problems))


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; raises `ConfigError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError([f"{path} cannot be read ({error.strerror})"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path} is no text in UTF-8 ({error.reason} at byte {error.start})"]) from error
    return parse_toml(text, path)


def parse_toml(text: str, path: Path) -> dict[str, Any]:
    """The tables of a TOML text that came from `path`; raises `ConfigError`."""
    try:
        import tomllib
    except ImportError:  # Python 3.10
        try:
            import tomli as tomllib  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ConfigError(["Python 3.10 needs the package tomli to read TOML files"]) from error
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # some faults of numbers and dates are plain `ValueError`s
        raise ConfigError([f"{path} is no valid TOML: {error}"]) from error


def parse_settings(cls: type[Settings], values: Mapping[str, Any]) -> Settings:
    """A `cls`, a dataclass, from nested dictionaries; unknown keys and wrong types are all reported together."""
    problems: list[str] = []
    found = _parse(cls, values, "", problems)
    if problems:
        raise ConfigError(problems)
    return found


def _parse(cls: type, values: Mapping[str, Any], prefix: str, problems: list[str]) -> Any:
    hints = typing.get_type_hints(cls)
    known = {item.name: item for item in dataclasses.fields(cls)}
    for name in sorted(set(values) - set(known)):
        problems.append(f"{prefix}{name} is not known; there are: {', '.join(known)}")
    given: dict[str, Any] = {}
    for name, item in known.items():
        if name in values:
            given[name] = _value(hints[name], values[name], f"{prefix}{name}", problems)
        elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            problems.append(f"{prefix}{name} is missing")
    return None if problems else cls(**given)


def _value(hint: Any, value: Any, name: str, problems: list[str]) -> Any:
    """`value` as the field's type, or a problem."""
    if dataclasses.is_dataclass(hint):
        if isinstance(value, Mapping):
            return _parse(typing.cast(type, hint), value, f"{name}.", problems)
        problems.append(f"{name}: a table was expected")
    elif get_origin(hint) is Literal:
        if value not in get_args(hint):
            problems.append(f"{name} = {value!r}; one of {', '.join(map(str, get_args(hint)))} was expected")
    elif not _fits(hint, value):
        problems.append(f"{name} = {value!r}; {_describe(hint)} was expected")
    elif hint is float:
        return float(value)
    elif _is_shares(hint):
        return {key: float(share) for key, share in value.items()}
    return value


def _fits(hint: Any, value: Any) -> bool:
    if isinstance(hint, types.GenericAlias):
        items = value.values() if isinstance(value, dict) else value
        if not isinstance(value, get_origin(hint)):
            return False
        wanted = get_args(hint)[-1]
        return all(_fits(wanted, item) for item in items)
    if hint is float and isinstance(value, int):
        hint = int
    # Python's whole numbers have no end; those that files and devices hold have.
    within = not isinstance(value, int) or abs(value) < 1 << 63
    return isinstance(value, hint) and within and (hint is bool or not isinstance(value, bool))


def _is_shares(hint: Any) -> bool:
    return isinstance(hint, types.GenericAlias) and get_args(hint)[-1] is float


def _describe(hint: Any) -> str:
    names = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    return names.get(hint, str(hint))


def to_toml(config: Any) -> str:
    """A dataclass of settings as TOML that reads back equal."""
    values = dataclasses.asdict(config)
    plain = {name: value for name, value in values.items() if not isinstance(value, dict)}
    lines = [f"{name} = {_literal(value)}" for name, value in plain.items()]
    for table, entries in values.items():
        if isinstance(entries, dict):
            lines += ["", f"[{table}]", *(f"{name} = {_literal(value)}" for name, value in entries.items())]
    return "\n".join(lines) + "\n"


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = "".join(_escape(letter) for letter in value)
        return f'"{escaped}"'
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(key)} = {_literal(item)}" for key, item in value.items()) + "}"
    return repr(value)


def _escape(letter: str) -> str:
    if letter in '"\\':
        return f"\\{letter}"
    return letter if letter.isprintable() else f"\\U{ord(letter):08x}"

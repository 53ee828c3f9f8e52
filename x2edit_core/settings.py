"""Settings files: TOML into dataclasses, every fault reported at once, and dataclasses back into TOML."""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from .errors import X2EditError

Settings = typing.TypeVar("Settings")


class ConfigError(X2EditError):
    """A configuration that cannot be run; lists every problem found, not only the first."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("The configuration has faults:\n" + "\n".join(f"  - {item}" for item in problems))


@dataclasses.dataclass(frozen=True)
class Range:
    """What a number, or every share of a table, may be: written `Annotated[int, Range(1)]`. NaN lies in no range."""

    low: float
    high: float = math.inf
    above: bool = False
    """Whether `low` itself is too low."""
    below: bool = False
    """Whether `high` itself is too high."""
    multiple: int = 1

    def holds(self, value: float) -> bool:
        low = value > self.low if self.above else value >= self.low
        high = value < self.high if self.below else value <= self.high
        return low and high and math.isfinite(value) and (self.multiple == 1 or value % self.multiple == 0)

    def __str__(self) -> str:
        low = f"above {self.low:g}" if self.above else f"at least {self.low:g}"
        high = f"{'below' if self.below else 'at most'} {self.high:.12g}" if math.isfinite(self.high) else ""
        multiple = f"a multiple of {self.multiple}" if self.multiple > 1 else ""
        *first, last = filter(None, (low, high, multiple))
        return f"{', '.join(first)} and {last}" if first else last


_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class FilePath:
    """Marks text, or a list of it, that names files: `Annotated[str, FilePath]`."""


def range_faults(settings: Any, prefix: str = "") -> Iterator[str]:
    """What in a dataclass of settings, and in those inside it, lies outside the range of its field."""
    for name, hint in typing.get_type_hints(type(settings), include_extras=True).items():
        value = getattr(settings, name)
        if dataclasses.is_dataclass(value):
            yield from range_faults(value, f"{prefix}{name}.")
        elif _holds_settings(hint):
            entries = (
                value.items() if isinstance(value, Mapping) else ((f"[{at}]", item) for at, item in enumerate(value))
            )
            for entry, item in entries:
                yield from range_faults(item, f"{prefix}{name}{'' if entry.startswith('[') else '.'}{entry}.")
        else:
            yield from _marked_faults(hint, value, f"{prefix}{name}")


def _marked_faults(hint: Any, value: Any, name: str) -> Iterator[str]:
    for mark in get_args(hint)[1:] if get_origin(hint) is Annotated else ():
        if isinstance(mark, Range):
            for entry, number in value.items() if isinstance(value, Mapping) else [("", value)]:
                if not mark.holds(typing.cast(float, number)):
                    yield f"{f'{name}.{entry}'.rstrip('.')} = {number}: {mark} is needed"
        elif mark is FilePath:
            for text in [value] if isinstance(value, str) else value:
                if _CONTROL.search(text):
                    yield f"{name} = {text!r}: a path has no such characters. {_BACKSLASHES}"


_BACKSLASHES = (
    "In TOML a backslash within double quotes begins an escape, \\n a line break: write C:/runs/new, or 'C:\\runs\\new' in "
    "single quotes"
)


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
        advice = f". {_BACKSLASHES}" if "\\" in text else ""
        raise ConfigError([f"{path} is no valid TOML: {error}{advice}"]) from error


def parse_settings(cls: type[Settings], values: Mapping[str, Any]) -> Settings:
    """A `cls`, a dataclass, from nested dictionaries; unknown keys, wrong types and ranges are all reported together."""
    problems: list[str] = []
    outside: list[str] = []
    found = _parse(cls, values, "", problems, outside)
    if problems:
        raise ConfigError(problems + outside)
    if outside := list(range_faults(found)):
        raise ConfigError(outside)
    return found


def _parse(cls: type, values: Mapping[str, Any], prefix: str, problems: list[str], outside: list[str]) -> Any:
    """A `cls`, or None if there are `problems`; what lies `outside` its range alone keeps nothing from being made."""
    hints = typing.get_type_hints(cls, include_extras=True)
    known = {item.name: item for item in dataclasses.fields(cls)}
    for name in sorted(set(values) - set(known)):
        problems.append(f"{prefix}{name} is not known; there are: {', '.join(known)}")
    given: dict[str, Any] = {}
    for name, item in known.items():
        if name in values:
            given[name] = _value(hints[name], values[name], f"{prefix}{name}", problems, outside)
        elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            problems.append(f"{prefix}{name} is missing")
    return None if problems else cls(**given)


def _value(hint: Any, value: Any, name: str, problems: list[str], outside: list[str]) -> Any:
    """`value` as the field's type, or a problem."""
    if get_origin(hint) is Annotated:
        before = len(problems)
        found = _value(get_args(hint)[0], value, name, problems, outside)
        if len(problems) == before:
            outside += _marked_faults(hint, found, name)
        return found
    if dataclasses.is_dataclass(hint):
        if isinstance(value, Mapping):
            return _parse(typing.cast(type, hint), value, f"{name}.", problems, outside)
        problems.append(f"{name}: a table was expected")
    elif _holds_settings(hint):
        return _several(hint, value, name, problems, outside)
    elif get_origin(hint) is Literal:
        # 1 == True in Python, and not in a configuration.
        if not any(type(value) is type(choice) and value == choice for choice in get_args(hint)):
            choices = (choice if isinstance(choice, str) else _literal(choice) for choice in get_args(hint))
            problems.append(f"{name} = {value!r}; one of {', '.join(choices)} was expected")
    elif not _fits(hint, value):
        problems.append(f"{name} = {value!r}; {_describe(hint)} was expected")
    elif hint is float:
        return float(value)
    elif _is_shares(hint):
        return {key: float(share) for key, share in value.items()}
    return value


def _holds_settings(hint: Any) -> bool:
    return isinstance(hint, types.GenericAlias) and dataclasses.is_dataclass(get_args(hint)[-1])


def _several(hint: Any, value: Any, name: str, problems: list[str], outside: list[str]) -> Any:
    """A list of tables (`[[name]]`) or a table of them (`[name.entry]`), each as the dataclass that `hint` holds."""
    cls = get_args(hint)[-1]
    if get_origin(hint) is list and isinstance(value, list):
        items = [(f"{name}[{index}]", item) for index, item in enumerate(value)]
        return [_value(cls, item, place, problems, outside) for place, item in items]
    if get_origin(hint) is dict and isinstance(value, Mapping):
        return {key: _value(cls, item, f"{name}.{key}", problems, outside) for key, item in value.items()}
    wanted = f"[[{name}]]" if get_origin(hint) is list else f"[{name}.NAME]"
    problems.append(f"{name}: tables were expected, written {wanted}")
    return None


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
            lines += ["", f"[{table}]", *(f"{_key(name)} = {_literal(value)}" for name, value in entries.items())]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _literal(name)


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

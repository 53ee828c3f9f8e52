"""The pages on training, evaluating and data sets list every entry of their configurations, with the default that it has."""

from __future__ import annotations

import dataclasses
import re
import typing
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from x2edit_core.dataset.config import DatasetConfig
from x2edit_core.evaluate.config import EvaluateConfig
from x2edit_core.settings import to_toml
from x2edit_core.train.config import TrainConfig

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = {"training.md": TrainConfig, "evaluate.md": EvaluateConfig, "dataset.md": DatasetConfig}
RUN = "The run"
HEADER = ["entry", "default", "meaning"]


@dataclass
class Whole:
    """Makes a section's defaults a table, whether or not they make a valid configuration."""

    section: dict[str, Any]


def sections(config: type) -> dict[str, Any]:
    """The dataclass behind each heading of the page: that of the outermost entries, then one for each table."""
    return {RUN: config} | {
        table[0]: table[1] for name, hint in hints_of(config).items() if (table := table_of(name, hint))
    }


def hints_of(section: type) -> dict[str, Any]:
    return {name: bare(hint) for name, hint in typing.get_type_hints(section, include_extras=True).items()}


def bare(hint: Any) -> Any:
    """A hint without its marks."""
    return typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint


def table_of(name: str, hint: Any) -> tuple[str, Any] | None:
    """The heading and dataclass of an entry that is a table, a list of them, or a table of them."""
    inner = next(iter(typing.get_args(hint)[-1:]), None)
    if dataclasses.is_dataclass(hint):
        return f"`[{name}]`", hint
    if not dataclasses.is_dataclass(inner):
        return None
    return (f"`[[{name}]]`" if typing.get_origin(hint) is list else f"`[{name}.NAME]`"), inner


def entries(section: type) -> dict[str, Any]:
    """The type of each entry that is no section of its own."""
    hints = hints_of(section)
    names = [item.name for item in dataclasses.fields(section)]
    return {name: hints[name] for name in names if not table_of(name, hints[name])}


def defaults(section: type) -> dict[str, str]:
    """What the page is to show as the default of each entry: TOML, or that it has none."""
    known: dict[str, Any] = {item.name: item for item in dataclasses.fields(section) if item.name in entries(section)}
    needed = {name for name, item in known.items() if item.default is MISSING and item.default_factory is MISSING}
    values = {
        name: item.default if item.default is not MISSING else item.default_factory()
        for name, item in known.items()
        if name not in needed
    }
    lines = to_toml(Whole(values)).strip().splitlines()[1:]
    shown = dict(line.split(" = ", 1) for line in lines)
    return {name: "*required*" if name in needed else f"`{shown[name]}`" for name in known}


def tables(page: str) -> dict[str, list[list[str]]]:
    """The rows of the configuration's tables, by the heading above them."""
    found: dict[str, list[list[str]]] = {}
    for part in re.split(r"^#+ ", page, flags=re.MULTILINE)[1:]:
        heading, _, body = part.partition("\n")
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in body.splitlines() if line[:1] == "|"]
        if rows and rows[0] == HEADER:
            found[heading] = rows[2:]
    return found


@pytest.mark.parametrize("name", PAGES)
def test_every_entry_stands_in_its_table_with_its_default(name):
    told = tables((DOCS / name).read_text(encoding="utf-8"))
    assert list(told) == list(sections(PAGES[name]))
    for heading, section in sections(PAGES[name]).items():
        shown = [(entry, default) for entry, default, _ in told[heading]]
        assert shown == [(f"`{entry}`", default) for entry, default in defaults(section).items()], heading


@pytest.mark.parametrize("name", PAGES)
def test_every_entry_is_explained_and_its_choices_are_named(name):
    told = tables((DOCS / name).read_text(encoding="utf-8"))
    for heading, section in sections(PAGES[name]).items():
        meanings = {entry.strip("`"): meaning for entry, _, meaning in told[heading]}
        for entry, hint in entries(section).items():
            assert meanings[entry].endswith("."), f"{heading} {entry} has no meaning"
            choices = typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
            names = [str(choice).lower() if isinstance(choice, bool) else choice for choice in choices]
            missing = [name for name in names if f"`{name}`" not in meanings[entry]]
            assert not missing, f"{heading} {entry} does not name {missing}"

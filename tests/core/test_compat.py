"""`COMPATIBILITY.md` says what the records say, and the records are of tests that exist."""

from __future__ import annotations

import ast
import json
import re
from types import SimpleNamespace

import pytest
from devkit import compat, outcomes, pins
from devkit.layout import REPO

NEW, OLD = "2.0.0", "1.9.1"
NAME = "tests/host/test_golden.py::test_x2edit_matches_the_research_code"


def record(host=NEW, **tests):
    about = {"host": host, "date": "2026-01-01", "system": "S", "python": "3", "torch": "2", "device": "CPU"}
    return {**about, "tests": {f"{NAME}[{case}]": outcome for case, outcome in tests.items()}}


def cell(*records):
    lines = compat.page(list(records)).splitlines()
    (line,) = [line for line in lines if line.startswith("| X2Edit, as the research code |")]
    return [part.strip() for part in line.split("|")[2:-1]]


def test_page_is_what_the_records_give():
    assert compat.PAGE.read_text(encoding="utf-8") == compat.page(compat.load()), f"run: {compat.COMMAND}"


def test_required_host_is_the_oldest_that_passes():
    """The pinned host needs no record here: this very suite must pass on it."""
    passing = [pins.DEFAULT_HOST, *(found["host"] for found in compat.load() if compat.passes(found))]
    required = re.search(r'^requires-comfyui = ">=([\d.]+)"$', (REPO / "pyproject.toml").read_text(), re.MULTILINE)
    assert required and required[1] == min(passing, key=compat.version_key)


def complete(outcome="passed"):
    names = {f"tests/host/test_{short.replace('::', '.py::test_')}" for short in compat.tests_of_rows()}
    return {**record(), "tests": dict.fromkeys(names, outcome)}


def test_a_host_passes_only_if_all_ran_and_none_failed():
    whole = complete()
    assert compat.passes(whole)
    assert compat.passes(complete("skipped: why"))
    one = next(iter(whole["tests"]))
    assert not compat.passes({**whole, "tests": {**whole["tests"], one: "failed"}})
    assert not compat.passes({**whole, "tests": {name: found for name, found in whole["tests"].items() if name != one}})


def test_every_record_is_of_a_pinned_host():
    assert {found["host"] for found in compat.load()} <= set(pins.HOSTS)


@pytest.mark.parametrize("short", compat.tests_of_rows())
def test_every_row_stands_on_a_test(short):
    file, name = short.split("::")
    tree = ast.parse((REPO / "tests" / "host" / f"test_{file}.py").read_text(encoding="utf-8"))
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert f"test_{name.split('[')[0]}" in functions


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        ({"a": "passed", "b": "passed"}, "yes"),
        ({"a": "passed", "b": "failed"}, "**fails**"),
        ({"a": "failed", "b": "skipped: why"}, "**fails**"),
        ({"a": "passed", "b": "skipped: why"}, "part (1)"),
        ({"a": "skipped: why"}, "no (1)"),
        ({}, "not run"),
    ],
)
def test_a_cell_holds_only_what_its_tests_showed(found, shown):
    assert cell(record(**found)) == [shown]


def test_one_note_serves_all_hosts():
    page = compat.page([record(a="skipped: why"), record(OLD, a="skipped: why")])
    assert page.count("\n1. why\n") == 1


def test_versions_are_compared_by_number():
    assert compat.version_key("0.9.2") < compat.version_key("0.27.0")


def test_what_was_tried_beside_other_packs_stands_on_the_page():
    rows = json.loads(compat.PACKS.read_text(encoding="utf-8"))
    page = compat.page([record()])
    for row in rows:
        assert set(row) == {"pack", "version", "tried", "with", "found"} and all(row.values())
        assert f"| {row['pack']} | {row['version']} |" in page and f"| {row['found']} |" in page


def report(nodeid, outcome, when="call", longrepr=("f", 1, "Skipped: why")):
    return SimpleNamespace(nodeid=nodeid, outcome=outcome, when=when, skipped=outcome == "skipped", longrepr=longrepr)


def test_outcomes_add_up_by_file(tmp_path):
    def run(*reports):
        found = outcomes.Outcomes(tmp_path / "r" / "x.json", {"host": NEW})
        for each in reports:
            found.pytest_runtest_logreport(each)
        found.pytest_sessionfinish()
        return outcomes.read(tmp_path / "r" / "x.json")["tests"]

    run(report("a.py::old", "passed"), report("b.py::kept", "skipped", "setup"))
    assert run(report("a.py::new", "passed"), report("a.py::new", "failed", "teardown")) == {
        "a.py::new": "failed",
        "b.py::kept": "skipped: why",
    }


def test_an_error_while_preparing_is_a_failure(tmp_path):
    found = outcomes.Outcomes(tmp_path / "x.json", {})
    found.pytest_runtest_logreport(report("a.py::a", "failed", "setup"))
    found.pytest_sessionfinish()
    assert outcomes.read(tmp_path / "x.json")["tests"] == {"a.py::a": "failed"}

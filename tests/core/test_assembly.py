"""How far a run's configuration travels: every call that hands it on as a whole is a place to read and to change."""

from __future__ import annotations

import ast
from pathlib import Path

from devkit.layout import REPO

CORE = REPO / "x2edit_core"
SETUP = CORE / "comfy_bridge" / "training" / "setup.py"
CHOSEN = {"make": ("_base_parts", "_small_base_parts")}
"""What a name is bound to where the code chooses among functions."""


def functions():
    """Name of a function, or of a class for its `__init__` → where it is and its parameters."""
    found: dict[str, list[tuple[Path, ast.FunctionDef, list[str]]]] = {}
    for path in sorted(CORE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                names = [argument.arg for argument in node.args.args]
                found.setdefault(node.name, []).append((path, node, names[names[:1] == ["self"] :]))
            elif isinstance(node, ast.ClassDef):
                for part in node.body:
                    if isinstance(part, ast.FunctionDef) and part.name == "__init__":
                        found.setdefault(node.name, []).append((path, part, [a.arg for a in part.args.args[1:]]))
    return found


def handed_on(path, function, parameter, known, seen):
    """(file, line, callee) of each call from `function` on that has the whole of `parameter` among its arguments."""
    if (path, function.lineno, parameter) in seen:
        return
    seen.add((path, function.lineno, parameter))
    for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
        name = getattr(call.func, "id", getattr(call.func, "attr", ""))
        given = [*enumerate(call.args), *((keyword.arg, keyword.value) for keyword in call.keywords)]
        for place, value in given:
            if not (isinstance(value, ast.Name) and value.id == parameter):
                continue
            yield path.name, call.lineno, name
            for callee in CHOSEN.get(name, (name,)):
                for where, target, names in known.get(callee, ()):
                    own = place if isinstance(place, str) else names[place] if place < len(names) else None
                    if own and (where == path or not callee.startswith("_")):
                        yield from handed_on(where, target, own, known, seen)


def test_the_configuration_of_a_run_is_handed_on_at_no_more_than_25_places():
    known = functions()
    ((_, assemble, _),) = [item for item in known["assemble"] if item[0] == SETUP]
    calls = list(handed_on(SETUP, assemble, "config", known, set()))
    assert {"_adapter_parts", "make", "text_of", "Batches", "order"} <= {name for *_, name in calls}, "it is followed"
    assert len(calls) <= 25, calls

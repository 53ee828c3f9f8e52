"""Mutation testing: small faults put into a module one by one; a test must notice each. By mutmut, in the host's Python.

A run goes on where the last one ended: what was tried is kept in `out/mutants/MODULE` while module and tests stay as they
are. Where tests were only added, `survivors` tries again what they had not noticed, and no more. Of a module's mutants at
most `MOST` are tried, drawn by a fixed seed. `mutants.toml` names those that no test could or should notice, each with its
reason.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from x2edit_core.settings import parse_toml

from .host import DevError, Host, cache_root, log
from .layout import OUT, REPO
from .pins import MUTATION_TOOL

CORE = "x2edit_core"
MODULES: dict[str, tuple[str, tuple[str, ...]]] = {
    "moe": ("adapters/moe.py", ("moe", "selected", "attach")),
    "adapter": ("adapters/adapter.py", ("adapter", "attach", "checkpoint", "released_icedit", "train_adapters")),
    "attach": ("adapters/attach.py", ("attach",)),
    "reference": ("reference.py", ("reference",)),
    "losses": ("train/losses.py", ("train_losses", "train_golden")),
    "loop": ("train/loop.py", ("train_loop", "train_hooks", "train_golden")),
    "optim": ("train/optim.py", ("train_optim", "train_golden")),
    "seeds": ("choosing/seeds.py", ("seeds", "referee")),
    "referee": ("choosing/referee.py", ("seeds", "referee")),
    "paths": ("paths.py", ("paths",)),
    "endpoint": ("chat/endpoint.py", ("chat_endpoint", "judge")),
}
"""Module → its file in the core, and the files of `tests/core` that answer for it."""

MOST, SEED = 300, 20260101
WANTED, MOST_EXCLUDED = 0.95, 0.1
EXCLUSIONS = Path(__file__).with_name("mutants.toml")
_NOT_IN_PROCESS = "not process"
"""Tests that start processes of their own: those would not know which mutant is meant."""
_SURVIVED, _NO_TEST = 0, 33


@dataclass(frozen=True)
class Exclusion:
    """Mutants of `function` (a regular expression) whose changed line, as ast writes it, matches `line`."""

    function: str
    line: str
    reason: str

    def covers(self, mutant: Mutant) -> bool:
        lines = (mutant.before, mutant.after)
        return bool(re.fullmatch(self.function, mutant.function)) and any(re.search(self.line, line) for line in lines)


@dataclass(frozen=True)
class Mutant:
    """`name` is mutmut's; `before` and `after` are the lines that differ, without comments."""

    name: str
    function: str
    before: str
    after: str


def run(host: Host, modules: Sequence[str], limit: int = MOST, survivors: bool = False) -> int:
    """Try what is left of each module's mutants and print a table; 0 if all reach `WANTED`."""
    tool = _installed(host)
    scores = [_tested(host, tool, module, limit, survivors) for module in modules or MODULES]
    print(f"{'module':10} {'tried':>6} {'killed':>7} {'excluded':>9} {'score':>7}")
    print(*(row for row, _ in scores), sep="\n")
    return 0 if all(good for _, good in scores) else 1


def exclusions(module: str, text: str | None = None) -> list[Exclusion]:
    """The reviewed ones of a module, each with a reason."""
    whole = parse_toml(EXCLUSIONS.read_text(encoding="utf-8") if text is None else text, EXCLUSIONS)
    found = [*whole.get("every", []), *whole.get(module, [])]
    return [Exclusion(entry["function"], entry["line"], entry["reason"]) for entry in found]


def chosen(mutants: Sequence[Mutant], rules: Sequence[Exclusion], limit: int = MOST) -> tuple[list[str], list[str]]:
    """(names to try, names excluded) of at most `limit` mutants; the draw depends on the names alone.

    Raises `DevError` where more than `MOST_EXCLUDED` of what was drawn are excluded.
    """
    drawn = sorted(mutants, key=lambda mutant: mutant.name)
    if len(drawn) > limit:
        drawn = random.Random(SEED).sample(drawn, limit)
    out = [mutant.name for mutant in drawn if any(rule.covers(mutant) for rule in rules)]
    if len(out) > MOST_EXCLUDED * len(drawn):
        raise DevError(f"{len(out)} of {len(drawn)} mutants are excluded; at most {MOST_EXCLUDED:.0%} may be.")
    return sorted({mutant.name for mutant in drawn} - set(out)), out


def mutants_of(source: str, prefix: str) -> Iterator[Mutant]:
    """The mutants in a file that mutmut wrote: beside each original function its variants."""
    bodies = {node.name: node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)}
    for name, node in bodies.items():
        stem, mark, number = name.rpartition("__mutmut_")
        if not mark or not number.isdigit():
            continue
        original = bodies[f"{stem}__mutmut_orig"]
        before, after = (_lines(item) for item in (original, node))
        gone, come = [], []
        for line in difflib.ndiff(before, after):
            if line[0] in "-+":
                (gone if line[0] == "-" else come).append(line[2:].strip())
        function = stem.removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")
        yield Mutant(f"{prefix}.{name}", function, "\n".join(gone), "\n".join(come))


def _lines(function: ast.FunctionDef) -> list[str]:
    """A function without its name, as ast writes it."""
    name, function.name = function.name, "_"
    lines = ast.unparse(function).splitlines()
    function.name = name
    return lines


def _tested(host: Host, tool: Path, module: str, limit: int, survivors: bool) -> tuple[str, bool]:
    """The row of one module, and whether it is good enough."""
    file, tests = MODULES[module]
    place = _workspace(module, file, tests, survivors)
    name = f"{CORE}." + file.removesuffix(".py").replace("/", ".")
    record = place / "mutants" / CORE / f"{file}.meta"
    if not record.exists():
        log(f"{module}: making mutants")
        _mutmut(host, tool, place, ["no such mutant"])
    if not record.exists():
        raise DevError(f"mutmut made no mutants of {file}; {place / 'mutmut.log'} says why.")
    known = {mutant.name: mutant for mutant in mutants_of(record.with_suffix("").read_text(encoding="utf-8"), name)}
    wanted, out = chosen(list(known.values()), exclusions(module), limit)
    left = [item for item in wanted if _outcomes(record).get(item) is None]
    if left:
        log(f"{module}: {len(left)} of {len(wanted)} mutants are left to try")
        _mutmut(host, tool, place, left)
    return _row(module, known, wanted, len(out), _outcomes(record))


def _row(
    module: str, known: dict[str, Mutant], wanted: list[str], excluded: int, outcomes: dict[str, int | None]
) -> tuple[str, bool]:
    tried = [item for item in wanted if outcomes.get(item) is not None]
    alive = [item for item in tried if outcomes[item] in (_SURVIVED, _NO_TEST)]
    for item in alive:
        mutant = known[item]
        print(
            f"{module}: {mutant.function} survives {item.rpartition('_')[2]}\n  - {mutant.before}\n  + {mutant.after}"
        )
    killed = len(tried) - len(alive)
    score = killed / len(tried) if tried else 0.0
    row = f"{module:10} {len(tried):>3}/{len(wanted):<3}{killed:>6} {excluded:>9} {score:>7.1%}"
    return row, len(tried) == len(wanted) and score >= WANTED


def _workspace(module: str, file: str, tests: Sequence[str], survivors: bool) -> Path:
    """A copy of core and tests for mutmut to work in; made anew when the module or its tests have changed."""
    sources = [REPO / CORE / file, *(REPO / "tests" / "core" / f"test_{name}.py" for name in tests)]
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    place = OUT / "mutants" / module
    stamp = place / "stamp"
    if stamp.exists() and stamp.read_text() == digest:
        return place
    settings = _settings(f"{CORE}/{file}", [f"tests/core/test_{name}.py" for name in tests])
    if survivors and stamp.exists() and (place / CORE / file).read_bytes() == sources[0].read_bytes():
        _renew_tests(place, place / "mutants" / CORE / f"{file}.meta", settings)
    else:
        shutil.rmtree(place, ignore_errors=True)
        for folder in (CORE, "tests", "tools", "workflows"):
            shutil.copytree(REPO / folder, place / folder, ignore=_LEFT_OUT)
        shutil.copy(REPO / "pyproject.toml", place)
        (place / "setup.cfg").write_text(settings, encoding="utf-8")
    stamp.write_text(digest)
    return place


_LEFT_OUT = shutil.ignore_patterns("__pycache__", "host", "browser", "gpu")


def _renew_tests(place: Path, record: Path, settings: str) -> None:
    """The tests as they are now, and what those before had not noticed untried again."""
    for folder in (place, place / "mutants"):
        shutil.copytree(REPO / "tests", folder / "tests", ignore=_LEFT_OUT, dirs_exist_ok=True)
        (folder / "setup.cfg").write_text(settings, encoding="utf-8")
    (place / "mutants" / "mutmut-stats.json").unlink(missing_ok=True)
    kept = json.loads(record.read_text(encoding="utf-8"))
    for name, outcome in kept["exit_code_by_key"].items():
        if outcome in (_SURVIVED, _NO_TEST):
            kept["exit_code_by_key"][name] = None
    record.write_text(json.dumps(kept), encoding="utf-8")


def _settings(file: str, tests: Sequence[str]) -> str:
    arguments = ["-p", "no:cacheprovider", "-m", "not full", "-k", _NOT_IN_PROCESS]
    lists = {"source_paths": [CORE], "only_mutate": [file], "also_copy": ["tools", "workflows"],
             "pytest_add_cli_args": arguments, "pytest_add_cli_args_test_selection": tests}  # fmt: skip
    lines = ["[mutmut]", "use_git_change_detection = false", "track_dependencies = false"]
    return "\n".join([*lines, *(f"{name} =\n    " + "\n    ".join(items) for name, items in lists.items()), ""])


def _outcomes(record: Path) -> dict[str, int | None]:
    return json.loads(record.read_text(encoding="utf-8"))["exit_code_by_key"]


def _mutmut(host: Host, tool: Path, place: Path, names: Sequence[str]) -> None:
    """One process at a time: tests of this size gain little from more, and other work goes on beside."""
    command = [
        host.python,
        "-m",
        "mutmut",
        "run",
        "--max-children",
        os.environ.get("X2EDIT_MUTANTS_AT_ONCE", "1"),
        *names,
    ]
    environment = {**os.environ, "PYTHONPATH": str(tool), "OMP_NUM_THREADS": "1"}
    with (place / "mutmut.log").open("ab") as output:
        subprocess.run(command, cwd=place, env=environment, stdout=output, stderr=output, check=False)


def _installed(host: Host) -> Path:
    """mutmut in a folder of its own: the host's environment and the key of its cache stay as they are."""
    folder = cache_root() / MUTATION_TOOL.replace("==", "-")
    if not (folder / "mutmut").exists():
        log(f"installing {MUTATION_TOOL}")
        command = [host.python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", str(folder)]
        if subprocess.run([*command, MUTATION_TOOL], check=False).returncode:
            raise DevError(f"{MUTATION_TOOL} could not be installed into {folder}.")
    return folder

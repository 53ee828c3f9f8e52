"""The import arrows of the pack, read from its source: nodes → comfy_bridge → core, and nothing points back."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE, NODES = ROOT / "x2edit_core", ROOT / "nodes"
CORE_FILES = sorted(CORE.rglob("*.py"))
NODE_FILES = sorted(NODES.rglob("*.py"))
HOST = {"comfy", "comfy_api", "comfy_config", "comfy_execution", "comfy_extras", "execution", "folder_paths",
        "latent_preview", "node_helpers", "nodes", "server", "app"}  # fmt: skip


@dataclass(frozen=True)
class Import:
    """One imported module: its absolute name, or its dotted path from the repository's root if it is ours."""

    name: str
    ours: bool
    line: int
    in_function: bool

    @property
    def top(self) -> str:
        return self.name.split(".")[0]


def relative_name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> list[Import]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = {id(child) for function in functions for child in ast.walk(function)}
    typing_only = {id(child) for n in ast.walk(tree) if _is_type_checking(n) for child in ast.walk(n)}
    found = []
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found += [Import(alias.name, False, node.lineno, id(node) in inside) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [Import(name, ours, node.lineno, id(node) in inside) for name, ours in _from(path, node)]
    return found


def _is_type_checking(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _from(path, node):
    """What a `from` statement imports; a name that is itself a module counts as that module."""
    if node.level == 0:
        return [(node.module, False)]
    package = path.relative_to(ROOT).parent.parts
    climb = len(package) - node.level + 1
    assert climb >= 0, f"{relative_name(path)}:{node.lineno} climbs out of the pack"
    base = package[:climb]
    module = ".".join((*base, node.module) if node.module else base)
    folder = ROOT.joinpath(*module.split("."))
    names = []
    for alias in node.names:
        is_module = (folder / f"{alias.name}.py").exists() or (folder / alias.name / "__init__.py").exists()
        names.append((f"{module}.{alias.name}" if is_module else module, True))
    return names


def is_part(path: Path, part: str) -> bool:
    """Whether `path` belongs to the core's part of that name, a module or a package."""
    return path.relative_to(CORE).parts[0] in (part, f"{part}.py")


@pytest.mark.parametrize("path", CORE_FILES, ids=relative_name)
def test_core_uses_relative_imports_and_never_the_nodes(path):
    for found in imports_of(path):
        assert found.top != "x2edit_core" or found.ours, f"line {found.line}: import the core relatively"
        assert not (found.ours and found.top != "x2edit_core"), f"line {found.line}: the core imports {found.name}"


@pytest.mark.parametrize("path", [p for p in CORE_FILES if not is_part(p, "comfy_bridge")], ids=relative_name)
def test_only_the_bridge_imports_the_host(path):
    for found in imports_of(path):
        assert found.ours or found.top not in HOST, f"line {found.line}: {found.name}"
        bridge = found.ours and found.name.startswith("x2edit_core.comfy_bridge")
        assert not bridge, f"line {found.line}: the core must not lean on the bridge"


@pytest.mark.parametrize("path", CORE_FILES, ids=relative_name)
def test_only_chat_imports_transformers_and_only_when_used(path):
    for found in imports_of(path):
        if found.top in ("transformers", "huggingface_hub", "diffusers"):
            assert is_part(path, "chat") and found.in_function, f"line {found.line}: {found.name}"


@pytest.mark.parametrize("path", NODE_FILES, ids=relative_name)
def test_nodes_reach_the_host_through_the_core(path):
    for found in imports_of(path):
        allowed = found.top == "comfy_api" or found.top not in HOST or found.ours
        assert allowed, f"line {found.line}: {found.name}"
        assert not found.ours or found.top in ("nodes", "x2edit_core"), f"line {found.line}: {found.name}"


@pytest.mark.parametrize("path", [*CORE_FILES, *NODE_FILES], ids=relative_name)
def test_nothing_prints(path):
    calls = (n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Call))
    lines = [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
    command_line = path.name == "__main__.py"
    assert not lines or command_line, f"print in lines {lines}"


def test_the_core_has_no_import_cycle():
    names = {module_name(path): path for path in CORE_FILES}
    graph = {
        name: {found.name for found in imports_of(path) if found.ours and not found.in_function} - {name}
        for name, path in names.items()
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join((*trail[trail.index(name) :], name))
        if name in done or name not in graph:
            return
        for child in graph[name]:
            visit(child, (*trail, name))
        done.add(name)

    for name in graph:
        visit(name, ())


def test_importing_the_core_is_light():
    outside_bridge = [path for path in CORE_FILES if not is_part(path, "comfy_bridge") and path.name != "__main__.py"]
    modules = [module_name(path) for path in outside_bridge]
    heavy = ["transformers", "torchvision", "comfy", "requests", "aiohttp", "huggingface_hub"]
    script = (
        f"import importlib, sys; sys.path.append({str(ROOT)!r})\n"
        "import socket; socket.socket.connect = lambda *a: sys.exit('an import opened a connection')\n"
        f"[importlib.import_module(name) for name in {modules!r}]\n"
        "import torch; assert not torch.cuda.is_initialized()\n"
        f"print(*[name for name in {heavy!r} if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT.anchor
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == ""

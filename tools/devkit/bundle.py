"""A copy of the host for a machine without network that already has torch: ComfyUI and the packages such images lack."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from .host import DevError, Host, log

LIMIT_MB = 50
# Of ComfyUI's top folder: what only the page, its own developers or a person's own files are for.
_LEFT_OUT = {".git", "blueprints", "custom_nodes", "input", "models", "openapi.yaml", "output", "script_examples",
             "tests", "tests-unit", "user"}  # fmt: skip
# What ComfyUI imports and a general PyTorch image does not have. The versions are those of the host's environment.
_PACKAGES = (
    "comfy-aimdo", "torchsde", "trampoline", "spandrel", "kornia", "kornia-rs", "simpleeval", "blake3",
    "alembic", "mako", "sqlalchemy", "greenlet",
    "pydantic", "pydantic-core", "pydantic-settings", "typing-inspection", "annotated-types", "python-dotenv",
)  # fmt: skip
# Its wheels with compiled kernels are as large as everything else together; the portable one computes the same.
_PORTABLE = ("comfy-kitchen",)
_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_24_x86_64", "manylinux_2_17_x86_64",
              "manylinux2014_x86_64", "manylinux_2_12_x86_64", "manylinux1_x86_64")  # fmt: skip

_UNPACK = '''"""Unpack this bundle: `eval "$(python3 unpack.py DIR)"` sets the two variables that run.json names."""
import sys
import zipfile
from pathlib import Path

here, target = Path(__file__).resolve().parent, Path(sys.argv[1] if len(sys.argv) > 1 else "host").resolve()
with zipfile.ZipFile(here / "comfyui.zip") as archive:
    archive.extractall(target)
for wheel in sorted((here / "wheels").glob("*.whl")):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target / "site")
print(f"export COMFYUI_PATH='{target / 'ComfyUI'}' PYTHONPATH='{target / 'site'}'")
'''

# PyAV carries a whole FFmpeg; ComfyUI imports it at start but only its video and audio nodes call it.
_NO_VIDEO = '''"""Stands in for PyAV, which is too large for this bundle: imports succeed, any use fails."""
import importlib.abc
import importlib.machinery
import sys
import types


class _Absent(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _make(f"{cls.__name__}.{name}")

    def __call__(cls, *args, **kwargs):
        raise RuntimeError(f"{cls.__name__} needs PyAV, which this offline copy of ComfyUI leaves out.")


def _make(name):
    return _Absent(name, (), {})


class _Module(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _make(f"{self.__name__}.{name}")


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if name.startswith("av.") else None

    def create_module(self, spec):
        return _Module(spec.name)

    def exec_module(self, module):
        pass


__version__ = "0"
sys.meta_path.append(_Finder())
sys.modules[__name__].__class__ = _Module
'''


def write(host: Host, folder: Path, python: str | None = None) -> None:
    """Fill `folder` with the bundle for CPython `python` (such as "3.12") on x86-64 Linux."""
    python = python or f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.rmtree(folder / "wheels", ignore_errors=True)
    (folder / "wheels").mkdir(parents=True)
    log("Collecting wheels …")
    versions = _installed(host, (*_PACKAGES, *_PORTABLE))
    _download(host, [f"{name}=={versions[name]}" for name in _PACKAGES], folder / "wheels", python, _PLATFORMS)
    _download(host, [f"{name}=={versions[name]}" for name in _PORTABLE], folder / "wheels", python, ("any",))
    log("Packing ComfyUI …")
    _pack(Path(host.comfyui), folder / "comfyui.zip")
    (folder / "unpack.py").write_text(_UNPACK, encoding="utf-8")
    notes = {
        "comfyui": host.version,
        "python": python,
        "unpack": 'eval "$(python3 unpack.py DIR)"',
        "environment": {"COMFYUI_PATH": "DIR/ComfyUI", "PYTHONPATH": "DIR/site"},
        "then": "python3 tools/dev.py test --tier host, or any other command of tools/dev.py",
        "left_out": ["the page (frontend, templates, documentation)", "PyAV: video and audio nodes cannot run",
                     "compiled kernels of comfy-kitchen", "torch and what comes with it"],
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(notes, indent=2) + "\n", encoding="utf-8")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    if size > LIMIT_MB:
        raise DevError(f"The bundle came out at {size:.0f} MB; at most {LIMIT_MB} MB were expected.")
    print(f"{folder}: {size:.0f} MB for Python {python}; run.json says how to use it.")


def _installed(host: Host, names: tuple[str, ...]) -> dict[str, str]:
    probe = "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    found = subprocess.run([host.python, "-c", probe, *names], capture_output=True, text=True, check=False)
    if found.returncode:
        raise DevError(f"{host.python} lacks a package that the bundle needs:\n{found.stderr.strip()}")
    return json.loads(found.stdout)


def _download(host: Host, pinned: list[str], folder: Path, python: str, platforms: tuple[str, ...]) -> None:
    command = [host.python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--only-binary=:all:", "--python-version", python, "--implementation", "cp", "--dest", str(folder)]  # fmt: skip
    for platform in platforms:
        command += ["--platform", platform]
    if subprocess.run([*command, *pinned], check=False).returncode:
        raise DevError(f"These wheels for Python {python} could not be fetched: {' '.join(pinned)}")


def _pack(comfyui: Path, archive: Path) -> None:
    """ComfyUI without what only the page or its own developers need, and the stand-in for PyAV as part of `site`."""
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "ComfyUI"
        shutil.copytree(comfyui, tree, ignore=lambda at, names: _ignored(Path(at) == comfyui, names))
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
            for path in sorted(tree.rglob("*")):
                if path.is_file():
                    packed.write(path, path.relative_to(scratch))
            packed.writestr("site/av/__init__.py", _NO_VIDEO)


def _ignored(top: bool, names: list[str]) -> list[str]:
    return [name for name in names if name == "__pycache__" or (top and name in _LEFT_OUT)]

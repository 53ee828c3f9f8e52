"""The host twice: inside this process (`pack`), and as the real server (`server`).

`COMFYUI_PATH` names the ComfyUI to test against; `tools/dev.py test` sets it. Importing this file makes `comfy`,
`nodes` and their like importable, on the CPU, with a base directory of their own.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path

import pytest
from devkit import inprocess
from devkit.host import Host
from devkit.outcomes import pytest_configure  # noqa: F401 - records the outcomes where asked to
from devkit.server import Server

_COMFYUI = os.environ.get("COMFYUI_PATH")
if not _COMFYUI:
    raise pytest.UsageError("COMFYUI_PATH is not set: run these tests with `python3 tools/dev.py test`.")
_BASE = Path(tempfile.mkdtemp(prefix="x2edit-host-"))
atexit.register(shutil.rmtree, _BASE, ignore_errors=True)
inprocess.prepare(Path(_COMFYUI), _BASE)


def pytest_collection_modifyitems(items):
    """Skip what needs a capability that this host lacks."""
    from .capabilities import CAPABILITIES

    lacking = {name: item.reason for name, item in CAPABILITIES.items() if not item.there()}
    for item in items:
        for marker in item.iter_markers("needs"):
            if marker.args[0] in lacking:
                item.add_marker(pytest.mark.skip(reason=lacking[marker.args[0]]))


@pytest.fixture(scope="session")
def pack() -> inprocess.Pack:
    """The pack, loaded by the host's own loader under the name of a real install."""
    return inprocess.Pack(_BASE)


@pytest.fixture(scope="module", params=["flux1", "qwen_image", "flux2"])
def golden(request, pack):
    """The golden models of each family in turn; see `families`."""
    from .families import GOLDEN_FAMILIES

    return GOLDEN_FAMILIES[request.param](pack)


@pytest.fixture(scope="session")
def server():
    """A running host with only this pack: `server.run(api_graph)` executes a graph over HTTP."""
    with Server(Host(_COMFYUI, sys.executable, "")) as running:
        yield running


@pytest.fixture(scope="module")
def no_network():
    """Whoever opens a connection fails."""
    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a connection was opened"))
    yield
    patch.undo()


@pytest.fixture
def recorded(monkeypatch):
    """Times and guidance embedded as on the processor that recorded the golden outputs."""
    from . import golden_embedding

    golden_embedding.feed(monkeypatch)


@pytest.fixture(scope="session")
def tokenizer():
    """Qwen's own."""
    import transformers

    from .tiny_qwen import TOKENIZER

    return transformers.Qwen2Tokenizer.from_pretrained(TOKENIZER)

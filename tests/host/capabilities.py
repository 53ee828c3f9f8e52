"""What an older host cannot do, in one place: each capability with its probe and the reason that a skipped test gives.

`@pytest.mark.needs("name")` asks for one. A probe looks at the host itself, never at its version, and the pinned host must
have them all (`test_compatibility.py`), so that nothing it loses is skipped in silence.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Capability:
    there: Callable[[], bool]
    reason: str


def _has(module: str, path: str) -> bool:
    try:
        found = importlib.import_module(module)
    except ImportError:
        return False
    for name in path.split("."):
        if not hasattr(found, name):
            return False
        found = getattr(found, name)
    return True


def _runs_attention_patches() -> bool:
    layers = importlib.import_module("comfy.ldm.flux.layers")
    blocks = (layers.DoubleStreamBlock, layers.SingleStreamBlock)
    return all("attn1_patch" in block.forward.__code__.co_consts for block in blocks)


def _shows_clean_references() -> bool:
    flux = importlib.import_module("comfy.ldm.flux.model").Flux
    return "timestep_zero_index" in inspect.signature(flux.forward_orig).parameters


def _has_flag(name: str) -> bool:
    return hasattr(importlib.import_module("comfy.cli_args").args, name)


def _keeps_output_layers() -> bool:
    return importlib.import_module("comfy.text_encoders.llama").Qwen3_8BConfig.lm_head


CAPABILITIES = {
    "attention patches": Capability(
        _runs_attention_patches, "this host's FLUX runs no attn1_patch: ICEdit without an adapter is refused"
    ),
    "half precision between nodes": Capability(
        lambda: _has_flag("fp16_intermediates"), "this host has no --fp16-intermediates"
    ),
    "copies for several devices": Capability(
        lambda: _has("comfy.multigpu", "create_multigpu_deepclones"),
        "this host makes no copies of a model for further devices",
    ),
    "ordered vision": Capability(
        lambda: _has("comfy.text_encoders.qwen_vl", "qwen2vl_mrope_position_ids"),
        "this host's Qwen2.5-VL returns the parts of a picture out of order: showing it one is refused",
    ),
    "clean references on FLUX.2": Capability(
        _shows_clean_references, "this host's FLUX.2 has no index_timestep_zero: adapters trained with it are refused"
    ),
    "Qwen3-VL": Capability(lambda: _has("comfy.text_encoders.qwen3vl", "Qwen3VL"), "this host has no Qwen3-VL"),
    "output layer": Capability(
        _keeps_output_layers, "this host loads Qwen3-8B without its output layer: chatting with it is refused"
    ),
}

"""The host inside this very process: for tests and benchmarks that look at live objects instead of pictures.

`prepare` must come before anything imports `comfy`, because the host reads its command line at import. This module is
the one part of the kit that runs in the host's Python.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from .layout import REPO, make_base


def prepare(comfyui: Path, base: Path, flags: Sequence[str] = ("--cpu",)) -> None:
    """Put ComfyUI first on `sys.path` and let it parse `flags`; `base` becomes its base directory.

    Raises RuntimeError if the host was imported earlier, as its device and folders would no longer follow `flags`.
    """
    if "comfy.cli_args" in sys.modules:
        raise RuntimeError("comfy was imported before devkit.inprocess.prepare; its flags can no longer be set.")
    sys.path[:] = [str(comfyui), *(entry for entry in sys.path if entry != str(comfyui))]
    argv = sys.argv
    sys.argv = ["main.py", "--base-directory", str(base), "--disable-api-nodes", *flags]
    try:
        importlib.import_module("comfy.options").enable_args_parsing()
        importlib.import_module("comfy.cli_args")
    finally:
        sys.argv = argv


class Pack:
    """This pack as the host's own loader loaded it, and a way to run single nodes as the host runs them."""

    def __init__(self, base: Path, pack: Path = REPO) -> None:
        self.base = base
        self._path = make_base(base, pack)
        self._host_nodes = importlib.import_module("nodes")
        builtin = set(self._host_nodes.NODE_CLASS_MAPPINGS)
        with _Warnings() as warnings:
            loaded = asyncio.run(self._host_nodes.load_custom_node(str(self._path), builtin))
        if not loaded:
            raise RuntimeError("The host could not load the pack:\n" + "\n".join(warnings.lines))
        self.root = sys.modules[str(self._path).replace(".", "_x_")]
        self.node_ids = sorted(set(self._host_nodes.NODE_CLASS_MAPPINGS) - builtin)
        self._extras_loaded = False

    def core(self, name: str = "") -> ModuleType:
        """The pack's own `x2edit_core` module `name`: the one its nodes use, not a second copy under another name."""
        return importlib.import_module(".".join(filter(None, (self.root.__name__, "x2edit_core", name))))

    def node(self, node_id: str) -> Any:
        """A node class by its id: the pack's or the host's."""
        if node_id not in self._host_nodes.NODE_CLASS_MAPPINGS and not self._extras_loaded:
            asyncio.run(self._host_nodes.init_builtin_extra_nodes())
            self._extras_loaded = True
        return self._host_nodes.NODE_CLASS_MAPPINGS[node_id]

    def run(self, node_id: str, **inputs: Any) -> tuple[Any, ...]:
        """Run one node as the host's executor does and return its outputs.

        Inputs left out take the default that the page would show. Members of a dynamic input are named as the page
        names them, `group.member`; pass those with `**{"group.member": value}`. An output that is a list of items
        comes back as that list.
        """
        torch = importlib.import_module("torch")
        with torch.inference_mode():
            return asyncio.run(_execute(self.node(node_id), inputs))


async def _execute(node: Any, inputs: dict[str, Any]) -> tuple[Any, ...]:
    execution = importlib.import_module("execution")
    inputs, v3_data = _with_defaults(node, inputs)
    target = node if v3_data is not None else node()
    columns = {name: [value] for name, value in inputs.items()}
    results = await execution._async_map_node_over_list(
        "prompt", "1", target, columns, node.FUNCTION, allow_interrupt=True, v3_data=v3_data
    )
    results = await execution.resolve_map_node_over_list_results(results)
    outputs, _, has_subgraph = execution.get_output_from_returns(results, target)
    if has_subgraph:
        raise RuntimeError(f"{node.__name__} expands into a graph; run it through the server.")
    is_list = getattr(node, "OUTPUT_IS_LIST", None) or [False] * len(outputs)
    return tuple(column if listed else column[0] for column, listed in zip(outputs, is_list, strict=True))


def _with_defaults(node: Any, inputs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """`inputs` completed from the schema, and the executor's extra data for a V3 node (None for a V1 node)."""
    declared, v3_data = node.INPUT_TYPES(), None
    if hasattr(node, "GET_SCHEMA"):
        host_io = importlib.import_module("comfy_api.latest._io")
        # A dynamic choice decides which inputs exist, so its own default comes first.
        inputs = {**_defaults(declared, only="COMFY_DYNAMICCOMBO_V3"), **inputs}
        declared, _, v3_data = host_io.get_finalized_class_inputs(declared, inputs)
        v3_data["hidden_inputs"] = {}
    return {**_defaults(declared), **inputs}, v3_data


def _defaults(declared: dict[str, Any], only: str | None = None) -> dict[str, Any]:
    return {
        name: default
        for group in ("required", "optional")
        for name, spec in declared.get(group, {}).items()
        if (only is None or spec[0] == only) and (default := _default(spec)) is not None
    }


def _default(spec: Sequence[Any]) -> Any:
    """What the page would put into a widget of this declaration; None for a socket."""
    kind, options = spec[0], (spec[1] if len(spec) > 1 else {})
    if options.get("forceInput"):
        return None
    if "default" in options:
        return options["default"]
    choices = kind if isinstance(kind, list) else options.get("options")
    if not choices:
        return None
    return choices[0]["key"] if isinstance(choices[0], dict) else choices[0]


class _Warnings(logging.Handler):
    """Collects what the host's loader logs, as it reports a failed import only there."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def __enter__(self) -> _Warnings:
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self)

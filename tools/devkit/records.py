"""What the repository keeps of the nodes' schemas: the public contract, and the English words for the page.

Both come from `/object_info` of a host without models, so that nothing in them depends on a disk.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from .host import DevError
from .layout import REPO
from .server import Server

CONTRACT = REPO / "tests" / "data" / "object_info.json"
LOCALES = REPO / "locales"
COMMAND = "python3 tools/dev.py record"

# Choices that come from a person's files or from the host; they are no promise of ours.
_VARYING = {
    "adapter_name",
    "encoder",
    "encoder_file",
    "endpoint",
    "file",
    "folder",
    "sampler_name",
    "sampler",
    "scheduler",
}
_LIMITS = (("min", float("-inf")), ("max", float("inf")))
_KEPT = ("default", "min", "max", "options", "forceInput")

ObjectInfo = dict[str, dict[str, Any]]


def ours(server: Server) -> ObjectInfo:
    """The schemas of this pack's nodes as the host serves them, by id."""
    info = server.object_info()
    return {key: info[key] for key in sorted(info) if info[key]["python_module"].startswith("custom_nodes.")}


def inputs_of(definition: dict[str, Any]) -> dict[str, list[Any]]:
    """Name → [type, options] of every input, required ones first."""
    groups = (definition["input"].get(group, {}) for group in ("required", "optional"))
    return {name: spec for group in groups for name, spec in group.items()}


def contract(info: ObjectInfo) -> dict[str, Any]:
    """What saved graphs and API callers rely on: ids, inputs with types and fixed choices, outputs in order."""
    return {
        node_id: {
            "inputs": _contract_inputs(definition["input"]),
            "outputs": [
                f"{name}: {kind}" for name, kind in zip(definition["output_name"], definition["output"], strict=True)
            ],
        }
        for node_id, definition in info.items()
    }


def _contract_inputs(groups: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {"required": group == "required", **_promise(name, spec)}
        for group in ("required", "optional")
        for name, spec in groups.get(group, {}).items()
    }


def _promise(name: str, spec: list[Any]) -> dict[str, Any]:
    kind, options = spec[0], (spec[1] if len(spec) > 1 else {})
    if isinstance(kind, list):
        kind, options = "COMBO", {**options, "options": kind}
    kept = {key: options[key] for key in _KEPT if key in options and not (name in _VARYING and key == "options")}
    if kept.get("options") and isinstance(kept["options"][0], dict):
        kept["options"] = {entry["key"]: _contract_inputs(entry["inputs"]) for entry in kept["options"]}
    if "template" in options:
        template = options["template"]
        grown = {key: value for key, value in template.items() if key != "input"}
        kept["template"] = {**grown, "inputs": _contract_inputs(template["input"])}
    return {"type": kind, **kept}


def breaks(old: dict[str, Any], new: dict[str, Any], replaced: Collection[str] = ()) -> list[str]:
    """What in `new` would break a graph saved with `old`. A vanished id is no break if the host knows its replacement.

    The host replaces nodes by id alone, so the inputs and outputs of an id that stays may only grow.
    """
    found = []
    for node_id, before in old.items():
        if node_id in new:
            found += [f"{node_id}: {fault}" for fault in _node_breaks(before, new[node_id])]
        elif node_id not in replaced:
            found.append(f"{node_id} is gone and no io.NodeReplace names its successor")
    return found


def _node_breaks(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    found = _input_breaks(before["inputs"], after["inputs"])
    if after["outputs"][: len(before["outputs"])] != before["outputs"]:
        found.append(f"outputs were {before['outputs']}, are {after['outputs']}")
    return found


def _input_breaks(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    found = [f"input {name} is gone" for name in before if name not in after]
    found += [f"new input {name} is required" for name in after if after[name]["required"] and name not in before]
    kept = [name for name in before if name in after]
    if not found and list(after)[: len(kept)] != kept:
        found.append(f"inputs stood as {kept}, stand as {list(after)}; saved graphs hold values by position")
    for name in before.keys() & after.keys():
        found += [f"input {name}: {fault}" for fault in _promise_breaks(before[name], after[name])]
    return sorted(found)


def _promise_breaks(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    found = [
        f"{key} was {before.get(key)}, is {after.get(key)}"
        for key in ("type", "template")
        if before.get(key) != after.get(key)
    ]
    if after["required"] and not before["required"]:
        found.append("was optional, is required")
    gone = [option for option in before.get("options", ()) if option not in after.get("options", ())]
    if gone:
        found.append(f"lost the choices {gone}")
    lowest, highest = ([side.get(key, limit) for side in (before, after)] for key, limit in _LIMITS)
    if lowest[1] > lowest[0] or highest[1] < highest[0]:
        found.append("allows fewer values than before")
    return found


def english(info: ObjectInfo) -> dict[str, Any]:
    """The page's words for each node, in the layout of `locales/en/nodeDefs.json`."""
    return {node_id: _words(definition) for node_id, definition in info.items()}


def _words(definition: dict[str, Any]) -> dict[str, Any]:
    outputs = zip(definition["output_name"], definition["output_tooltips"], strict=True)
    return {
        "display_name": definition["display_name"],
        "description": definition["description"],
        "inputs": {
            name: {"name": spec[1].get("display_name") or name, "tooltip": spec[1]["tooltip"]}
            for name, spec in inputs_of(definition).items()
        },
        "outputs": {str(index): {"name": name, "tooltip": tooltip} for index, (name, tooltip) in enumerate(outputs)},
    }


def categories(info: ObjectInfo) -> set[str]:
    """Every part of every category path."""
    return {part for definition in info.values() for part in definition["category"].split("/")}


def write(server: Server, *, accept_breaking: bool = False) -> list[Path]:
    """Record the schemas; refuses to record a change that breaks saved graphs unless told to accept it."""
    info = ours(server)
    new, replaced = contract(info), server.get_json("/node_replacements")
    old = json.loads(CONTRACT.read_text(encoding="utf-8")) if CONTRACT.exists() else {}
    if (faults := breaks(old, new, replaced)) and not accept_breaking:
        lines = "\n".join(f"  {fault}" for fault in faults)
        raise DevError(
            f"These changes break saved graphs:\n{lines}\nKeep the old form, or give the node a new id and register an "
            "io.NodeReplace for the old one. --accept-breaking records them all the same; fit only before a release."
        )
    files = {CONTRACT: new, LOCALES / "en" / "nodeDefs.json": english(info)}
    for path, content in files.items():
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return list(files)

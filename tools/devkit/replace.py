"""Real-model loaders → the embedded miniature, so that every shipped workflow can be executed without a download."""

from __future__ import annotations

import copy
from typing import Any

from x2edit_core.errors import X2EditError

Prompt = dict[str, dict[str, Any]]

# Per loader: for each of its outputs, the output of X2EditDemoModels that takes its place …
_MODEL, _CLIP, _VAE = 0, 1, 2
# … or the name of the input that passes through instead (a LoRA made for the real model has no place here).
REPLACEMENTS: dict[str, tuple[int | str, ...]] = {
    "UNETLoader": (_MODEL,),
    "CheckpointLoaderSimple": (_MODEL, _CLIP, _VAE),
    "DualCLIPLoader": (_CLIP,),
    "CLIPLoader": (_CLIP,),
    "VAELoader": (_VAE,),
    "LoraLoaderModelOnly": ("model",),
    "LoraLoader": ("model", "clip"),
}
# Nodes that need real weights throughout: the node to run instead, and which of their inputs it takes under which name.
STAND_INS: dict[str, tuple[str, dict[str, str]]] = {
    "X2EditTextEncode": ("CLIPTextEncode", {"clip": "clip", "text": "instruction"}),
}
_UNUSED = {
    *("X2EditAlignNetLoader", "CLIPVisionLoader", "CLIPVisionEncode", "X2EditImageAdapterLoader", "X2EditImageTokens")
}
"""Left out with whatever they feed: no weights of the miniature's size stand for them."""
# Inputs that take another value with the miniature: its adapters, and pictures of the size that it was made for.
SETTINGS = {
    "X2EditReference": {"size": "keep", "width": 0, "height": 0},
    "X2EditQwenTextEncode": {"size": "keep", "width": 0, "height": 0},
    "ICEditDiptych": {"width": 128},
    "ICEditInvert": {"width": 128},
    # No model to ask stands behind a headless run, and no person: the judge gives up at once, and the first stays.
    "X2EditChatFromEndpoint": {"base_url": "http://127.0.0.1:1/v1", "timeout": 1.0, "attempts": 1},
    "X2EditHumanJudge": {"timeout": 1.0},
    "X2EditTrain": {"steps": 2, "size": 32},
    "X2EditEarlyFilter": {"seeds": 3, "early_steps": 2},
    "X2EditEarlyFilterAdvanced": {"seeds": 3},
}
_SMALL = {"size": "keep", "width": 64, "height": 64}
_QWEN_SETTINGS = {"X2EditReference": _SMALL, "X2EditQwenTextEncode": _SMALL}
"""What differs with the miniature Qwen-Image, which was made for smaller ones."""
_ADAPTERS = {
    "icedit-moe": "embedded: icedit",
    "icedit": "embedded: icedit plain",
    "qwen": "embedded: x2edit qwen",
    "": "embedded: x2edit",
}
"""The miniature's adapter by what a file's name holds, first match."""
_EMBEDDED = "embedded: "
_LOADER = "X2EditAdapterLoader"
_MODEL_NAMES = ("unet_name", "ckpt_name")


def with_demo_models(prompt: Prompt, keep: str | None = None) -> Prompt:
    """A copy of an API-format graph with its loaders replaced by `X2EditDemoModels` nodes, one for each base used.

    A model file with "fill" in its name becomes the Fill base, one with "qwen" the Qwen-Image. Text encoders and
    autoencoders take the base of the graph's first model. Adapters become the miniature's, but for those that are so
    already and the one called `keep`.
    """
    unused = {key for key, node in prompt.items() if node["class_type"] in _UNUSED}
    prompt = {key: _stand_in(node) for key, node in prompt.items() if key not in unused}
    for node in prompt.values():
        node["inputs"] = {k: v for k, v in node["inputs"].items() if not (isinstance(v, list) and v[0] in unused)}
    bases = {key: _base(node) for key, node in prompt.items() if _is_model(node)}
    shared = next(iter(bases.values()), "x2edit")
    loaders = {key: node for key, node in prompt.items() if node["class_type"] in REPLACEMENTS}
    demo_ids = {base: _free_id(prompt, base) for base in {shared, *bases.values()}}
    used = set()
    for node in prompt.values():
        for name, value in node["inputs"].items():
            while isinstance(value, list) and value[0] in loaders:
                loader = loaders[value[0]]
                place = REPLACEMENTS[loader["class_type"]][value[1]]
                if isinstance(place, str):
                    value = loader["inputs"][place]
                else:
                    base = bases.get(value[0], shared)
                    used.add(base)
                    value = [demo_ids[base], place]
            node["inputs"][name] = value
        settings = _settings(node, keep, shared)
        node["inputs"].update({k: v for k, v in settings.items() if k in node["inputs"]})
    kept = {key: node for key, node in prompt.items() if key not in loaders}
    demos = {demo_ids[base]: {"class_type": "X2EditDemoModels", "inputs": {"base": base}} for base in sorted(used)}
    return {**demos, **kept}


def demo_changes(before: Prompt, after: Prompt) -> list[str]:
    """What `with_demo_models` changed, a line each: figures of such a run say nothing about what it took away."""
    lines = []
    for key, node in before.items():
        now = after.get(key)
        if now is None or now["class_type"] != node["class_type"]:
            lines.append(f"Node {key}, {node['class_type']}: an embedded model or a stand-in takes its place.")
            continue
        for name, value in node["inputs"].items():
            new = now["inputs"].get(name)
            if new != value and not isinstance(value, list):
                lines.append(f"Node {key}, {node['class_type']}: {name} is {new!r} instead of {value!r}.")
    return lines


def with_adapter(prompt: Prompt, name: str) -> Prompt:
    """A copy of the graph whose one adapter loader loads `name`; raises `X2EditError` where there is another number."""
    prompt = copy.deepcopy(prompt)
    loaders = [key for key, node in prompt.items() if node["class_type"] == _LOADER]
    if len(loaders) != 1:
        found = ", ".join(loaders) or "none"
        raise X2EditError(
            f"One {_LOADER} node was expected to take the adapter, found: {found}. Choose it in the workflow instead."
        )
    prompt[loaders[0]]["inputs"]["adapter_name"] = name
    return prompt


def with_picture(prompt: Prompt, name: str) -> Prompt:
    """A copy of the graph whose LoadImage nodes all load `name` from the host's input folder."""
    prompt = copy.deepcopy(prompt)
    for node in prompt.values():
        if node["class_type"] == "LoadImage":
            node["inputs"]["image"] = name
    return prompt


def _stand_in(node: dict[str, Any]) -> dict[str, Any]:
    """A copy of the node, or the one that runs in its place."""
    if node["class_type"] not in STAND_INS:
        return copy.deepcopy(node)
    name, inputs = STAND_INS[node["class_type"]]
    return {**node, "class_type": name, "inputs": {mine: node["inputs"][theirs] for mine, theirs in inputs.items()}}


def _is_model(node: dict[str, Any]) -> bool:
    return node["class_type"] in REPLACEMENTS and any(name in node["inputs"] for name in _MODEL_NAMES)


def _base(node: dict[str, Any]) -> str:
    names = [str(node["inputs"].get(name, "")) for name in _MODEL_NAMES]
    name = "".join(names).lower()
    return next((base for base in ("fill", "qwen") if base in name), "x2edit")


def _settings(node: dict[str, Any], keep: str | None, base: str) -> dict[str, Any]:
    if node["class_type"] == _LOADER:
        given = str(node["inputs"].get("adapter_name", ""))
        name = given.lower()
        if given == keep or name.startswith(_EMBEDDED):
            return {}
        return {"adapter_name": next(value for part, value in _ADAPTERS.items() if part in name)}
    special = _QWEN_SETTINGS if base == "qwen" else {}
    return special.get(node["class_type"]) or SETTINGS.get(node["class_type"], {})


def _free_id(prompt: Prompt, base: str) -> str:
    name = f"demo_{base}"
    while name in prompt:
        name += "_"
    return name

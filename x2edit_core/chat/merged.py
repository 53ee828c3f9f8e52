"""A judge that is a LoRA of another model: a folder with `adapter_config.json`, merged into its base when it is loaded.

The base is looked for on this machine alone: where the adapter's configuration says, in the folder `base` within it, and
beside it under the base's name. Merging takes `peft`, which is optional; a server with the merged model needs none of it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .protocol import ChatError

CONFIG = "adapter_config.json"


def is_adapter(folder: Path) -> bool:
    """Whether the folder holds a LoRA and no model of its own."""
    return (folder / CONFIG).is_file() and not (folder / "config.json").is_file()


def base_of(folder: Path) -> Path:
    """The folder of the model that the LoRA in `folder` belongs to; raises `ChatError` where it is not on this machine."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        name = str(config["base_model_name_or_path"])
        kind = str(config.get("peft_type", "LORA"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ChatError(
            "missing", f"{folder.name}/{CONFIG} cannot be read, or names no base model: {error!r}."
        ) from error
    if kind != "LORA":
        raise ChatError("unsupported", f"{folder.name} is a {kind} adapter; only a LoRA can be merged.")
    last = name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    for place in (Path(name), folder / "base", folder.parent / last):
        if place.is_absolute() and (place / "config.json").is_file():
            return place
    raise ChatError(
        "missing",
        f"{folder.name} is a LoRA of {name}, which is not there. Put that whole model into the folder {last} beside it, or "
        "serve the two with a server and use X2Edit Chat From Endpoint.",
    )


def merged(model: Any, folder: Path) -> Any:
    """`model` with the LoRA of `folder` merged into it; raises `ChatError` without peft, and where parts do not belong."""
    try:
        import peft
    except ImportError as error:
        raise ChatError(
            "missing",
            f"{folder.name} is a LoRA; merging it takes peft, which is not installed. Install it with: pip install peft. Or "
            "merge it beforehand, or use a server and X2Edit Chat From Endpoint.",
        ) from error
    before = {name for name, _ in model.named_parameters()}
    wrapped = peft.PeftModel.from_pretrained(model, str(folder))
    _check_read(wrapped, folder)
    done = wrapped.merge_and_unload(safe_merge=True)
    if {name for name, _ in done.named_parameters()} != before:
        raise ChatError("unsupported", f"{folder.name} adds parts to its model that cannot be merged into it.")
    return done


def _check_read(wrapped: Any, folder: Path) -> None:
    """peft leaves out, with a warning at most, what has no place: a LoRA of another model would be none, without a word."""
    from safetensors import safe_open

    path = folder / "adapter_model.safetensors"
    if not path.is_file():
        raise ChatError(
            "missing", f"{folder.name} lacks adapter_model.safetensors. Download the whole repository into it."
        )
    with safe_open(path, "pt") as file:
        given = {name.replace(".default", "") for name in file.keys()}  # noqa: SIM118
    placed = {name.replace(".default", "") for name in wrapped.state_dict() if "lora_" in name}
    lost, empty = given - placed, placed - given
    if lost or empty:
        example = sorted(lost or empty)[0]
        raise ChatError(
            "unsupported",
            f"{folder.name} does not belong to its base model: {len(lost)} of its {len(given)} tensors have no place in it and "
            f"{len(empty)} are missing, such as {example}.",
        )

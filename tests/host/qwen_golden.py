"""The golden Qwen-Image and its adapter in the host: the loader reads a Qwen-Image's depth and channels only, so the test
tells it the other sizes."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from .graphs import GOLDEN

FOLDER = GOLDEN / "qwen_image"
BASE = FOLDER / "qwen_image_base_diffusers.safetensors"
ADAPTER_FILES = ("lora.safetensors", "task_embeddings.bin")


def recorded():
    """`cases.json` whole."""
    return json.loads((FOLDER / "cases.json").read_text())


def tensors():
    return {key: tensor.float() for key, tensor in load_file(FOLDER / "io.safetensors").items()}


def load_base(weights=None, options=None, **sizes_apart):
    """The golden base, or other weights of its sizes, by the host's own loader."""
    import comfy.model_detection
    import comfy.sd

    detect = comfy.model_detection.detect_unet_config
    sizes = {key: value for key, value in recorded()["model"].items() if key != "num_layers"} | sizes_apart

    def detected(*args, **kwargs):
        return {**detect(*args, **kwargs), **sizes}

    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr(comfy.model_detection, "detect_unet_config", detected)
        return comfy.sd.load_diffusion_model_state_dict(weights or load_file(BASE), options or {})


def load_adapter(pack, name="qwen golden"):
    """The golden adapter through the loader node."""
    import folder_paths

    folder = pack.base / "models" / "x2edit" / name
    folder.mkdir(parents=True, exist_ok=True)
    for file in ADAPTER_FILES:
        shutil.copyfile(FOLDER / file, folder / file)
    folder_paths.filename_list_cache.pop("x2edit", None)
    return pack.run("X2EditAdapterLoader", adapter_name=name)[0]


def task_names(pack):
    return {task.id: task.label for task in pack.core("tasks").Task}


def batch_of(pack, ids):
    """The golden cases' task ids, one per row, as Task Batch gives them."""
    tasks = pack.core("tasks")
    chosen = [tasks.TaskChoice(tasks.Task.from_id(task)) for task in ids]
    return pack.run("X2EditTaskBatch", **{f"tasks.task{index}": task for index, task in enumerate(chosen)})[0]


def latent(picture):
    """Model-space [B, 16, h, w] as the host's Qwen-Image holds it."""
    return picture.unsqueeze(2)

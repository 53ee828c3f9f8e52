"""Small valid files of every kind that is read, as bytes: where fuzzing starts from."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from x2edit_core.adapters.adapter import Adapter
from x2edit_core.adapters.formats import own, released_icedit, released_x2edit
from x2edit_core.alignnet import AlignNet
from x2edit_core.families.flux1 import FluxShape
from x2edit_core.settings import to_toml
from x2edit_core.tasks import TASK_COUNT
from x2edit_core.train.adapters import new_adapter, spec_for
from x2edit_core.train.config import AdapterConfig, DataConfig, Kind, ModelConfig, TrainConfig

_SHAPE = FluxShape(4, 1, 1)
PAIR = {"instruction": "Remove the dog", "task": "removal"}


@cache
def small_adapter(kind: Kind) -> Adapter:
    """An adapter of `kind` for a FLUX of width 4 with one block of each sort."""
    spec = spec_for(kind, AdapterConfig(experts=2, rank=1), _SHAPE)
    return new_adapter(spec, kind == "x2edit", seed=0)


def own_file(kind: Kind) -> bytes:
    adapter = small_adapter(kind)
    return save(own.tensors(adapter), own.metadata(adapter.spec))


@cache
def released_x2edit_file(kind: Kind = "x2edit") -> bytes:
    return save(_plain(released_x2edit.unpack(small_adapter(kind))))


def released_icedit_file(kind: Kind) -> bytes:
    return save(_plain(released_icedit.unpack(small_adapter(kind))))


def task_table() -> dict[str, Tensor]:
    return {"weight": torch.zeros(TASK_COUNT, _SHAPE.hidden)}


def alignnet() -> dict[str, Tensor]:
    return AlignNet(2, 4, 4, 2).state_dict()


def alignnet_file() -> bytes:
    return save(alignnet())


def torch_file(content: Any, archive: bool) -> bytes:
    """What `torch.save` writes: a zip archive, or the older plain pickle."""
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=archive)
    return buffer.getvalue()


def config_file(kind: Kind = "x2edit") -> bytes:
    data = DataConfig("jsonl", "pairs.jsonl", mix={"edit": 1.0, "copy": 0.5}, tasks={"remove subject": 2.0})
    return to_toml(TrainConfig(kind, "run", 10, model=ModelConfig("flux.safetensors"), data=data)).encode()


@cache
def picture(kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 90, 10)).save(buffer, kind)
    return buffer.getvalue()


def jsonl_file() -> bytes:
    rows = [{"source": "0_source.png", "target": "0_target.png", **PAIR}, {"source": "0_source.png"}]
    return "\n".join(map(json.dumps, rows)).encode()


def tar_file(form: int) -> bytes:
    """One pair; `form` is one of tarfile's."""
    buffer = io.BytesIO()
    told = json.dumps(PAIR).encode()
    members: Mapping[str, bytes] = {"a/1.json": told, "a/1.1.0.jpg": picture("JPEG"), "a/1.2.jpg": picture("JPEG")}
    with tarfile.open(fileobj=buffer, mode="w", format=form) as file:
        for name, content in members.items():
            member = tarfile.TarInfo(name if form != tarfile.GNU_FORMAT else f"{'long/' * 30}{name}")
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def compressed(data: bytes) -> list[bytes]:
    return [compress(data) for compress in (gzip.compress, bz2.compress, lzma.compress)]


def parquet_file(kind: str) -> bytes:
    """One pair in the columns of MagicBrush (also as a benchmark), OmniEdit or GEdit-Bench."""
    import pyarrow as arrow
    from pyarrow import parquet

    shown = [{"bytes": picture(), "path": ""}]
    if kind == "magicbrush":
        columns = {"source_img": shown, "target_img": shown, "mask_img": shown, "img_id": ["1"], "turn_index": [1]}
        columns["instruction"] = [PAIR["instruction"]]
    elif kind == "gedit":
        told = {"key": "1", "task_type": "color", "instruction": "Make it red", "instruction_language": "en"}
        columns = {"input_image": shown, **{name: [value] for name, value in told.items()}}
    else:
        columns = {"src_img": shown, "edited_img": shown, "edited_prompt_list": [["Remove it"]], "task": ["removal"]}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part.parquet"
        parquet.write_table(arrow.table(columns), path)
        return path.read_bytes()


def state() -> dict[str, Any]:
    """What a training run saves."""
    weights = {"weight": torch.zeros(2, 2)}
    return {"step": 3, "config": "kind", "weights": weights, "optimiser": {"state": {}}, "average": {}}


def _plain(named: Any) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in named}

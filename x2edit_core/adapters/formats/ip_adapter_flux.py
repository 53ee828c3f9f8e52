"""The published FLUX IP-Adapters, recognised by their keys: InstantX's (a torch file of two tables, or safetensors) and
XLabs' (safetensors). Every tensor is accounted for; what is incomplete is refused by name.

InstantX: `image_proj.proj.{0,2}`, `image_proj.norm`, `ip_adapter.N.to_{k,v}_ip.weight`, N through double blocks, then
single ones. XLabs: `ip_adapter_proj_model.{proj,norm}`, `double_blocks.N.processor.ip_adapter_double_stream_{k,v}_proj`;
some converters give them InstantX's names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ...errors import CheckpointError, name_some
from ...families.flux1 import HEAD_WIDTH
from ...files import TensorFile, account_shapes, not_finite, read_pickle
from ..image_adapter import ImageAdapter, ImageAdapterSpec

SUFFIXES = (".bin", ".pt", ".pth", ".safetensors", ".sft")
_XLABS = re.compile(r"^double_blocks\.(\d+)\.processor\.ip_adapter_double_stream_([kv])_proj\.(weight|bias)$")
_BLOCK = re.compile(r"^ip_adapter\.(\d+)\.to_[kv]_ip\.(?:weight|bias)$")
_ATTENTIONS_OF_FLUX = {("instantx", 3072): 57, ("xlabs", 3072): 19}
_MOST_BLOCKS = 512
_EXPECTED = (
    "A FLUX IP-Adapter of InstantX (ip-adapter.bin of FLUX.1-dev-IP-Adapter) or of XLabs (ip_adapter.safetensors of "
    "flux-ip-adapter or flux-ip-adapter-v2) was expected; those of other models and Redux go through other nodes."
)


def load_image_adapter(path: Path) -> ImageAdapter:
    """The adapter at `path`; raises `CheckpointError` that lists all problems of the file together."""
    source = str(path)
    tensors = _named(path)
    spec = _spec(tensors, source)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    problems = account_shapes(shapes, _shapes(spec, shapes))
    problems = problems or [fault for name, tensor in tensors.items() for fault in not_finite(name, tensor)]
    if problems:
        raise CheckpointError(source, problems, f"It is {spec.describe()}. Download it again.")
    projector = {name.removeprefix("image_proj."): tensors[name] for name in tensors if name.startswith("image_proj.")}
    blocks = [
        {name.removeprefix(prefix): tensors[name] for name in tensors if name.startswith(prefix)}
        for prefix in (f"ip_adapter.{index}." for index in range(spec.blocks))
    ]
    return ImageAdapter(spec, projector, blocks, source)


def _named(path: Path) -> dict[str, Tensor]:
    """The file's tensors under InstantX's names, in memory of their own."""
    found = _flat(read_pickle(path), path) if path.suffix.lower() in (".bin", ".pt", ".pth") else _of_safetensors(path)
    named = {_canonical(name): tensor for name, tensor in found.items()}
    if len(named) != len(found):
        raise CheckpointError(str(path), ["it holds a tensor twice, under two names"], _EXPECTED)
    return named


def _of_safetensors(path: Path) -> dict[str, Tensor]:
    file = TensorFile(path)
    if not any(_canonical(name).startswith(("image_proj.", "ip_adapter.")) for name in file.names()):
        raise _foreign(path, file.names())
    return {name: file.tensor(name).clone() for name in sorted(file.names())}


def _flat(tables: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    flat: dict[str, Any] = {}
    for name, value in tables.items():
        flat.update(
            {f"{name}.{key}": item for key, item in value.items()} if isinstance(value, Mapping) else {name: value}
        )
    if not any(_canonical(name).startswith(("image_proj.", "ip_adapter.")) for name in flat):
        raise _foreign(path, flat)
    strange = [name for name, value in flat.items() if not isinstance(value, Tensor) or not value.is_floating_point()]
    if strange:
        raise CheckpointError(
            str(path), [f"{len(strange)} entries are no tensors of numbers: {name_some(strange)}"], _EXPECTED
        )
    return flat


def _foreign(path: Path, names: Any) -> CheckpointError:
    return CheckpointError(
        str(path),
        [f"its {len(names)} tensors are of no known picture-prompt adapter: {name_some(sorted(names))}"],
        _EXPECTED,
    )


def _canonical(name: str) -> str:
    if name.startswith("ip_adapter_proj_model."):
        return name.replace("ip_adapter_proj_model.", "image_proj.", 1)
    found = _XLABS.match(name)
    return f"ip_adapter.{found[1]}.to_{found[2]}_ip.{found[3]}" if found else name


def _spec(tensors: Mapping[str, Tensor], source: str) -> ImageAdapterSpec:
    """Kind and shapes, read from a few tensors that must be there."""
    kind = "xlabs" if {"image_proj.proj.weight", "image_proj.proj.bias"} & tensors.keys() else "instantx"
    first = "image_proj.proj.weight" if kind == "xlabs" else "image_proj.proj.0.weight"
    last = "image_proj.proj.weight" if kind == "xlabs" else "image_proj.proj.2.weight"
    numbers = [int(found[1]) for name in tensors if (found := _BLOCK.match(name))]
    key = f"ip_adapter.{min(numbers, default=0)}.to_k_ip.weight"
    needed = (first, last, "image_proj.norm.weight", key)
    if missing := [name for name in needed if name not in tensors]:
        raise CheckpointError(source, [f"missing: {name_some(missing)}"], _EXPECTED)
    if flat := [name for name in (first, last, key) if tensors[name].ndim != 2]:
        raise CheckpointError(source, [f"{name} is {list(tensors[name].shape)}; a matrix expected" for name in flat])
    if max(numbers) >= _MOST_BLOCKS:
        raise CheckpointError(source, [f"it speaks of a block {max(numbers)}; at most {_MOST_BLOCKS} were expected"])
    width, hidden = tensors["image_proj.norm.weight"].numel(), tensors[key].shape[0]
    if not width or tensors[last].shape[0] % width or hidden % HEAD_WIDTH or not hidden:
        raise CheckpointError(
            source,
            [
                f"{last} is {list(tensors[last].shape)}, its tokens are {width} wide, {key} is {list(tensors[key].shape)}"
            ],
            f"Rows of whole tokens, and of whole heads of {HEAD_WIDTH}, were expected.",
        )
    blocks = max(max(numbers) + 1, _ATTENTIONS_OF_FLUX.get((kind, hidden), 0))
    tokens = tensors[last].shape[0] // width
    return ImageAdapterSpec(kind, tensors[first].shape[1], tokens, width, hidden, blocks)


def _shapes(spec: ImageAdapterSpec, found: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    rows = spec.tokens * spec.width
    shapes: dict[str, tuple[int, ...]] = {
        "image_proj.norm.weight": (spec.width,),
        "image_proj.norm.bias": (spec.width,),
    }
    if spec.kind == "instantx":
        inner = found["image_proj.proj.0.weight"][0]
        shapes |= {"image_proj.proj.0.weight": (inner, spec.features), "image_proj.proj.0.bias": (inner,)}
        shapes |= {"image_proj.proj.2.weight": (rows, inner), "image_proj.proj.2.bias": (rows,)}
    else:
        shapes |= {"image_proj.proj.weight": (rows, spec.features), "image_proj.proj.bias": (rows,)}
    for name in (f"ip_adapter.{index}.to_{letter}_ip" for index in range(spec.blocks) for letter in "kv"):
        shapes[f"{name}.weight"] = (spec.hidden, spec.width)
        if spec.kind == "xlabs":
            shapes[f"{name}.bias"] = (spec.hidden,)
    return shapes

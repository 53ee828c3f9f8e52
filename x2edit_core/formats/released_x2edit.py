"""The released X2Edit layout: `lora.safetensors` with `task_embeddings.bin` beside it (upstream `train_1024.py:1057`).

The file stores neither top-k nor alpha; upstream's are 2 and the rank. Experts and rank follow from shapes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from ..adapter import Adapter, AdapterSpec
from ..errors import CheckpointError, X2EditError, name_some
from ..moe import RoutedDelta
from ..sites import FluxShape, Site, Slot, x2edit_sites
from ..tasks import TASK_COUNT
from .files import TensorFile, difference, not_finite, not_finite_parts, read_pickle

TASK_FILE = "task_embeddings.bin"
ALIGNNET_FILE = "diffusion_pytorch_model.bin"
TOP_K = 2

_KEY = re.compile(r"^(single_)?transformer_blocks\.(\d+)\.attn\.processor\.(q|k|v|proj)_moe_lora\.(.+)\.weight$")


def recognises(file: TensorFile) -> bool:
    """Whether the keys are those of an X2Edit adapter, for FLUX or for Qwen-Image."""
    return any(_KEY.match(key) for key in file.names())


def read(file: TensorFile) -> Adapter:
    """The adapter in `file` and its task table; raises `CheckpointError` listing every problem found."""
    source = str(file.path)
    spec = _spec(file, source)
    expected = {key for site in spec.sites for slot in site.slots for key in _slot_shapes(slot, spec, 0)}
    missing, unexpected = difference(file.names(), expected)
    problems = [f"{len(missing)} missing: {name_some(missing)}"] if missing else []
    problems += [f"{len(unexpected)} unexpected: {name_some(unexpected)}"] if unexpected else []
    task_width = 0 if missing else _task_width(file, spec)
    problems += _wrong_shapes(file, spec, task_width)
    table: Tensor | None = None
    if task_width:
        table, faults = _task_table(file.path.with_name(TASK_FILE), task_width)
        problems += faults
    if problems:
        raise CheckpointError(source, problems, "An X2Edit adapter for FLUX in the released layout was expected.")
    deltas = [_pack(file, site, spec, task_width, problems) for site in spec.sites]
    if problems:
        raise CheckpointError(source, problems, "The file is damaged or its training diverged.")
    return Adapter(spec, deltas, table, source)


def _spec(file: TensorFile, source: str) -> AdapterSpec:
    """Shape, experts and rank from the keys and the first block's shapes."""
    depth = {True: 0, False: 0}
    experts = 0
    for key in file.names():
        match = _KEY.match(key)
        if not match:
            continue
        single = match[1] is not None
        depth[single] = max(depth[single], int(match[2]) + 1)
        if inner := re.match(r"experts\.(\d+)\.", match[4]):
            experts = max(experts, int(inner[1]) + 1)
    if not depth[True]:
        raise CheckpointError(
            source,
            [f"it holds {depth[False]} blocks of one kind and no single_transformer_blocks: a Qwen-Image adapter"],
            "This pack edits with FLUX; take X2Edit's FLUX adapter (5,130 tensors, about 2 GB in bf16).",
        )
    first = next((key for key in sorted(file.names()) if key.endswith("experts.0.down.weight")), None)
    if first is None or len(file.shape(first)) != 2:
        raise CheckpointError(source, ["no expert's down.weight of two dimensions was found"])
    rank, hidden = file.shape(first)
    if max(experts, *depth.values()) > len(file.names()):
        raise CheckpointError(
            source, [f"its keys name {experts} experts and {sum(depth.values())} blocks, most of them absent"]
        )
    shared = any(".shared_experts." in key for key in file.names())
    notes = {"alignnet": ALIGNNET_FILE} if file.path.with_name(ALIGNNET_FILE).exists() else {}
    try:
        shape = FluxShape(hidden, depth[False], depth[True])
        return AdapterSpec("x2edit", shape, experts, rank, min(TOP_K, experts), float(rank), shared, notes=notes)
    except X2EditError as error:
        raise CheckpointError(source, [str(error)]) from error


def _task_width(file: TensorFile, spec: AdapterSpec) -> int:
    """Columns of the gate beyond the hidden state: the width of the task table, 0 for a gate without task."""
    gate = file.shape(f"{spec.sites[0].slots[0].key}.gate.weight")
    return max(gate[-1] - spec.shape.hidden, 0)


def _slot_shapes(slot: Slot, spec: AdapterSpec, task_width: int) -> dict[str, tuple[int, int]]:
    """Key → shape of everything a slot holds."""
    hidden, rank = spec.shape.hidden, spec.rank
    shapes = {f"{slot.key}.gate.weight": (spec.experts, hidden + task_width)}
    for name in _expert_names(spec):
        shapes[f"{slot.key}.{name}.down.weight"] = (rank, hidden)
        shapes[f"{slot.key}.{name}.up.weight"] = (slot.width, rank)
    return shapes


def _expert_names(spec: AdapterSpec) -> list[str]:
    return [f"experts.{index}" for index in range(spec.experts)] + (["shared_experts"] if spec.shared else [])


def _wrong_shapes(file: TensorFile, spec: AdapterSpec, task_width: int) -> list[str]:
    wrong = []
    for site in spec.sites:
        for slot in site.slots:
            for key, shape in _slot_shapes(slot, spec, task_width).items():
                if key in file and file.shape(key) != shape:
                    wrong.append(f"{key} is {list(file.shape(key))}, {list(shape)} expected")
    return [f"{len(wrong)} of wrong shape: {name_some(wrong)}"] if wrong else []


def _task_table(path: Path, width: int) -> tuple[Tensor | None, list[str]]:
    """The table [16, width] and what is wrong with it."""
    if not path.exists():
        return None, [f"its gates read a task embedding, but {TASK_FILE} does not lie beside it"]
    table = read_pickle(path).get("weight")
    shape = list(getattr(table, "shape", ()))
    if isinstance(table, Tensor) and shape == [TASK_COUNT, width]:
        return table, not_finite(TASK_FILE, table)
    found = shape or type(table).__name__
    return None, [f"{TASK_FILE}: a `weight` of [{TASK_COUNT}, {width}] was expected, {found} found"]


def _pack(file: TensorFile, site: Site, spec: AdapterSpec, task_width: int, problems: list[str]) -> RoutedDelta:
    """Pack a site's slots for the fused products; NaN and infinities are added to `problems`."""
    parts: dict[str, Tensor] = {}

    def read_part(key: str) -> Tensor:
        return parts.setdefault(key, file.tensor(key))

    hidden, names = spec.shape.hidden, _expert_names(spec)
    gates = [read_part(f"{slot.key}.gate.weight") for slot in site.slots]
    downs = [read_part(f"{slot.key}.{name}.down.weight") for slot in site.slots for name in names]
    ups = [torch.cat([read_part(f"{slot.key}.{name}.up.weight") for name in names], dim=1) for slot in site.slots]
    down_gate = torch.cat([*downs, *(gate[:, :hidden] for gate in gates)])
    task_gate = torch.cat([gate[:, hidden:] for gate in gates]) if task_width else None
    delta = spec.pack(site, down_gate, task_gate, torch.stack(ups))
    problems.extend(not_finite_parts(delta.parameters(), parts))
    return delta


def unpack(adapter: Adapter) -> Iterator[tuple[str, Tensor]]:
    """The adapter's tensors under upstream's names: the inverse of `read`, for exporting."""
    spec = adapter.spec
    for index, site in enumerate(x2edit_sites(spec.shape)):
        delta = adapter.delta(index)
        names = _expert_names(spec)
        downs = delta.down_gate[: delta.down_gate.shape[0] - delta.gates].view(
            len(site.slots), len(names), spec.rank, -1
        )
        gates = delta.down_gate[delta.down_gate.shape[0] - delta.gates :].view(len(site.slots), spec.experts, -1)
        if delta.task_gate is not None:
            gates = torch.cat((gates, delta.task_gate.view(len(site.slots), spec.experts, -1)), dim=-1)
        for position, slot in enumerate(site.slots):
            yield f"{slot.key}.gate.weight", gates[position]
            for number, name in enumerate(names):
                columns = slice(number * spec.rank, (number + 1) * spec.rank)
                yield f"{slot.key}.{name}.down.weight", downs[position, number]
                yield f"{slot.key}.{name}.up.weight", delta.up[position][:, columns]

"""The released X2Edit layout: `lora.safetensors` with `task_embeddings.bin` beside it (upstream `train_1024.py:1057`).

The file stores neither top-k nor alpha; upstream's are 2 and the rank. Experts and rank follow from shapes. One of FLUX.1
has single blocks, one of Qwen-Image has none; that one also holds experts at `proj` that upstream never applies. They may
be absent here, and are not read but to say whether they would do anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from ...errors import CheckpointError, X2EditError
from ...families import FLUX1, QWEN_IMAGE, Family, Shape, Site, Slot
from ...families.qwen_image import QwenShape, stored_slots
from ...files import TensorFile, account, columns, not_finite, not_finite_parts, read_pickle
from ...reference import AUTOMATIC_OFFSETS
from ...tasks import TASK_COUNT
from ..adapter import Adapter, AdapterSpec
from ..moe import LowRank, RoutedDelta

TASK_FILE = "task_embeddings.bin"
ALIGNNET_FILE = "diffusion_pytorch_model.bin"
TOP_K = 2
UNAPPLIED = "not applied"
"""Note of an adapter whose file holds experts that are not zero where nobody applies any."""

_KEY = re.compile(r"^(single_)?transformer_blocks\.(\d+)\.attn\.processor\.(q|k|v|proj)_moe_lora\.(.+)\.weight$")


def recognises(file: TensorFile) -> bool:
    """Whether the keys are those of an X2Edit adapter, for FLUX or for Qwen-Image."""
    return any(_KEY.match(key) for key in file.names())


def read(file: TensorFile) -> Adapter:
    """The adapter in `file` and its task table; raises `CheckpointError` listing every problem found."""
    source = str(file.path)
    spec = _spec(file, source)
    task_width = _task_width(file, spec)
    stored = _stored_only(spec, task_width)
    held = stored if any(key in file for key in stored) else {}
    problems = account(file, _shapes(spec, task_width) | held)
    table: Tensor | None = None
    if task_width:
        table, faults = _task_table(file.path.with_name(TASK_FILE), task_width)
        problems += faults
    if problems:
        expected = f"An X2Edit adapter for {spec.made_for.title} in the released layout was expected."
        raise CheckpointError(source, problems, expected)
    deltas = [_pack(file, site, spec, problems) for site in spec.sites]
    if problems:
        raise CheckpointError(source, problems, "The file is damaged or its training diverged.")
    if any(key.endswith(".up.weight") and key in file and bool(file.tensor(key).any()) for key in stored):
        spec.notes[UNAPPLIED] = "proj"
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
        family, shape = _family(hidden, depth[False], depth[True])
        return AdapterSpec(
            "x2edit",
            shape,
            experts,
            rank,
            min(TOP_K, experts),
            float(rank),
            shared,
            offsets=AUTOMATIC_OFFSETS if family.row_offsets else (0, 0),
            notes=notes,
            family=family.name,
        )
    except X2EditError as error:
        raise CheckpointError(source, [str(error)]) from error


def _family(hidden: int, double: int, single: int) -> tuple[Family, Shape]:
    if single:
        return FLUX1, FLUX1.shape(hidden, double, single)
    return QWEN_IMAGE, QWEN_IMAGE.shape(hidden, double)


def _task_width(file: TensorFile, spec: AdapterSpec) -> int:
    """Columns of the gate beyond the hidden state: the width of the task table, 0 for a gate without task."""
    gate = next((key for key in sorted(file.names()) if key.endswith(".gate.weight")), None)
    return max(columns(file, gate) - spec.shape.hidden, 0) if gate else 0


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


def _shapes(spec: AdapterSpec, task_width: int) -> dict[str, tuple[int, ...]]:
    """Key → shape of everything a file of this spec holds."""
    slots = (slot for site in spec.sites for slot in site.slots)
    return {key: shape for slot in slots for key, shape in _slot_shapes(slot, spec, task_width).items()}


def _stored_only(spec: AdapterSpec, task_width: int) -> dict[str, tuple[int, ...]]:
    """Key → shape of what upstream stores for Qwen-Image and does not apply."""
    slots = stored_slots(spec.shape) if isinstance(spec.shape, QwenShape) else ()
    return {key: shape for slot in slots for key, shape in _slot_shapes(slot, spec, task_width).items()}


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


def _pack(file: TensorFile, site: Site, spec: AdapterSpec, problems: list[str]) -> RoutedDelta:
    """Pack a site's slots for the fused products; NaN and infinities are added to `problems`."""
    parts: dict[str, Tensor] = {}

    def read_part(key: str) -> Tensor:
        return parts.setdefault(key, file.tensor(key))

    def low_rank(key: str) -> LowRank:
        return read_part(f"{key}.down.weight"), read_part(f"{key}.up.weight")

    pairs = [[low_rank(f"{slot.key}.{name}") for name in _expert_names(spec)] for slot in site.slots]
    delta = spec.of_parts(site, pairs, [read_part(f"{slot.key}.gate.weight") for slot in site.slots])
    problems.extend(not_finite_parts(delta.parameters(), parts))
    return delta


def unpack(adapter: Adapter) -> Iterator[tuple[str, Tensor]]:
    """The adapter's tensors under upstream's names: the inverse of `read`, for exporting.

    What upstream's loader expects and does not apply is zero.
    """
    names = _expert_names(adapter.spec)
    for index, site in enumerate(adapter.sites):
        delta = adapter.delta(index)
        for projection, slot in enumerate(site.slots):
            yield f"{slot.key}.gate.weight", delta.gate(projection)
            for name, (down, up) in zip(names, delta.parts(projection), strict=True):
                yield f"{slot.key}.{name}.down.weight", down
                yield f"{slot.key}.{name}.up.weight", up
    like = adapter.delta(0).up
    width = 0 if adapter.task_table is None else adapter.task_table.shape[1]
    for key, shape in _stored_only(adapter.spec, width).items():
        yield key, torch.zeros(shape, dtype=like.dtype)

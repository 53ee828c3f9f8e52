"""The released ICEdit layouts, plain and with experts: `pytorch_lora_weights.safetensors`, diffusers names.

Both files carry one name, so the keys decide. Neither stores alpha nor top-k; upstream's are the rank and 1, experts and
rank follow from shapes. Plain: `<module>.lora_A.weight` [R, in], `.lora_B.weight` [out, R]. Routed: the same with
`.expert_<e>` before `.weight`, and `.lora_route.weight` [E, in].
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from ...errors import CheckpointError, X2EditError
from ...families import Site, Slot
from ...families.flux1 import FILL_TOKEN_WIDTH, FluxShape
from ...files import TensorFile, account, not_finite_parts, save_atomically
from ..adapter import Adapter, AdapterSpec
from ..moe import LowRank, RoutedDelta
from .forms import widened

PREFIX = "transformer."
_STATIC = "x2edit_static_mean_of"
_MARK = f"{PREFIX}x_embedder.lora_A.weight"
_ROUTER = re.compile(r"^transformer\.(single_)?transformer_blocks\.\d+\..+\.lora_route\.weight$")
_BLOCK = re.compile(r"^transformer\.(single_)?transformer_blocks\.(\d+)\.")
_EXPERT = re.compile(r"\.lora_A\.expert_(\d+)\.weight$")


def recognises(file: TensorFile) -> bool:
    """Whether the keys are ICEdit's: routers, or a LoRA on the token embedding of FLUX Fill."""
    if any(_ROUTER.match(key) for key in file.names()):
        return True
    return _MARK in file and file.shape(_MARK)[-1:] == (FILL_TOKEN_WIDTH,)


def read(file: TensorFile) -> Adapter:
    """The adapter in `file`; raises `CheckpointError` listing every problem found."""
    source = str(file.path)
    spec = _spec(file, source)
    expected = {key: shape for site in spec.sites for slot in site.slots for key, shape in _shapes(slot, site, spec)}
    if problems := account(file, expected):
        raise CheckpointError(
            source,
            problems,
            "An ICEdit adapter for FLUX.1 Fill was expected; other LoRA files go through ComfyUI's own LoRA loader.",
        )
    faults: list[str] = []
    deltas = [_pack(file, site, spec, faults) for site in spec.sites]
    if faults:
        raise CheckpointError(source, faults, "The file is damaged or its training diverged.")
    return Adapter(spec, deltas, None, source)


def unpack(adapter: Adapter) -> Iterator[tuple[str, Tensor]]:
    """The adapter's tensors under upstream's names: the inverse of `read`, for exporting."""
    for index, site in enumerate(adapter.sites):
        delta, names = adapter.delta(index), _part_names(site, adapter.spec)
        for projection, slot in enumerate(site.slots):
            for name, (down, up) in zip(names, delta.parts(projection), strict=True):
                yield f"{PREFIX}{slot.key}.lora_A{name}.weight", down
                yield f"{PREFIX}{slot.key}.lora_B{name}.weight", up
            if site.routed:
                yield f"{PREFIX}{slot.key}.lora_route.weight", delta.gate(projection)


def static_mean(adapter: Adapter) -> Iterator[tuple[Site, Slot, Tensor, Tensor]]:
    """A LoRA without routing: (site, slot, down [K, in], up [out, K]) of every projection.

    Where experts were, their exact mean: all of them side by side, of rank E·R, with 1/E of each. A mean of the downs
    and ups apart would be another matrix. This is not what the adapter computes: it chooses one expert per token.
    """
    for index, site in enumerate(adapter.sites):
        delta = adapter.delta(index)
        for slot, (down, up) in zip(site.slots, low_rank_parts(delta), strict=True):
            yield site, slot, widened(down), widened(up) / (delta.experts or 1) * delta.scale


def save_static(adapter: Adapter, path: Path) -> None:
    """Write `static_mean` as an ordinary LoRA file under diffusers' names, which any FLUX LoRA loader reads.

    Raises `X2EditError` rather than replace a file that was not written here.
    """
    if path.exists() and _STATIC not in TensorFile(path).metadata:
        raise X2EditError(f"{path} exists and was not written by this node. Choose another name.")
    tensors: dict[str, Tensor] = {}
    for _, slot, down, up in static_mean(adapter):
        tensors[f"{PREFIX}{slot.key}.lora_A.weight"] = down.detach().cpu()
        tensors[f"{PREFIX}{slot.key}.lora_B.weight"] = up.detach().cpu()
    save_atomically(tensors, path, {_STATIC: Path(adapter.source).name})


def low_rank_parts(delta: RoutedDelta) -> list[LowRank]:
    """(down [K, in], up [out, K]) of each projection: its parts side by side, without the gates."""
    return [_side_by_side(delta.parts(projection)) for projection in range(delta.projections)]


def _side_by_side(parts: list[LowRank]) -> LowRank:
    if len(parts) == 1:
        return parts[0]
    return torch.cat([down for down, _ in parts]), torch.cat([up for _, up in parts], dim=1)


def _spec(file: TensorFile, source: str) -> AdapterSpec:
    """Shape, experts and ranks from the keys and from the shapes of the first of each kind."""
    depth, experts = {True: 0, False: 0}, 0
    for key in file.names():
        if match := _BLOCK.match(key):
            single = match[1] is not None
            depth[single] = max(depth[single], int(match[2]) + 1)
        if match := _EXPERT.search(key):
            experts = max(experts, int(match[1]) + 1)
    if max(experts, *depth.values()) > len(file.names()):
        raise CheckpointError(
            source, [f"its keys name {experts} experts and {sum(depth.values())} blocks, most of them absent"]
        )
    embedder = f"{PREFIX}x_embedder.lora_B.weight"
    if embedder not in file or len(file.shape(embedder)) != 2:
        raise CheckpointError(source, [f"{embedder} of two dimensions was not found"])
    hidden, plain_rank = file.shape(embedder)
    first = next((key for key in sorted(file.names()) if _EXPERT.search(key)), None)
    rank = file.shape(first)[0] if first and file.shape(first) else plain_rank
    kind = "icedit_moe" if experts else "icedit"
    try:
        shape = FluxShape(hidden, depth[False], depth[True])
        return AdapterSpec(
            kind, shape, experts, rank, 1, float(rank), False, "topk_first", (0, 0), plain_rank=plain_rank
        )
    except X2EditError as error:
        raise CheckpointError(source, [str(error)]) from error


def _part_names(site: Site, spec: AdapterSpec) -> list[str]:
    return [f".expert_{index}" for index in range(spec.experts)] if site.routed else [""]


def _shapes(slot: Slot, site: Site, spec: AdapterSpec) -> Iterator[tuple[str, tuple[int, int]]]:
    """(key, shape) of everything a slot holds."""
    for name, rank in zip(_part_names(site, spec), spec.ranks_at(site), strict=True):
        yield f"{PREFIX}{slot.key}.lora_A{name}.weight", (rank, site.in_width)
        yield f"{PREFIX}{slot.key}.lora_B{name}.weight", (slot.width, rank)
    if site.routed:
        yield f"{PREFIX}{slot.key}.lora_route.weight", (spec.experts, site.in_width)


def _pack(file: TensorFile, site: Site, spec: AdapterSpec, faults: list[str]) -> RoutedDelta:
    """Pack a site's slots for the fused products; NaN and infinities are added to `faults`."""
    parts: dict[str, Tensor] = {}

    def read_part(key: str) -> Tensor:
        return parts.setdefault(PREFIX + key, file.tensor(PREFIX + key))

    names = _part_names(site, spec)
    pairs = [
        [(read_part(f"{slot.key}.lora_A{name}.weight"), read_part(f"{slot.key}.lora_B{name}.weight")) for name in names]
        for slot in site.slots
    ]
    gates = [read_part(f"{slot.key}.lora_route.weight") for slot in site.slots] if site.routed else []
    delta = spec.of_parts(site, pairs, gates)
    faults.extend(not_finite_parts(delta.parameters(), parts))
    return delta

"""Networks without weights: the host's own modules on the meta device, few blocks of each kind, to count what they keep."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...adapters.adapter import Adapter, AdapterSpec
from ...errors import X2EditError
from ...files import TensorFile
from ...miniature.qwen import KIND, sizes_of
from ...tasks import TASK_COUNT
from ...train.config import ModelConfig
from ...train.memory import SAMPLED, Blocks, bytes_of
from ...train.quantised import FP8, Quantised, packed
from ..host import comfy
from .trainable import BLOCKS, blocks_of

META = torch.device("meta")
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I8": torch.int8,
    "U8": torch.uint8,
}


def hollow(network: nn.Module) -> Any:
    """A copy of a network that has its modules, and tensors of the same sizes and types that hold nothing."""
    memo: dict[int, Any] = {}
    for tensor in [*network.parameters(), *network.buffers()]:
        empty = tensor.detach().to(META)
        memo[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
    return copy.deepcopy(network, memo)


def shortened(network: Any) -> list[Blocks]:
    """Take from a hollow network all blocks of each kind but the first few; how many there were, and what is left."""
    kinds = []
    for name in [name for name in BLOCKS if hasattr(network, name)]:
        every = list(getattr(network, name))
        if not every:
            continue
        left = every[:SAMPLED]
        setattr(network, name, nn.ModuleList(left))
        kinds.append(Blocks(left, len(every)))
    return kinds


def base_bytes(network: nn.Module, offloaded: bool) -> tuple[int, int]:
    """Bytes of a base on its device and in host memory, where two neighbouring blocks visit the device at a time."""
    whole = sum(bytes_of(parameter) for parameter in [*network.parameters(), *network.buffers()])
    if not offloaded:
        return whole, 0
    sizes = [sum(bytes_of(parameter) for parameter in block.parameters()) for block in blocks_of(network)]
    visiting = max(sum(sizes[at : at + 2]) for at in range(max(1, len(sizes) - 1)))
    return whole - sum(sizes) + visiting, sum(sizes)


def pack_blocks(network: Any, kind: Quantised, dtype: torch.dtype, device: torch.device) -> Any:
    """A copy of a network on `device`, the matrices of its blocks' layers in fewer bits, one at a time made there; all else
    in `dtype`."""
    layers = [layer for block in blocks_of(network) for layer in block.modules() if isinstance(layer, nn.Linear)]
    memo: dict[int, Any] = {}
    for layer in layers:
        weight = layer.weight.detach()
        if weight.dtype not in FP8 and not weight.dtype.is_floating_point:
            continue
        made = packed(weight.to(device, dtype), kind)
        if made is not None:
            memo[id(layer.weight)] = nn.Parameter(made, requires_grad=False)
    for tensor in [*network.parameters(), *network.buffers()]:
        if id(tensor) not in memo:
            moved = tensor.detach().to(device, dtype if tensor.is_floating_point() else None)
            memo[id(tensor)] = nn.Parameter(moved, False) if isinstance(tensor, nn.Parameter) else moved
    return copy.deepcopy(network, memo)


def hollow_adapter(spec: AdapterSpec, task_aware: bool, dtype: torch.dtype) -> Adapter:
    """A new adapter's tensors without their values."""
    width = spec.shape.hidden if task_aware else 0
    deltas = []
    for site in spec.sites:
        empty = {
            name: torch.empty(shape, dtype=dtype, device=META) for name, shape in spec.shapes_at(site, width).items()
        }
        deltas.append(spec.pack(site, empty["down_gate"], empty.get("task_gate"), empty["up"]))
    table = torch.empty(TASK_COUNT, width, dtype=dtype, device=META) if width else None
    return Adapter(spec, deltas, table, "a new adapter").requires_grad_(True)


def shorter_spec(spec: AdapterSpec) -> AdapterSpec:
    """The same adapter for a network that `shortened` has cut."""
    shape: Any = spec.shape
    names = [item.name for item in dataclasses.fields(shape) if item.name != "hidden"]
    depths = {name: min(SAMPLED, getattr(shape, name)) for name in names}
    return dataclasses.replace(spec, shape=dataclasses.replace(shape, **depths))


def network_of_file(config: ModelConfig) -> Any:
    """The network in a model's file as the host would build it, read from the file's index alone.

    Raises `X2EditError` for a file that is no safetensors, or holds nothing that the host knows.
    """
    path = Path(config.base)
    file = TensorFile(path)
    unknown = {file.dtype(name) for name in file.names()} - set(_DTYPES)
    if unknown:
        raise X2EditError(
            f"{path.name} holds tensors of the kind {', '.join(sorted(unknown))}, whose memory is not known."
        )
    tensors = {
        name: torch.empty(file.shape(name), dtype=_DTYPES[file.dtype(name)], device=META) for name in file.names()
    }
    if file.metadata.get("kind") == KIND:
        made = comfy.supported_models.QwenImage({"image_model": "qwen_image", **sizes_of(tensors)})
        return _built(made, tensors, None)
    detection = comfy.model_detection
    prefix = detection.unet_prefix_from_state_dict(tensors)
    tensors = {
        name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)
    } or tensors
    found = detection.model_config_from_unet(tensors, "")
    if found is None:
        tensors = detection.convert_diffusers_mmdit(tensors, "") or {}
        found = detection.model_config_from_unet(tensors, "") if tensors else None
    if found is None:
        raise X2EditError(f"{path.name} holds no model that this ComfyUI knows.")
    return _built(found, tensors, FP8[0] if config.weights == "fp8" else None)


def _built(config: Any, tensors: dict[str, Tensor], dtype: torch.dtype | None) -> Any:
    """What the host's loader does, but for the weights."""
    management = comfy.model_management
    device, kinds = management.get_torch_device(), list(config.supported_inference_dtypes)
    sizes, stored = comfy.utils.calculate_parameters(tensors), comfy.utils.weight_dtype(tensors)
    chosen = dtype or management.unet_dtype(model_params=sizes, supported_dtypes=kinds, weight_dtype=stored)
    config.set_inference_dtype(chosen, management.unet_manual_cast(chosen, device, kinds))
    network = config.get_model(tensors, "", device=META).diffusion_model
    return network.requires_grad_(False).eval()

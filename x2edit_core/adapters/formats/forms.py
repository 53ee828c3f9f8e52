"""Files of other producers in the released layouts' own terms, so that a reader knows one form of each.

Trainers and converters name the same LoRA differently: with or without `transformer.`, dots or underscores, `lora_down`
for `lora_A`, an adapter's name after it, and an `.alpha` [] beside it whose share of the rank scales the product. Those
are the names that ComfyUI's own LoRA loader reads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from ...errors import CheckpointError
from ...families.flux1 import FluxShape, icedit_sites
from ...files import TensorFile

PREFIX = "transformer."
_PREFIXES = ("transformer.", "diffusion_model.", "lora_transformer_", "lycoris_")
_SIDES = {
    "lora_A": "A", "lora_down": "A", "lora.down": "A", "lora_linear_layer.down": "A",
    "lora_B": "B", "lora_up": "B", "lora.up": "B", "lora_linear_layer.up": "B",
}  # fmt: skip
_PART = re.compile(
    rf"^(?P<module>.+?)[._](?P<side>{'|'.join(map(re.escape, _SIDES))})(?:\.default)?(?P<expert>\.expert_\d+)?(?:\.weight)?$"
)
_ROUTE = re.compile(r"^(?P<module>.+?)\.lora_route(?:\.default)?\.weight$")
_BLOCK = re.compile(r"^(?P<block>(?:single_)?transformer_blocks)[._](?P<index>\d+)[._](?P<rest>.+)$")


class ReleasedForm(TensorFile):
    """A tensor file under other names: `names` says what each is called in the file, `alphas` what scales it."""

    def __init__(self, file: TensorFile, names: Mapping[str, str], alphas: Mapping[str, float]) -> None:
        self.path, self.metadata = file.path, file.metadata
        self._of, self._names, self._alphas = file, names, alphas
        kinds = {file.dtype(key) for key in names.values()}
        self._mixed = len(kinds) > 1 and any(kind.startswith("F8") for kind in kinds)

    def names(self) -> set[str]:
        return set(self._names)

    def __contains__(self, key: str) -> bool:
        return key in self._names

    def shape(self, key: str) -> tuple[int, ...]:
        return self._of.shape(self._names[key])

    def dtype(self, key: str) -> str:
        return self._of.dtype(self._names[key])

    def tensor(self, key: str) -> Tensor:
        """Eight-bit numbers beside wider ones are widened, exactly, since torch packs them with no others."""
        tensor = self._of.tensor(self._names[key])
        if self._mixed or key in self._alphas:
            tensor = widened(tensor)
        if key not in self._alphas:
            return tensor
        return tensor * self._alphas[key] if _is_power_of_two(self._alphas[key]) else tensor.float() * self._alphas[key]


def widened(tensor: Tensor) -> Tensor:
    """An eight-bit tensor as bfloat16, which holds each of its numbers; any other as it is."""
    return tensor.to(torch.bfloat16) if tensor.dtype.itemsize == 1 and tensor.is_floating_point() else tensor


def released_form(file: TensorFile) -> TensorFile:
    """`file` with the names of the released layouts; as it is where it has them, or belongs to none of them.

    Raises `CheckpointError` where two tensors would have one name, or an alpha is no number.
    """
    names = {_released_name(key): key for key in sorted(file.names())}
    if len(names) != len(file.names()):
        twins = sorted(set(file.names()) - set(names.values()))
        raise CheckpointError(str(file.path), [f"{len(twins)} tensors are there twice, under two names: {twins[0]}"])
    alphas = [name for name in names if name.endswith(".alpha") and f"{name[:-6]}.lora_A.weight" in names]
    alphas += [name for name in names if name.endswith(".alpha") and f"{name[:-6]}.lora_A.expert_0.weight" in names]
    scales = {ups: scale for name in alphas for ups, scale in _scaled(file, names, name)}
    return ReleasedForm(file, {name: key for name, key in names.items() if name not in set(alphas)}, scales)


def _scaled(file: TensorFile, names: Mapping[str, str], alpha: str) -> list[tuple[str, float]]:
    """(name, α / rank) of each up-projection that `alpha` scales by other than 1."""
    module, value = alpha.removesuffix(".alpha"), file.tensor(names[alpha])
    if value.numel() != 1 or not bool(torch.isfinite(value.float())):
        raise CheckpointError(str(file.path), [f"{names[alpha]} is {value.tolist()}; one finite number was expected"])
    ups = [name for name in names if name.startswith(f"{module}.lora_B.")]
    ranks = {name: file.shape(names[name])[-1:] for name in ups}
    return [
        (name, float(value) / rank[0]) for name, rank in ranks.items() if rank and rank[0] and float(value) != rank[0]
    ]


def _released_name(key: str) -> str:
    """ICEdit's own name of a LoRA's tensor; any other key as it is."""
    if found := _PART.match(key):
        module, side = _module(found["module"]), _SIDES[found["side"]]
        return f"{module}.lora_{side}{found['expert'] or ''}.weight" if module else key
    if (found := _ROUTE.match(key)) and (module := _module(found["module"])):
        return f"{module}.lora_route.weight"
    if key.endswith(".alpha") and (module := _module(key.removesuffix(".alpha"))):
        return f"{module}.alpha"
    return key


def _module(name: str) -> str | None:
    """The diffusers name with its prefix of one of ICEdit's modules; None for a module of something else."""
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    if name == "x_embedder":
        return PREFIX + name
    found = _BLOCK.match(name)
    inner = _INNER.get(found["rest"].replace(".", "_")) if found else None
    return f"{PREFIX}{found['block']}.{found['index']}.{inner}" if found and inner else None


def _inner_names() -> dict[str, str]:
    """Underscored name of a module within its block → its own."""
    keys = (slot.key for site in icedit_sites(FluxShape(1, 1, 1)) for slot in site.slots)
    inner = (key.split(".", 2)[2] for key in keys if "." in key)
    return {name.replace(".", "_"): name for name in inner}


_INNER = _inner_names()


def _is_power_of_two(value: float) -> bool:
    return value > 0 and torch.tensor(value).frexp().mantissa.item() == 0.5

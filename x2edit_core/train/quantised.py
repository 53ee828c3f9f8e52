"""A frozen base in fewer bits: 8-bit floats as torch has them, int8 and NF4 as torchao has them.

A weight is made whole for the length of a product, in forward and again in backward. Nothing of it is kept in between:
torch's own product would keep the whole copy of every layer until backward.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import X2EditError

Quantised = Literal["fp8", "int8", "nf4"]
PLAIN = (Tensor, nn.Parameter)
FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)
EXTRA = 'It comes with the extra `train` of this pack: python -m pip install -e ".[train]"'
_NF4_BLOCK, _NF4_SCALERS = 64, 256
_NF4_PLACES = ("torchao.quantization", "torchao.dtypes.nf4tensor", "torchao.dtypes")
"""Where versions of torchao keep it, the newest first."""


def inner_tensors(tensor: Any) -> list[Tensor]:
    """A tensor, or the plain ones that a tensor of another class is made of."""
    if type(tensor) in PLAIN or not hasattr(tensor, "__tensor_flatten__"):
        return [tensor]
    parts = [getattr(tensor, name) for name in tensor.__tensor_flatten__()[0]]
    return [inner for part in parts if isinstance(part, Tensor) for inner in inner_tensors(part)]


def packed(weight: Tensor, kind: Quantised) -> Tensor | None:
    """A matrix in fewer bits, on its device; None where it has no such form, as its size does not divide into blocks.

    Raises `X2EditError` where torchao, or this form in it, is missing.
    """
    if kind == "fp8":
        return weight.to(FP8[0])
    if kind == "int8":
        return _int8(weight)
    if weight.numel() % (_NF4_BLOCK * _NF4_SCALERS):
        return None
    return _nf4_class().from_tensor(weight.contiguous(), _NF4_BLOCK, _NF4_SCALERS)


def _int8(weight: Tensor) -> Tensor:
    try:
        quantization = importlib.import_module("torchao.quantization")
        config, quantize = quantization.Int8WeightOnlyConfig(), quantization.quantize_
    except (ImportError, AttributeError) as error:
        raise X2EditError(
            f'weights = "int8" needs the package torchao, whose int8 is missing here. {EXTRA}.'
        ) from error
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    quantize(layer, config)
    return layer.weight.detach()


def _nf4_class() -> Any:
    for place in _NF4_PLACES:
        with contextlib.suppress(ImportError, AttributeError):
            return importlib.import_module(place).NF4Tensor
    raise X2EditError(
        f'weights = "nf4" needs the package torchao, and a version of it that has NF4Tensor. {EXTRA}; or take "int8".'
    )


def whole(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """A weight of any form in `dtype`."""
    if type(weight) in PLAIN:
        return weight.to(dtype)
    original = getattr(weight, "get_original_weight", None) or weight.dequantize
    return original().to(dtype)


def is_packed(weight: Any) -> bool:
    """Whether a weight is in 8-bit floats or of one of torchao's forms that `packed` makes."""
    return weight.dtype in FP8 if type(weight) in PLAIN else type(weight).__module__.startswith("torchao.")


class _LeanProduct(torch.autograd.Function):
    """x [N, D] · Wᵀ + b with a frozen W [O, D] of any form, which alone is kept for backward, as it is.

    Rows lie flat, since what a function of autograd's makes may be added to in place unless it is a view.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return functional.linear(x, whole(weight, x.dtype), None if bias is None else bias.to(x.dtype))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, None]:  # pyright: ignore
        (weight,) = ctx.saved_tensors
        return (grad @ whole(weight, grad.dtype) if ctx.needs_input_grad[0] else None), None, None


def lean_forward(linear: nn.Linear) -> Callable[[Tensor], Tensor] | None:
    """A forward of a layer with a frozen weight in fewer bits that keeps no copy of it; None for any other layer.

    Layers that the host patches as they run keep their own forward.
    """
    if not is_packed(linear.weight) or getattr(linear, "weight_function", None) or hasattr(linear, "scale_weight"):
        return None

    def forward(x: Tensor) -> Tensor:
        rows: Any = _LeanProduct.apply(x.reshape(-1, x.shape[-1]), linear.weight, linear.bias)
        return rows.view(*x.shape[:-1], -1)

    return forward

"""AdamW whose moments are kept in 8 bits, by torchao: a quarter of the memory of float32 ones."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import X2EditError
from .quantised import EXTRA

_PARTS = ("codes", "scale", "qmap")


class EightBitAdamW(torch.optim.Optimizer):
    """torchao's AdamW8bit, one for each weight, so that a step of one weight needs none of the others.

    Weights in bfloat16 are rounded at random, by bits that depend on the step and the weight alone: a resumed run rounds
    alike. States are plain tensors, readable without torchao. Raises `X2EditError` where torchao is missing.
    """

    def __init__(self, weights: Sequence[nn.Parameter], rate: float, betas: tuple[float, float], decay: float) -> None:
        try:
            from torchao.optim import AdamW8bit  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise X2EditError(f'optim.moments = "8bit" needs the package torchao. {EXTRA}.') from error
        options: dict[str, Any] = {"lr": rate, "betas": betas, "weight_decay": decay, "bf16_stochastic_round": True}
        self._weights = list(weights)
        self._parts = [AdamW8bit([weight], **options) for weight in self._weights]
        super().__init__(self._weights, {"lr": rate, "betas": betas, "weight_decay": decay})
        self.uncompiled = reason_not_to_compile(self._weights[0].device)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        del closure
        (group,) = self.param_groups
        with torch.compiler.set_stance("force_eager" if self.uncompiled else "default"):
            for number, (weight, part) in enumerate(zip(self._weights, self._parts, strict=True)):
                if weight.grad is None:
                    continue
                (own,) = part.param_groups
                own["lr"].fill_(group["lr"])
                with _seeded(self._steps(number) * 100003 + number, weight):
                    part.step()

    def _steps(self, number: int) -> int:
        state = self._parts[number].state.get(self._weights[number])
        return int(state["step"]) if state else 0

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [_plain(part.state_dict()) for part in self._parts]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        for part, state in zip(self._parts, state_dict["parts"], strict=True):
            part.load_state_dict(_quantised(state))


@contextlib.contextmanager
def _seeded(seed: int, weight: Tensor) -> Iterator[None]:
    """Within it torch's own random numbers are those of `seed`, where they round; afterwards they go on as before."""
    if weight.dtype != torch.bfloat16:
        yield
        return
    devices = [weight.device] if weight.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


@functools.cache
def reason_not_to_compile(device: torch.device) -> str:
    """Why a step is not compiled on a device, empty if it is. A CPU computes it sooner than it compiles it."""
    if device.type == "cpu":
        return "a CPU computes a step sooner than it compiles one"
    return compiler_fault(device)


def compiler_fault(device: torch.device) -> str:
    """What keeps torch from compiling for a device, tried on one small function; empty if nothing does."""
    try:
        torch.compile(lambda x: x * 2 + 1, fullgraph=True)(torch.ones(8, device=device))
    except Exception as error:  # a missing compiler, a missing Triton, an unknown device: all have types of their own
        lines = [line for line in str(error).splitlines() if line.strip()]
        return f"torch cannot compile here ({type(error).__name__}: {(lines or [''])[0][:160]})"
    return ""


def _plain(value: Any) -> Any:
    """A state with each quantised tensor taken apart."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, Tensor) and all(hasattr(value, name) for name in _PARTS):
        return {**{name: getattr(value, name) for name in _PARTS}, "signed": value.signed, "like": value.dtype}
    return value


def _quantised(value: Any) -> Any:
    """The inverse of `_plain`."""
    if not isinstance(value, Mapping):
        return value
    if set(_PARTS) <= set(value):
        from torchao.optim.subclass_8bit import OptimState8bit  # pyright: ignore[reportMissingImports]

        return OptimState8bit(*(value[name] for name in _PARTS), value["signed"], dtype=value["like"])
    return {name: _quantised(item) for name, item in value.items()}

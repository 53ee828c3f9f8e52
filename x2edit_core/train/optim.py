"""From gradients to weights: optimisers, their schedule, and the moving average of the weights."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import X2EditError
from .config import OptimConfig
from .moments import EightBitAdamW
from .parallel import local


def make_optimiser(weights: Mapping[str, nn.Parameter], config: OptimConfig) -> torch.optim.Optimizer:
    """The optimiser named in `config` for weights by name; raises `X2EditError` if its package is missing."""
    betas = (config.beta1, config.beta2)
    parameters = list(weights.values())
    if config.name == "muon":
        return _muon(weights, config)
    if config.name == "prodigy":
        try:
            from prodigyopt import Prodigy  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise X2EditError(
                "The optimiser Prodigy needs the package prodigyopt: pip install prodigyopt, or choose adamw."
            ) from error
        options = {"use_bias_correction": True, "safeguard_warmup": True}
        return Prodigy(parameters, lr=config.rate, betas=betas, weight_decay=config.decay, **options)
    if config.moments == "8bit":
        return EightBitAdamW(parameters, config.rate, betas, config.decay)
    if config.state == "bfloat16":
        return RoundingAdamW(parameters, config.rate, betas, config.decay)
    return torch.optim.AdamW(parameters, config.rate, betas, weight_decay=config.decay, fused=True)


def _muon(weights: Mapping[str, nn.Parameter], config: OptimConfig) -> torch.optim.Optimizer:
    """Muon for the matrices of blocks, its steps as large as AdamW's; AdamW for what maps from and to other spaces."""
    hidden = {name for name, weight in weights.items() if weight.ndim == 2 and "blocks." in name and "mod" not in name}
    matrices = [weight for name, weight in weights.items() if name in hidden]
    others = [weight for name, weight in weights.items() if name not in hidden]
    adamw = torch.optim.AdamW(others, config.rate, (config.beta1, config.beta2), weight_decay=config.decay, fused=True)
    return Together([Muon(matrices, config.rate, config.decay), adamw]) if matrices else adamw


class Muon(torch.optim.Optimizer):
    """Momentum made orthogonal (Jordan et al. 2024), for matrices [m, n], scaled by 0.2·√max(m, n) to AdamW's size.

    torch.optim.Muon does so in bfloat16 everywhere, which processors without such arithmetic compute a hundred times
    slower; here they use float32.
    """

    MOMENTUM = 0.95

    def __init__(self, parameters: Any, rate: float, decay: float) -> None:
        super().__init__(parameters, {"lr": rate, "weight_decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        del closure
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    direction = orthogonal(self._momentum(weight).to(_quick_dtype(weight.device))).to(weight.dtype)
                    size = 0.2 * max(weight.shape) ** 0.5
                    weight.mul_(1 - group["lr"] * group["weight_decay"]).add_(direction, alpha=-group["lr"] * size)

    def _momentum(self, weight: nn.Parameter) -> Tensor:
        """Nesterov's: the gradient drawn towards its running mean."""
        assert weight.grad is not None
        state = self.state[weight]
        if not state:
            state["mean"] = torch.zeros_like(weight)
        mean = state["mean"].lerp_(weight.grad, 1 - self.MOMENTUM)
        return weight.grad.lerp(mean, self.MOMENTUM)


def _quick_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where it is computed in hardware."""
    if device.type != "cpu":
        return torch.bfloat16
    quick = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if quick else torch.float32


NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""A quintic that drives singular values in 0…1 to within 0.7…1.2 in five rounds, from Muon's authors."""


def orthogonal(matrix: Tensor) -> Tensor:
    """A matrix [m, n] with its singular values driven towards 1, by five rounds of Newton and Schulz."""
    a, b, c = NEWTON_SCHULZ
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.t().contiguous() if tall else matrix
    x = x / x.norm().clamp_min(1e-7)
    for _ in range(5):
        gram = x @ x.t()
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.t() if tall else x


class Together(torch.optim.Optimizer):
    """Several optimisers, each with its own weights, as one."""

    def __init__(self, parts: Sequence[torch.optim.Optimizer]) -> None:
        self.parts = list(parts)
        super().__init__([weight for part in parts for group in part.param_groups for weight in group["params"]], {})
        self.param_groups = [group for part in parts for group in part.param_groups]

    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        del closure
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]


def rate_scale(step: int, steps: int, config: OptimConfig) -> float:
    """The share of the full learning rate at `step`: a linear rise, then a half cosine down to `config.final`."""
    rise = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    done = min(1.0, max(0, step - config.warmup) / max(1, steps - config.warmup))
    return rise * (config.final + (1 - config.final) * 0.5 * (1 + math.cos(math.pi * done)))


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate


def true_rate(optimiser: torch.optim.Optimizer) -> float:
    """The step size as it takes effect: the rate that was set, times the `d` that Prodigy has found so far."""
    group = optimiser.param_groups[0]
    return float(group["lr"]) * float(group.get("d", 1.0))


def told_of(optimiser: torch.optim.Optimizer) -> list[str]:
    """What is to be known of how an optimiser runs here."""
    reason = getattr(optimiser, "uncompiled", "")
    return [f"8-bit moments run uncompiled: {reason}"] if reason else []


def never_adapted(optimiser: torch.optim.Optimizer) -> bool:
    """Whether this is a Prodigy whose step size is still the tiny one that it starts with."""
    group = optimiser.param_groups[0]
    return "d0" in group and float(group["d"]) <= float(group["d0"])


class RoundingAdamW(torch.optim.Optimizer):
    """AdamW for weights and moments in bfloat16: what rounding would lose is kept on average by rounding at random.

    The random bits depend on the step alone, so a resumed run rounds alike.
    """

    def __init__(self, parameters: Any, rate: float, betas: tuple[float, float], decay: float) -> None:
        super().__init__(parameters, {"lr": rate, "betas": betas, "weight_decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        del closure
        for group in self.param_groups:
            for number, parameter in enumerate(group["params"]):
                if parameter.grad is not None:
                    self._update(parameter, group, number)

    def _update(self, parameter: nn.Parameter, group: dict[str, Any], number: int) -> None:
        state = self.state[parameter]
        if not state:
            state["step"], state["mean"], state["square"] = 0, *(torch.zeros_like(parameter) for _ in range(2))
        state["step"] += 1
        first, second = group["betas"]
        assert parameter.grad is not None
        kept = [local(tensor) for tensor in (parameter.detach(), state["mean"], state["square"])]
        grad = local(parameter.grad).float()
        mean = kept[1].float().lerp_(grad, 1 - first)
        square = kept[2].float().lerp_(grad.square(), 1 - second)
        change = mean / (1 - first ** state["step"]) / ((square / (1 - second ** state["step"])).sqrt() + 1e-8)
        value = kept[0].float() * (1 - group["lr"] * group["weight_decay"]) - group["lr"] * change
        source = torch.Generator(parameter.device).manual_seed(state["step"] * 100003 + number)
        for tensor, exact in zip(kept, (value, mean, square), strict=True):
            tensor.copy_(exact if tensor.dtype == torch.float32 else rounded_at_random(exact, source))


def rounded_at_random(value: Tensor, source: torch.Generator) -> Tensor:
    """float32 → bfloat16, up or down with the probability that makes the mean exact."""
    bits = value.contiguous().view(torch.int32)
    noise = torch.randint(0, 1 << 16, bits.shape, generator=source, device=value.device, dtype=torch.int32)
    return ((bits + noise) & -65536).view(torch.float32).to(torch.bfloat16)


class EMA:
    """A moving average of weights, with a short memory at the start; `decay` 0 keeps none.

    It is float32 whatever the weights are: a step towards them is a thousandth of their distance, which bfloat16 would
    round away. `in_place` says whether it lies where the weights belong.
    """

    def __init__(self, weights: Mapping[str, nn.Parameter], decay: float) -> None:
        self.decay = decay
        self.in_place = False
        self._live = list(weights.values())
        self._names = list(weights)
        self.values = [weight.detach().to(torch.float32, copy=True) for weight in self._live] if decay else []

    @torch.no_grad()
    def update(self, step: int) -> None:
        if self.decay:
            share = min(self.decay, (step + 1) / (step + 10))
            for value, weight in zip(self.values, self._live, strict=True):
                local(value).lerp_(local(weight.detach()).float(), 1 - share)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The average in place of the weights, for exporting and samples."""
        if not self.decay:
            yield
            return
        kept = [weight.detach().clone() for weight in self._live]
        self.in_place = True
        try:
            self._put(self.values)
            yield
        finally:
            self._put(kept)
            self.in_place = False

    @torch.no_grad()
    def _put(self, values: Sequence[Tensor]) -> None:
        for weight, value in zip(self._live, values, strict=True):
            local(weight.detach()).copy_(local(value))

    def state_dict(self) -> dict[str, Tensor]:
        return dict(zip(self._names, self.values, strict=True)) if self.decay else {}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take a saved average; one in bfloat16, as earlier versions kept, goes on in float32."""
        if self.decay:
            for name, value in zip(self._names, self.values, strict=True):
                local(value).copy_(local(state[name]))

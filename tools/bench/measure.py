"""How the benchmarks measure: variants in turn within one process, ratios round by round, operators counted exactly."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_VIEWS = (
    *("aten.view", "aten._unsafe_view", "aten.t.", "aten.transpose", "aten.permute", "aten.slice", "aten.select"),
    *("aten.unsqueeze", "aten.squeeze", "aten.expand", "aten.detach", "aten.alias", "aten.split", "aten.unbind"),
    *("aten.as_strided", "aten._reshape_alias", "aten.lift_fresh", "aten.unflatten"),
)
_READS = ("aten._local_scalar_dense", "aten.item", "aten.nonzero", "aten.bincount", "aten.equal", "aten._unique")


class OperatorCount(TorchDispatchMode):
    """Counts operators that launch work on the device, those that make the host wait for it, and bytes they allocate.

    An index by a boolean mask counts as a wait: its result's size is read back from the device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kernels: list[str] = []
        self.waits: list[str] = []
        self.allocated = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = str(func)
        if not name.startswith(_VIEWS):
            self.kernels.append(name)
            if isinstance(result, torch.Tensor) and not name.split(".")[1].endswith("_"):
                self.allocated += result.numel() * result.element_size()
        if name.startswith(_READS) or _indexes_by_mask(name, args):
            self.waits.append(name)
        return result


def _indexes_by_mask(name: str, args: tuple[Any, ...]) -> bool:
    if not name.startswith(("aten.index.", "aten.index_put", "aten._index_put")):
        return False
    return any(isinstance(item, torch.Tensor) and item.dtype == torch.bool for item in args[1])


def count_operators(call: Callable[[], Any]) -> OperatorCount:
    with torch.inference_mode(), OperatorCount() as count:
        call()
    return count


def interleaved(
    variants: Mapping[str, Callable[[], Any]], device: torch.device, rounds: int, warmups: int = 3
) -> dict[str, list[float]]:
    """Seconds of each variant in each round; within a round the variants run one after the other."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    with torch.inference_mode():
        for number in range(warmups + rounds):
            for name, call in variants.items():
                seconds = timed(call, device)
                if number >= warmups:
                    times[name].append(seconds)
    return times


def timed(call: Callable[[], Any], device: torch.device) -> float:
    """Seconds that one call takes, its work on the device included."""
    if device.type != "cuda":
        start = time.perf_counter()
        call()
        return time.perf_counter() - start
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    call()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1000


def median_ratio(numerator: list[float], denominator: list[float]) -> float:
    """The median of round-by-round ratios, which a drift of the machine's speed does not move."""
    return statistics.median(one / other for one, other in zip(numerator, denominator, strict=True))


def machine(device: torch.device) -> dict[str, Any]:
    """What the figures were measured on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    return {"device": name, "torch": torch.__version__, "threads": torch.get_num_threads(), "system": platform.system()}


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def write_json(path: Path | None, figures: Mapping[str, Any]) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")

"""Mistakes that a port of the research code could make: the golden cases must tell each of them from the right one."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch


def shifted(t: float, mu: float = 1.15) -> float:
    """A time after FLUX's resolution-dependent shift, as at 1024²."""
    return math.exp(mu) / (math.exp(mu) + 1 / t - 1)


def changed(pack: Any, managed: Any, change: Any) -> Any:
    """The adapter after `change` of each of its routed deltas, as the loader hands it over."""
    adapter = copy.deepcopy(managed.adapter)
    with torch.no_grad():
        for delta in adapter.deltas:
            if delta.experts:
                change(delta)
    return pack.core("comfy_bridge.models").manage(adapter)


def without_expert(delta: Any, number: int = 0) -> None:
    """Part `number` of every projection adds nothing; behind the experts lies the shared one, if there is one."""
    parts = delta.experts + delta.shared
    delta.up.view(delta.projections, delta.out_width, parts, delta.rank)[:, :, number] = 0


def without_shared(delta: Any) -> None:
    without_expert(delta, -1)


def reordered(delta: Any) -> None:
    """Softmax and top k in the other order."""
    other = "topk_first" if delta.routing.order == "softmax_first" else "softmax_first"
    delta.routing = type(delta.routing)(delta.routing.top_k, other)


def another_count(delta: Any) -> None:
    """One expert more a token; two of X2Edit's two become one."""
    delta.routing = type(delta.routing)(3 - delta.routing.top_k, delta.routing.order)

"""The routed delta as the research code computes it: a loop over experts with masks. The yardstick of `bench_moe`."""

from __future__ import annotations

import torch
from torch import Tensor

from x2edit_core.adapters.moe import RoutedDelta


class NaiveProjection:
    """One projection's experts, each with weights of its own, and a gate on [hidden ‖ task]."""

    def __init__(self, delta: RoutedDelta, projection: int) -> None:
        self.gate = delta.gate(projection).contiguous()
        parts = delta.parts(projection)
        self.downs = [down.contiguous() for down, _ in parts]
        self.ups = [up.contiguous() for _, up in parts]
        self.experts, self.top_k = delta.experts, delta.routing.top_k

    def __call__(self, x: Tensor, task: Tensor) -> Tensor:
        """Delta [N, O] for hidden states [N, D] and the task embedding [C]."""
        logits = torch.cat((x, task.expand(x.shape[0], -1)), dim=1) @ self.gate.T
        share, chosen = logits.softmax(-1).topk(self.top_k, dim=-1, sorted=False)
        chosen, repeated = chosen.flatten(), x.repeat_interleave(self.top_k, dim=0)
        parts = torch.empty(repeated.shape[0], self.ups[0].shape[0], dtype=x.dtype, device=x.device)
        for expert in range(self.experts):
            served = chosen == expert
            parts[served] = (repeated[served] @ self.downs[expert].T) @ self.ups[expert].T
        routed = (parts.view(*share.shape, -1) * share.unsqueeze(-1)).sum(1)
        return routed + (x @ self.downs[-1].T) @ self.ups[-1].T

    def selected(self, x: Tensor, task: Tensor) -> Tensor:
        """Mask [N, E] of the experts chosen."""
        logits = torch.cat((x, task.expand(x.shape[0], -1)), dim=1) @ self.gate.T
        chosen = logits.softmax(-1).topk(self.top_k, dim=-1).indices
        return torch.zeros_like(logits, dtype=torch.bool).scatter(-1, chosen, True)

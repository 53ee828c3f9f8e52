"""X2Edit's own text conditioning in training: AlignNet learns, or stays, over a language model that never changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ..alignnet import AlignNet, load_alignnet

NEW = "new"
"""In place of a file: an AlignNet with random weights."""


class AlignedText(nn.Module):
    """Texts → context [B, S, C] and pooled [B, P]; `states` gives a text's hidden states [1, N, S, H] as constants."""

    def __init__(self, net: AlignNet, states: Callable[[str], Tensor]) -> None:
        super().__init__()
        self.net = net
        self._states = states

    def forward(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        different = list(dict.fromkeys(texts))
        with torch.no_grad():
            states = torch.cat([self._states(text) for text in different])
        context, pooled = self.net(states.to(self.net.conv.weight))
        rows = torch.tensor([different.index(text) for text in texts], device=context.device)
        return context[rows], pooled[rows]


def alignnet_for(name: str, states: int, width: int, context: int, pooled: int, seed: int) -> AlignNet:
    """AlignNet from the file `name`, or a new one of these widths with weights of the seed; float32, as it is frozen."""
    if name != NEW:
        return load_alignnet(Path(name))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AlignNet(states, width, context, pooled).eval().requires_grad_(False)

"""The time and guidance embedding that the research code's outputs were recorded with, on any processor.

FLUX's embedding is the sine and cosine of (1000 · guidance) · frequency in float32: 50 000 radians at a guidance of 50.
Processors differ in the last bit of the `exp` behind a frequency, which turns those angles by up to 3e-3. So the golden
cases get the frequencies of the processor that recorded them; everything behind is the host's and ours.
"""

from __future__ import annotations

import json
import math
from typing import Any

import comfy.ldm.flux.layers
import comfy.ldm.flux.model
import torch
from torch import Tensor

from .graphs import GOLDEN

FREQUENCIES = torch.tensor(json.loads((GOLDEN / "frequencies.json").read_text()), dtype=torch.float32)
"""[128], of a 256 wide embedding with a period of 10 000: float32, written with every digit."""


def embedding(t: Tensor, frequencies: Tensor = FREQUENCIES) -> Tensor:
    """[N] in 0…1 (or the guidance) → [N, 256]: the angles in float32 as recorded, their sines and cosines in float64."""
    angles = ((1000.0 * t)[:, None].float() * frequencies[None]).double()
    return torch.cat((angles.cos(), angles.sin()), -1).to(t)


def other_processor(t: Tensor) -> Tensor:
    """The embedding of a processor whose `exp` rounds every frequency to the next number above."""
    return embedding(t, torch.nextafter(FREQUENCIES, torch.tensor(math.inf)))


def feed(monkeypatch: Any, made: Any = embedding) -> None:
    """Let the host and the pack embed times and guidance by `made` until the test ends."""

    def timestep_embedding(t: Tensor, dim: int, max_period: float = 10000, time_factor: float = 1000.0) -> Tensor:
        assert (dim, max_period, time_factor) == (256, 10000, 1000.0), "what the table was recorded for"
        return made(t)

    for module in (comfy.ldm.flux.layers, comfy.ldm.flux.model):
        monkeypatch.setattr(module, "timestep_embedding", timestep_embedding)

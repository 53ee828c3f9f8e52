"""What a run is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from ..shift import FLUX_SCHEDULE, Spread
from .batches import Batches, Ranks
from .model import Model
from .preview import Decoder
from .samples import Pool, TextEncoder


@dataclass(frozen=True)
class Parts:
    """What a run is made of. `weights` holds all that is trained; `export` writes the result into the run's folder.

    `blocks` are the base's, which several processes may share out, frozen or part of `weights`. `models` names what the
    run stands on, by part: it goes on with the same alone. `remarks` are for the summary of the run. `schedule` are the base's
    own sigmas, for pictures on the way. `held` are the samples kept out of learning.
    """

    model: Model
    weights: nn.Module
    text: TextEncoder
    batches: Batches
    export: Callable[[Path, int], Path]
    ranks: Ranks = field(default_factory=Ranks)
    dtype: torch.dtype = torch.float32
    autocast: bool = False
    decode: Decoder | None = None
    blocks: Sequence[nn.Module] = ()
    models: Mapping[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    schedule: Spread = FLUX_SCHEDULE
    held: Pool | None = None

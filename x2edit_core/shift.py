"""Resolution-dependent schedules: larger pictures spend more of their steps at high noise.

As in the pipelines of FLUX.1 dev and Fill and of Qwen-Image: mu rises linearly with the number of target tokens, and the
odds sigma / (1 - sigma) are e^mu times t / (1 - t).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from .errors import X2EditError


class Spread(Protocol):
    """How a family's pipeline spreads its sigmas."""

    def mu(self, tokens: int) -> float: ...

    def sigmas(self, steps: int, tokens: int) -> list[float]: ...


@dataclass(frozen=True)
class Schedule:
    """mu is `base_shift` at `base_tok` tokens and `max_shift` at `max_tok`, and goes on beyond.

    With a `terminal` sigma the steps are stretched to end in it before the last one to 0, which makes the sigmas depend on
    how many steps there are.
    """

    base_tok: int
    base_shift: float
    max_tok: int
    max_shift: float
    terminal: float = 0.0

    def mu(self, tokens: int) -> float:
        """For a picture of this many tokens; for a diptych those of both panels."""
        slope = (self.max_shift - self.base_shift) / (self.max_tok - self.base_tok)
        return self.base_shift + (tokens - self.base_tok) * slope

    def sigmas(self, steps: int, tokens: int) -> list[float]:
        """The pipelines' own: from 1 down in `steps` steps to 0; upstream t runs from 1 to 1 / steps."""
        mu = self.mu(tokens)
        found = [shifted(1.0 - index / steps, mu) for index in range(steps)]
        if self.terminal and steps > 1:
            stretch = (1.0 - found[-1]) / (1.0 - self.terminal)
            found = [1.0 - (1.0 - sigma) / stretch for sigma in found]
        return [*found, 0.0]


class Flux2Schedule:
    """FLUX.2's: mu by tokens and steps, two measured lines up to 4,300 tokens and one beyond (the host's `Flux2Scheduler`)."""

    def mu(self, tokens: int) -> float:
        raise X2EditError(
            f"FLUX.2's shift for {tokens} tokens depends on the number of steps, which a shift of the model cannot know. Use "
            "X2Edit Sigmas, or ComfyUI's Flux2Scheduler, with SamplerCustom."
        )

    def sigmas(self, steps: int, tokens: int) -> list[float]:
        mu = self._mu(tokens, steps)
        return [*(shifted(1.0 - index / steps, mu) for index in range(steps)), 0.0]

    def _mu(self, tokens: int, steps: int) -> float:
        many = 0.00016927 * tokens + 0.45666666
        if tokens > 4300:
            return many
        few = 8.73809524e-05 * tokens + 1.89833333
        return many + (few - many) * (200 - steps) / 190


FLUX_SCHEDULE = Schedule(256, 0.5, 4096, 1.15)


def shifted(t: float, mu: float) -> float:
    """sigma in 0–1 for unshifted time t in 0–1."""
    odds = math.exp(mu) * t
    return odds / (odds + (1.0 - t))

"""FLUX's resolution-dependent shift: larger pictures spend more of their steps at high noise.

As in the pipelines of FLUX.1 dev and Fill: mu rises linearly with the number of target tokens, and the odds
sigma / (1 - sigma) are e^mu times t / (1 - t).
"""

from __future__ import annotations

import math

_BASE_TOK, _BASE_SHIFT = 256, 0.5
_MAX_TOK, _MAX_SHIFT = 4096, 1.15


def shift_for(tokens: int) -> float:
    """mu for a picture of this many tokens; for a diptych those of both panels."""
    return _BASE_SHIFT + (tokens - _BASE_TOK) * (_MAX_SHIFT - _BASE_SHIFT) / (_MAX_TOK - _BASE_TOK)


def shifted(t: float, mu: float) -> float:
    """sigma in 0–1 for unshifted time t in 0–1."""
    odds = math.exp(mu) * t
    return odds / (odds + (1.0 - t))


def reference_sigmas(steps: int, tokens: int) -> list[float]:
    """The pipelines' own schedule: `steps` sigmas from 1 down, then 0."""
    mu = shift_for(tokens)
    return [shifted(1.0 - index / steps, mu) for index in range(steps)] + [0.0]

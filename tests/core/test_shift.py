from __future__ import annotations

import math

import pytest

from x2edit_core.shift import reference_sigmas, shift_for, shifted


@pytest.mark.parametrize(("tokens", "mu"), [(256, 0.5), (4096, 1.15), (2048, 0.803)])
def test_shift_rises_linearly_with_the_tokens(tokens, mu):
    assert shift_for(tokens) == pytest.approx(mu, abs=5e-4)
    assert shift_for(tokens + 1920) - shift_for(tokens) == pytest.approx(0.325)


@pytest.mark.parametrize("mu", [0.0, 0.5, 1.15])
def test_shifting_keeps_the_ends_and_the_order(mu):
    values = [shifted(index / 50, mu) for index in range(51)]
    assert values[0] == 0.0 and values[-1] == 1.0
    assert values == sorted(values)


def test_shift_multiplies_the_odds():
    """sigma / (1 - sigma) = e^mu · t / (1 - t), the same identity written without the fraction of the code."""
    for t in (0.1, 0.5, 0.9):
        sigma = shifted(t, 0.8)
        assert sigma / (1 - sigma) == pytest.approx(math.exp(0.8) * t / (1 - t))


def test_schedule_starts_at_pure_noise_and_ends_at_the_picture():
    sigmas = reference_sigmas(28, 2048)
    assert len(sigmas) == 29 and sigmas[0] == 1.0 and sigmas[-1] == 0.0
    assert sigmas == sorted(sigmas, reverse=True)

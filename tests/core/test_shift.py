from __future__ import annotations

import math

import pytest

from x2edit_core.families import QWEN_IMAGE
from x2edit_core.shift import FLUX_SCHEDULE, shifted


@pytest.mark.parametrize(("tokens", "mu"), [(256, 0.5), (4096, 1.15), (2048, 0.803)])
def test_shift_rises_linearly_with_the_tokens(tokens, mu):
    assert FLUX_SCHEDULE.mu(tokens) == pytest.approx(mu, abs=5e-4)
    assert FLUX_SCHEDULE.mu(tokens + 1920) - FLUX_SCHEDULE.mu(tokens) == pytest.approx(0.325)


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
    sigmas = FLUX_SCHEDULE.sigmas(28, 2048)
    assert len(sigmas) == 29 and sigmas[0] == 1.0 and sigmas[-1] == 0.0
    assert sigmas == sorted(sigmas, reverse=True)


@pytest.mark.parametrize(("tokens", "mu", "times"), [(4096, 0.6935, 2.00), (1024, 0.5387, 1.71)])
def test_qwen_image_shifts_less(tokens, mu, times):
    assert QWEN_IMAGE.schedule.mu(tokens) == pytest.approx(mu, abs=5e-5)
    assert math.exp(QWEN_IMAGE.schedule.mu(tokens)) == pytest.approx(times, abs=5e-3)


def test_qwen_images_schedule_is_stretched_to_its_terminal():
    """Figures of its own scheduler at 40 steps and 1024 x 1024."""
    sigmas = QWEN_IMAGE.schedule.sigmas(40, 4096)
    assert len(sigmas) == 41 and sigmas[0] == 1.0 and sigmas[-1] == 0.0
    assert sigmas[1] == pytest.approx(0.987, abs=5e-4)
    assert sigmas[20] == pytest.approx(0.657, abs=1.2e-2)
    assert sigmas[38] == pytest.approx(0.068, abs=5e-4) and sigmas[39] == pytest.approx(0.02, abs=1e-9)


def test_a_single_step_needs_no_stretching():
    assert QWEN_IMAGE.schedule.sigmas(1, 4096) == [1.0, 0.0]

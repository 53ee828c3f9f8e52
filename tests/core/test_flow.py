"""The straight line between picture and noise, and the laws that σ is drawn from."""

from __future__ import annotations

import itertools

import pytest
import torch
from scipy import stats

from x2edit_core import flow
from x2edit_core.shift import FLUX_SCHEDULE
from x2edit_core.train.batches import generator


@pytest.fixture
def line():
    source = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(3, 16, 4, 4, generator=source, dtype=torch.float64) for _ in range(2))
    return clean, noise, torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)


def test_the_line_starts_at_the_picture_and_ends_at_the_noise(line):
    clean, noise, sigma = line
    noisy = flow.noised(clean, noise, sigma)
    torch.testing.assert_close(noisy[0], clean[0])
    torch.testing.assert_close(noisy[2], noise[2])


def test_the_true_velocity_leads_back_to_the_picture_from_everywhere(line):
    clean, noise, sigma = line
    noisy = flow.noised(clean, noise, sigma)
    torch.testing.assert_close(flow.clean_estimate(noisy, flow.velocity(clean, noise), sigma), clean)


def test_the_velocity_is_the_derivative_of_the_line(line):
    clean, noise, sigma = line
    ahead = flow.noised(clean, noise, sigma + 1e-6)
    slope = (ahead - flow.noised(clean, noise, sigma)) / 1e-6
    torch.testing.assert_close(slope, flow.velocity(clean, noise), rtol=1e-6, atol=1e-6)


def test_steps_along_a_schedule_arrive_at_the_picture(line):
    clean, noise, _ = line
    here, sigmas = noise, FLUX_SCHEDULE.sigmas(7, 1024)
    for sigma, following in itertools.pairwise(sigmas):
        here = flow.step(here, flow.velocity(clean, noise), sigma, following)
    torch.testing.assert_close(here, clean)


@pytest.mark.parametrize(("law", "known"), [("uniform", stats.uniform()), ("logit_normal", stats.logistic())])
def test_sigmas_follow_their_law(law, known):
    sigmas = flow.draw_sigmas(20000, law, generator("sigmas")).double()
    if law == "logit_normal":
        sigmas, known = torch.logit(sigmas), stats.norm()
    assert stats.kstest(sigmas.numpy(), known.cdf).pvalue > 1e-3


def test_logit_normal_can_be_moved_and_spread():
    sigmas = torch.logit(flow.draw_sigmas(20000, "logit_normal", generator("moved"), mean=1.0, spread=0.5))
    assert abs(float(sigmas.mean()) - 1.0) < 0.02
    assert abs(float(sigmas.std()) - 0.5) < 0.02

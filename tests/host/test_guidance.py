"""Guidance that keeps each token's norm, in the host's own sampling; and who may decide about guidance."""

from __future__ import annotations

import pytest
import torch

from .graphs import golden_cases, golden_models
from .qwen_golden import load_base


@pytest.fixture(scope="module")
def guided(pack):
    return pack.run("X2EditGuidanceRescale", model=load_base())[0].model_options["sampler_cfg_function"]


@pytest.mark.parametrize("side", [4, 5])
def test_every_token_keeps_the_norm_of_the_conditional_branch(guided, side):
    positive, negative = torch.randn(2, 2, 16, 1, side, 6, dtype=torch.float64)
    result = guided({"cond": positive, "uncond": negative, "cond_scale": 4.0})
    mixed = negative + 4.0 * (positive - negative)
    for row in range(0, side, 2):
        for column in range(0, 6, 2):
            token = (..., slice(row, row + 2), slice(column, column + 2))
            for picture in range(2):
                wanted = mixed[picture][token] * (positive[picture][token].norm() / mixed[picture][token].norm())
                torch.testing.assert_close(result[picture][token], wanted, rtol=1e-12, atol=1e-12)
    assert (result.norm() / mixed.norm()) < 0.9, "else the case says nothing"


def test_nothing_changes_at_cfg_1_and_nothing_becomes_of_nothing(guided):
    positive, zeros = torch.randn(1, 16, 1, 4, 4), torch.zeros(1, 16, 1, 4, 4)
    assert torch.equal(guided({"cond": positive, "uncond": zeros, "cond_scale": 1.0}), positive)
    assert torch.equal(guided({"cond": zeros, "uncond": zeros, "cond_scale": 4.0}), zeros)


def test_it_may_amplify(guided):
    positive = torch.ones(1, 16, 1, 2, 2)
    result = guided({"cond": positive, "uncond": 1.2 * positive, "cond_scale": 4.0})
    torch.testing.assert_close(result, positive)


def test_a_second_node_that_decides_about_guidance_is_refused(pack):
    (model,) = pack.run("RescaleCFG", model=load_base(), multiplier=0.7)
    with pytest.raises(pack.core("errors").X2EditError, match="Another node already decides"):
        pack.run("X2EditGuidanceRescale", model=model)


@pytest.mark.parametrize("steps", [1, 4, 28])
def test_sigmas_of_flux_are_those_of_its_shift(pack, steps):
    model = golden_models(pack)[0]
    latent = {"samples": golden_cases("x2edit")[0]["tensors"]["noise"]}
    (sigmas,) = pack.run("X2EditSigmas", model=model, latent=latent, steps=steps)
    (shifted,) = pack.run("X2EditShift", model=model, latent=latent)
    (simple,) = pack.run("BasicScheduler", model=shifted, scheduler="simple", steps=steps, denoise=1.0)
    torch.testing.assert_close(sigmas, simple, rtol=0, atol=2e-4)


def test_an_empty_latent_of_another_scale_has_the_schedule_of_its_picture(pack):
    """The host's samplers bring it to the model's scale; the number of tokens is counted after that."""
    model = golden_models(pack)[0]
    empty = {"samples": torch.zeros(1, 128, 16, 24), "downscale_ratio_spacial": 16}
    plain = {"samples": torch.zeros(1, 16, 32, 48)}
    found, expected = (pack.run("X2EditSigmas", model=model, latent=latent, steps=4)[0] for latent in (empty, plain))
    assert torch.equal(found, expected)
    shifts = [pack.run("X2EditShift", model=model, latent=latent)[0] for latent in (empty, plain)]
    one, other = (shifted.get_model_object("model_sampling").shift for shifted in shifts)
    assert one == other


def test_part_of_a_schedule_is_its_end(pack):
    model, latent = load_base(), {"samples": torch.zeros(1, 16, 1, 16, 16)}
    (half,) = pack.run("X2EditSigmas", model=model, latent=latent, steps=10, denoise=0.5)
    (whole,) = pack.run("X2EditSigmas", model=model, latent=latent, steps=20)
    assert torch.equal(half, whole[10:])

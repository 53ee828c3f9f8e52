"""Changes are found where they are, and what an editor does to every picture is none."""

from __future__ import annotations

import pytest
import torch
from bench.planted import compressed, photo

from x2edit_core.restore.changed import change
from x2edit_core.restore.colour import Tone, same_tone
from x2edit_core.restore.smooth import smooth

SIDE = 192


@pytest.fixture(scope="module")
def source():
    return photo(4, SIDE)


def between(source, edit, shown=None, tone=None):
    return change(source, edit, torch.ones_like(source[..., 0]) if shown is None else shown, tone or same_tone())


def softened(picture, sigma):
    return smooth(picture.movedim(-1, 1), sigma).movedim(1, -1)


def test_equal_pictures_did_not_change(source):
    found = between(source, source)
    assert found.share == 0 and found.detail == pytest.approx(1)


@pytest.mark.parametrize("sigma", [0.5, 1.0])
def test_softness_grain_and_compression_are_no_change(source, sigma):
    grain = 0.006 * torch.randn(source.shape, generator=torch.Generator().manual_seed(1))
    found = between(source, compressed((softened(source, sigma) + grain).clamp(0, 1), 88))
    assert found.share < 0.002 and found.detail < 1


def test_a_patch_is_found_to_the_pixel(source):
    edit = source.clone()
    edit[:, 50:100, 60:140] = 1 - edit[:, 50:100, 60:140]
    region = between(source, edit).region
    expected = (source - edit).abs().amax(-1) > 6 / 255
    overlap = (region.bool() & expected).sum() / (region.bool() | expected).sum()
    assert overlap > 0.9
    assert not region[:, :44].any() and not region[:, 106:].any()


def test_what_the_edit_does_not_show_did_not_change(source):
    shown = torch.ones(1, SIDE, SIDE)
    shown[:, :, :40] = 0
    edit = source.clone()
    edit[:, :, :40] = 0.5
    assert between(source, edit, shown).share == 0


def test_colours_cut_off_at_white_are_no_change(source):
    """The edit was 8 % brighter; where that went beyond white, the tone cannot bring it back."""
    bright = (source * 0.6 + 0.4).clamp(0, 1)
    edit = (bright * 1.08).clamp(max=1.0)
    assert between(bright, edit, tone=Tone(torch.full((3,), 1 / 1.08), torch.zeros(3))).share < 0.002


def test_sharper_and_softer_edits_differ_in_detail(source):
    soft = softened(source, 1.5)
    assert between(soft, source).detail > 1.3
    assert between(source, soft).detail < 0.6

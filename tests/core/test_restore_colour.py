"""The distance of colours against published pairs, and a tone recovered from what did not change."""

from __future__ import annotations

import pytest
import torch

from x2edit_core.restore.colour import Tone, ciede2000, delta_e00, fitted, lab, same_tone

# Sharma, Wu and Dalal (2005), Table 1: every turn of the formula is in one of these.
PAIRS = [
    ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
    ((50.0, 3.1571, -77.2803), (50.0, 0.0, -82.7485), 2.8615),
    ((50.0, -1.3802, -84.2814), (50.0, 0.0, -82.7485), 1.0000),
    ((50.0, 0.0, 0.0), (50.0, -1.0, 2.0), 2.3669),
    ((50.0, 2.49, -0.001), (50.0, -2.49, 0.0009), 7.1792),
    ((50.0, 2.49, -0.001), (50.0, -2.49, 0.0011), 7.2195),
    ((50.0, 2.5, 0.0), (50.0, 0.0, -2.5), 4.3065),
    ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
    ((6.7747, -0.2908, -2.4247), (5.8714, -0.0985, -2.2286), 0.6377),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
]


@pytest.mark.parametrize(("one", "other", "expected"), PAIRS)
def test_the_distance_is_that_of_the_published_pairs(one, other, expected):
    one, other = (torch.tensor(colour, dtype=torch.float64) for colour in (one, other))
    assert float(ciede2000(one, other)) == pytest.approx(expected, abs=1e-4)
    assert float(ciede2000(other, one)) == pytest.approx(expected, abs=1e-4)


def test_lab_of_known_colours():
    """White is L* 100 without a hue; red, green and blue of sRGB as Lindbloom lists them."""
    colours = torch.tensor([[1.0, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]], dtype=torch.float64)
    known = [[100, 0, 0], [53.24, 80.09, 67.20], [87.73, -86.18, 83.18], [32.30, 79.19, -107.86], [0, 0, 0]]
    assert torch.allclose(lab(colours), torch.tensor(known, dtype=torch.float64), atol=0.02)
    assert not delta_e00(colours, colours).any()


def picture(seed=0, side=64):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 6, 6, generator=generator) * 0.7 + 0.15
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").movedim(1, -1).clamp(0.1, 0.9)


def test_a_planted_tone_is_found_though_a_third_was_edited():
    source = picture()
    tone = Tone(torch.tensor([0.95, 1.02, 1.05]), torch.tensor([0.02, -0.01, 0.0]))
    edit = (source - tone.offset) / tone.gain
    edit[:, :, :21] = picture(1)[:, :, :21]
    found = fitted(source, edit, torch.ones(1, 64, 64))
    assert torch.allclose(found.gain, tone.gain, atol=0.006) and torch.allclose(found.offset, tone.offset, atol=0.004)


def test_pixels_without_a_say_have_none():
    source = picture()
    edit, weight = source.clone(), torch.ones(1, 64, 64)
    edit[:, :, :44], weight[:, :, :44] = edit[:, :, :44] * 0.9, 0.0
    found = fitted(source, edit, weight)
    assert torch.allclose(found.gain, torch.ones(3), atol=1e-3) and found.offset.abs().max() < 1e-3


def test_a_flat_picture_gives_an_offset_and_no_gain():
    found = fitted(torch.full((1, 20, 20, 3), 0.50), torch.full((1, 20, 20, 3), 0.52), torch.ones(1, 20, 20))
    assert torch.allclose(found.applied(torch.full((1, 2, 2, 3), 0.52)), torch.tensor(0.50), atol=1e-3)
    assert (found.gain - 1).abs().max() < 0.05


def test_clipped_pixels_do_not_bend_the_line():
    source = torch.linspace(0.05, 0.99, 64).expand(1, 64, 64)[..., None].expand(-1, -1, -1, 3).contiguous()
    found = fitted(source, (source * 1.2).clamp(max=1.0), torch.ones(1, 64, 64))
    assert torch.allclose(found.gain, torch.full((3,), 1 / 1.2), atol=0.01)


def test_the_strength_of_a_tone_is_what_it_does_to_a_picture():
    assert same_tone().strength(picture()) == 0
    darker = Tone(torch.full((3,), 0.9), torch.zeros(3))
    expected = delta_e00(picture(), picture() * 0.9).mean()
    assert darker.strength(picture()) == pytest.approx(float(expected))

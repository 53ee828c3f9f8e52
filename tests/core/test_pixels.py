from __future__ import annotations

import pytest
import torch

from x2edit_core.errors import X2EditError
from x2edit_core.geometry import Size
from x2edit_core.pixels import cycle, paste, resize, resize_mask, to_rgb


def test_rgb_from_grey_and_from_transparent():
    grey = torch.rand(2, 5, 6, 1)
    assert torch.equal(to_rgb(grey)[..., 2:], grey)
    clear = torch.cat((torch.rand(1, 5, 6, 3), torch.zeros(1, 5, 6, 1)), dim=-1)
    assert torch.equal(to_rgb(clear), torch.full((1, 5, 6, 3), 0.5))
    opaque = torch.cat((clear[..., :3], torch.ones(1, 5, 6, 1)), dim=-1)
    assert torch.equal(to_rgb(opaque), clear[..., :3])
    with pytest.raises(X2EditError, match=r"\[1, 5, 6, 2\]"):
        to_rgb(torch.rand(1, 5, 6, 2))


def test_resizing_to_the_same_size_changes_nothing():
    image = torch.rand(1, 7, 9, 3)
    assert resize(image, Size(7, 9)) is image


@pytest.mark.parametrize("size", [(31, 77), (64, 64), (16, 200)])
def test_a_ramp_survives_the_way_there_and_back_within_a_pixel(size):
    """A linear ramp measures alignment: a shift by one pixel would change it by its slope everywhere."""
    ramp = torch.linspace(0.2, 0.8, 60)[None, None, :, None].expand(1, 40, 60, 3)
    back = resize(resize(ramp, Size(*size)), Size(40, 60))
    slope = 0.6 / 59
    assert (back - ramp)[:, 8:-8, 8:-8].abs().max() < 0.25 * slope


def test_paste_keeps_the_source_bit_for_bit_outside_the_mask():
    edited, source = torch.rand(1, 8, 8, 3), torch.rand(2, 8, 8, 3)
    mask = torch.zeros(1, 8, 8)
    mask[:, 2:5, 2:5] = 1.0
    result = paste(edited, source, mask)
    assert torch.equal(result[:, 6:], source[:, 6:])
    assert torch.equal(result[:, 2:5, 2:5], edited[:, 2:5, 2:5].expand(2, -1, -1, -1))


def test_masks_of_any_rank_and_size():
    assert resize_mask(torch.ones(4, 4), Size(9, 7)).shape == (1, 9, 7)
    assert torch.equal(resize_mask(torch.ones(2, 4, 4), Size(8, 8)), torch.ones(2, 8, 8))


def test_cycle_repeats_rows_in_order():
    assert cycle(torch.arange(2), 5).tolist() == [0, 1, 0, 1, 0]

"""What an editor gave, back in its source: bit for bit where nothing changed, and whole edits left alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bench.planted import Drift, case, drawn, drifted, global_case, photo, true_places

from x2edit_core.geometry import Size
from x2edit_core.pixels import resize, size_of
from x2edit_core.restore.colour import delta_e00
from x2edit_core.restore.find import find, given_back, seamed
from x2edit_core.restore.registration import grid
from x2edit_core.restore.smooth import slope
from x2edit_core.restore.words import report

PLAIN = Drift(shift=(4.0, -3.0), zoom=1.02, gain=(0.97, 1.0, 1.03), blur=0.6, noise=0.005, jpeg=92)


def patched(source, seed=70):
    target, side = source.clone(), source.shape[1]
    part = slice(side // 4, side // 2)
    target[:, part, part] = photo(seed, side)[:, part, part]
    return target


def overlap(mask, source, target):
    region = (source - target).abs().amax(-1) > 6 / 255
    return float(((mask > 0.5) & region).sum() / ((mask > 0.5) | region).sum()), region


@pytest.mark.parametrize("drift", [Drift(), PLAIN], ids=["equal", "drifted"])
def test_without_an_edit_the_source_comes_back(drift):
    source = photo(5, 256)
    picture, mask, found = given_back(source, drifted(source, drift) if drift != Drift() else source)
    assert found.kept == "nothing" and torch.equal(picture, source)
    assert not mask.any() and "No change" in report(found)


def test_a_local_edit_is_all_that_is_taken():
    source = photo(6, 256)
    target = patched(source)
    picture, mask, found = given_back(source, drifted(target, PLAIN))
    assert found.kept == ""
    assert torch.equal(picture[mask == 0], source[mask == 0])
    share, region = overlap(mask, source, target)
    assert share >= 0.85
    distance = delta_e00(picture, target)
    softness = delta_e00(drifted(target, Drift(blur=0.6, noise=0.005, jpeg=92)), target)
    assert distance[~region].mean() < 0.1
    assert distance[region].mean() < 1.15 * softness[region].mean(), "beyond what the editor lost, nothing is"
    said = report(found)
    assert "px right" in said and "px up" in said and "larger" in said and "red × 1.0" in said and "changed" in said


def test_the_source_keeps_its_resolution():
    """Only where the edit is does the picture have the edit's, brought to the source's."""
    source = photo(7, 512)
    small = resize(source, Size(192, 192))
    target = small.clone()
    target[:, 40:90, 60:120] = 1 - target[:, 40:90, 60:120]
    drift = Drift(shift=(3.0, 2.0), zoom=0.98, blur=0.4)
    picture, mask, _ = given_back(source, drifted(target, drift))
    assert size_of(picture) == size_of(source) and mask.shape == picture.shape[:3]
    assert torch.equal(picture[mask == 0], source[mask == 0])
    assert (mask == 0).float().mean() > 0.8
    wanted = resize(target, Size(512, 512))
    inside = (slice(None), slice(120, 230), slice(175, 310))
    assert (picture[inside] - wanted[inside]).abs().mean() < 0.04


def test_an_edit_finer_than_its_source_is_reduced_first():
    source = photo(8, 192)
    target = patched(source)
    large = resize(target, Size(384, 384))
    picture, _, found = given_back(source, large)
    assert found.kept == "" and (picture - target).abs().mean() < 0.01


@pytest.mark.parametrize("seed", range(6))
def test_edits_of_the_whole_picture_are_left_alone(seed):
    _, source, edit = global_case(seed, 192)
    picture, mask, found = given_back(source, edit)
    assert found.kept not in ("", "nothing")
    assert torch.equal(picture, resize(edit, size_of(source))) and bool((mask == 1).all())
    assert "Left as it is" in report(found)


def test_a_slight_tone_alone_is_the_edit():
    source = photo(9, 192)
    edit = (source * torch.tensor((1.05, 1.0, 0.93))).clamp(0, 1)
    picture, _, found = given_back(source, edit)
    assert found.kept == "tone" and torch.equal(picture, edit)


@pytest.mark.parametrize("sigma", [1.5, 2.5])
def test_sharpening_is_not_taken_back(sigma):
    from x2edit_core.restore.smooth import smooth

    sharp = photo(10, 256)
    soft = smooth(sharp.movedim(-1, 1), sigma).movedim(1, -1)
    picture, _, found = given_back(soft, sharp)
    assert found.kept == "detail" and torch.equal(picture, sharp)


def test_noise_taken_away_is_not_put_back():
    clean = photo(13, 256)
    noisy = (clean + 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(3))).clamp(0, 1)
    picture, _, found = given_back(noisy, clean)
    assert found.kept not in ("", "nothing") and torch.equal(picture, clean)


def test_a_tone_is_the_edit_however_little_it_shows():
    """A strong gain whose offset hides it in the middle of the range is no editor's drift."""
    source = (photo(14, 192) - 0.5) * 0.5 + 0.5
    edit = (source - 0.5) * 0.85 + 0.5
    picture, _, found = given_back(source, edit)
    assert found.kept == "tone" and torch.equal(picture, edit)


def test_an_area_of_ones_own_says_what_is_kept():
    source = photo(11, 256)
    target = patched(source)
    area = torch.zeros(1, 256, 256)
    area[:, 60:132, 60:132] = 1.0
    picture, mask, found = given_back(source, drifted(target, PLAIN), area)
    assert found.kept == "" and torch.equal(mask, area)
    assert torch.equal(picture[area == 0], source[area == 0])
    softness = delta_e00(drifted(target, Drift(blur=0.6, noise=0.005, jpeg=92)), target)
    assert delta_e00(picture, target)[area == 1].mean() < 1.15 * softness[area == 1].mean()


def test_ten_turns_leave_the_rest_bit_for_bit():
    """Each turn edits another place of what the turn before gave, and drifts anew."""
    first = photo(12, 256)
    picture, touched = first, torch.zeros(1, 256, 256, dtype=torch.bool)
    for turn in range(10):
        top, left = 20 + 40 * (turn % 5), 30 + 120 * (turn // 5)
        target = picture.clone()
        target[:, top : top + 30, left : left + 40] = torch.rand(3, generator=torch.Generator().manual_seed(turn))
        picture, mask, found = given_back(picture, drifted(target, drawn(np.random.default_rng(turn), 0.5), turn))
        assert found.kept == ""
        touched |= mask > 0
    assert torch.equal(picture[~touched], first[~touched])
    assert 0.15 < touched.float().mean() < 0.35, "twelve of 65 thousand pixels times ten, and a seam"


def test_a_seam_lies_outside_and_ends():
    region = torch.zeros(1, 20, 20)
    region[:, 8:12, 8:12] = 1
    mask = seamed(region)
    assert torch.equal(mask[:, 8:12, 8:12], region[:, 8:12, 8:12])
    assert torch.equal(mask > 0.5, region > 0.5)
    assert not mask[:, :6].any() and not mask[:, :, 14:].any() and mask[0, 7, 10] > 0 and mask[0, 6, 10] > 0


@pytest.mark.full
@pytest.mark.parametrize("first", range(0, 100, 10))
def test_a_hundred_local_edits_by_ten(first):
    lefts, shares, outsides = [], [], []
    for seed in range(first, first + 10):
        kind, source, target = case(seed, 512)
        drift = drawn(np.random.default_rng(seed))
        picture, mask, found = given_back(source, drifted(target, drift, seed))
        share, region = overlap(mask, source, target)
        assert found.kept == "", seed
        assert torch.equal(picture[mask == 0], source[mask == 0])
        outsides.append(float(delta_e00(picture, target)[~region].mean()))
        if "thin" not in kind:
            shares.append(share)
        x, y = grid(Size(512, 512), torch.zeros(1, dtype=torch.float64))
        far = (found.alignment.places(x, y) - true_places(drift, Size(512, 512), Size(512, 512))).norm(dim=-1) * 256
        seen = (slope(source.movedim(-1, 1)).amax(1)[0] > 0.02) & ~region[0]
        lefts.append(float(far[seen].mean()))
    assert np.median(lefts) < 0.1 and max(outsides) < 1 and np.median(shares) > 0.9


@pytest.mark.full
@pytest.mark.parametrize("first", range(0, 100, 10))
def test_a_hundred_edits_of_the_whole_picture_are_left_alone(first):
    for seed in range(first, first + 10):
        name, source, edit = global_case(seed, 512)
        assert find(source, edit).kept not in ("", "nothing"), (seed, name)

"""Known displacements are found again, to a fraction of a pixel, and an edit has no say in them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from bench.planted import Drift, drawn, drifted, photo, true_places

from x2edit_core.geometry import Size
from x2edit_core.pixels import resize
from x2edit_core.restore.registration import Alignment, grid, identity, register, sized_for, views

SIDE = 256
SQUARE = Size(SIDE, SIDE)


@pytest.fixture(scope="module")
def source():
    return photo(1, SIDE)


def left(alignment, drift, size=SQUARE, source=SQUARE):
    """Pixels of the edit between where the source's pixels were found and where they are, the mean."""
    x, y = grid(source, torch.zeros(1, dtype=torch.float64))
    half = torch.tensor((size.width / 2, size.height / 2), dtype=torch.float64)
    return float(((alignment.places(x, y) - true_places(drift, size, source)) * half).norm(dim=-1).mean())


def test_no_drift_is_the_identity(source):
    found = register(source, source)
    assert (found.terms - identity()).abs().max() * SIDE / 2 < 0.01
    assert found.agreement > 0.99 and found.view == (1.0, 1.0)


@pytest.mark.parametrize(
    "drift",
    [
        Drift(shift=(9.0, -7.5)),
        Drift(shift=(0.4, 0.3)),
        Drift(zoom=1.04),
        Drift(zoom=0.96),
        Drift(degrees=1.5),
        Drift(warp=1.5),
        Drift(shift=(-6.0, 5.0), zoom=0.97, degrees=-0.5, warp=0.5),
    ],
    ids=str,
)
def test_a_planted_drift_is_found(source, drift):
    found = register(source, drifted(source, drift))
    assert left(found, drift) < (0.1 if drift.warp else 0.05)
    moved = found.moved(SQUARE)
    if not drift.warp:
        assert moved.zoom == pytest.approx(drift.zoom, abs=5e-4)
        assert moved.degrees == pytest.approx(drift.degrees, abs=0.05)
        assert (moved.right, moved.down) == pytest.approx(drift.shift, abs=0.1)


@pytest.mark.parametrize("seed", range(3))
def test_an_edit_noise_and_tone_leave_it_within_a_quarter_of_a_pixel(source, seed):
    target = source.clone()
    target[:, 60:170, 90:200] = photo(seed + 50, SIDE)[:, 60:170, 90:200]
    drift = drawn(np.random.default_rng(seed), 0.5)
    assert left(register(source, drifted(target, drift, seed)), drift) < 0.25


def test_what_is_known_to_have_changed_has_no_say(source):
    """Half of the picture moved the other way: only with it marked is the rest's own place found."""
    drift = Drift(shift=(2.0, 0.0))
    edit = drifted(source, drift)
    edit[:, :, :150] = drifted(source, Drift(shift=(-2.0, 0.0)))[:, :, :150]
    known = torch.zeros(1, SIDE, SIDE)
    known[:, :, :156] = 1.0
    assert left(register(source, edit, known), drift) < 0.3
    assert left(register(source, edit), drift) > 1.0


def test_sizes_may_differ():
    source, drift, size = photo(2, 384), Drift(shift=(3.0, -2.0), zoom=1.02), Size(224, 256)
    edit = drifted(resize(source, size), drift)
    assert left(register(source, edit), drift, size, Size(384, 384)) < 0.1


def test_an_edit_cut_from_the_middle_is_recognised():
    """As nodes do that bring a picture to a model's size by cutting."""
    source = photo(3, 320)
    found = register(source, source[:, 40:280])
    assert found.view == (1.0, 0.75)
    x, y = grid(Size(320, 320), torch.zeros(1, dtype=torch.float64))
    places = found.places(x, y)[40:280]
    across, down = grid(Size(240, 320), torch.zeros(1, dtype=torch.float64))
    assert ((places - torch.stack((across, down), -1)).abs() * 160).max() < 0.1


def test_views_and_their_sizes():
    assert views(Size(100, 200), Size(512, 1024)) == [(1.0, 1.0)]
    assert views(Size(100, 200), Size(512, 512)) == [(1.0, 1.0), (0.5, 1.0)]
    assert views(Size(200, 100), Size(512, 512)) == [(1.0, 1.0), (1.0, 0.5)]
    assert sized_for(Size(100, 200), Size(512, 512), (0.5, 1.0)) == Size(512, 1024)


def test_words_for_a_map_are_in_pixels_of_the_edit():
    terms = identity()
    terms[0, 0], terms[1, 0] = 2 * 3 / 200, -2 * 5 / 100
    turn, zoom = math.radians(2), 1.03
    terms[0, 1:3] = zoom * torch.tensor((math.cos(turn), -math.sin(turn) * 100 / 200))
    terms[1, 1:3] = zoom * torch.tensor((math.sin(turn) * 200 / 100, math.cos(turn)))
    moved = Alignment(terms).moved(Size(100, 200))
    assert (moved.right, moved.down) == pytest.approx((3, -5))
    assert moved.zoom == pytest.approx(zoom, abs=1e-3) and moved.degrees == pytest.approx(2, abs=0.1)
    assert moved.warp == pytest.approx(0, abs=1e-6)


def test_a_flat_picture_stays_where_it_is():
    flat = torch.full((1, 64, 64, 3), 0.5)
    assert torch.allclose(register(flat, flat).terms, identity())

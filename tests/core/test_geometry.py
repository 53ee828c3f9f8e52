from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from x2edit_core.errors import X2EditError
from x2edit_core.geometry import (
    BUCKETS_512,
    BUCKETS_1024,
    MOST_TOKENS,
    SIZE_RULES,
    DiptychLayout,
    EditLayout,
    Size,
    bounded_panel,
    diptych_panel,
    doubt_about,
    nearest_bucket,
    snap,
    target_size,
)

sides = st.integers(1, 5000)


def test_the_thirteen_buckets_of_the_1024_stage():
    assert len(BUCKETS_1024) == 13
    assert all(4018 <= size.tokens <= 4096 for size in BUCKETS_1024)
    assert {Size(size.width, size.height) for size in BUCKETS_1024} == set(BUCKETS_1024)


def test_small_buckets_keep_the_small_offset():
    assert all(size.tokens <= 1024 and size.height % 16 == 0 and size.width % 16 == 0 for size in BUCKETS_512)
    assert Size(512, 512) in BUCKETS_512


@given(sides, sides, st.sampled_from(SIZE_RULES))
def test_every_picture_gets_whole_patches(height, width, rule):
    size = target_size(Size(height, width), rule)
    assert size.height % 16 == 0 and size.width % 16 == 0
    if rule == "keep":
        assert abs(size.height - height) <= max(8, 16 - height) and abs(size.width - width) <= max(8, 16 - width)


@given(sides, sides)
def test_a_turned_picture_gets_the_turned_square_or_wide_bucket(height, width):
    bucket = nearest_bucket(Size(height, width), BUCKETS_1024)
    if height == width:
        assert bucket == Size(1024, 1024)
    elif height > 1.2 * width:
        assert bucket.height > bucket.width
    elif width > 1.2 * height:
        assert bucket.width > bucket.height


@pytest.mark.parametrize("bucket", [*BUCKETS_1024, *BUCKETS_512])
def test_a_bucket_is_its_own_nearest(bucket):
    assert nearest_bucket(bucket, BUCKETS_1024 if bucket in BUCKETS_1024 else BUCKETS_512) == bucket


def test_explicit_sides_win_and_one_alone_keeps_the_aspect():
    source = Size(300, 600)
    assert target_size(source, "1024 buckets", width=500, height=250) == Size(256, 496)
    assert target_size(source, "keep", width=512) == Size(256, 512)
    assert target_size(source, "keep", height=512) == Size(512, 1024)


@pytest.mark.parametrize(("pixels", "expected"), [(1, 16), (16, 16), (23, 16), (24, 32), (1000, 1008)])
def test_snap(pixels, expected):
    assert snap(pixels) == expected


def test_empty_pictures_are_refused():
    with pytest.raises(X2EditError, match="at least 1"):
        Size(0, 10)


@pytest.mark.parametrize(("height", "width"), [(20000, 1080), (20000, 1), (1024, 4), (9000, 800)])
@pytest.mark.parametrize("wide", [512, 1024, 4096])
def test_a_very_tall_pictures_diptych_is_bounded_and_said(height, width, wide):
    source = Size(height, width)
    panel = bounded_panel(source, wide)
    assert 2 * panel.tokens <= MOST_TOKENS < 2 * diptych_panel(source, wide).tokens
    assert panel.width % 16 == panel.height % 16 == 0
    words = doubt_about(DiptychLayout(source, panel), wide)
    assert f"{2 * diptych_panel(source, wide).tokens:,} tokens" in words and str(panel) in words


def test_the_bound_keeps_the_shape_and_uses_the_room():
    """1080 × 20000 at 512 would be 37,888 tokens, and hours."""
    source = Size(20000, 1080)
    panel = bounded_panel(source, 512)
    assert 2 * diptych_panel(source, 512).tokens == 37_888
    assert panel.aspect == pytest.approx(source.aspect, rel=0.01) and 2 * panel.tokens > 0.9 * MOST_TOKENS


@pytest.mark.parametrize(
    ("height", "width", "wide"), [(512, 512, 512), (2000, 600, 512), (4096, 2048, 2048), (90, 9000, 4096)]
)
def test_other_pictures_keep_the_width_that_was_asked_for(height, width, wide):
    source = Size(height, width)
    assert bounded_panel(source, wide) == diptych_panel(source, wide)
    words = doubt_about(DiptychLayout(source, diptych_panel(source, wide)), wide)
    assert ("tokens" in words) == (2 * diptych_panel(source, wide).tokens > MOST_TOKENS)


@pytest.mark.parametrize(
    ("source", "rule", "words"),
    [
        (Size(1024, 1024), "1024 buckets", ""),
        (Size(1080, 1920), "1024 buckets", ""),
        (Size(20000, 1080), "1024 buckets", "squashed to 720 × 1456"),
        (Size(400, 4000), "512 buckets", "squashed"),
        (Size(20000, 1080), "keep", "takes 170,000 tokens"),
        (Size(1024, 1024), "keep", ""),
    ],
)
def test_an_unusual_size_is_said_before_it_is_used(source, rule, words):
    found = doubt_about(EditLayout(source, target_size(source, rule)))
    assert words in found and bool(found) == bool(words)

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from x2edit_core.errors import X2EditError
from x2edit_core.geometry import BUCKETS_512, BUCKETS_1024, SIZE_RULES, Size, nearest_bucket, snap, target_size

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

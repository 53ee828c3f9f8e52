"""Files of every kind against the numbers that were written into them; against the host's own reader in tests/host."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from x2edit_core.data.picture_files import as_png, opened
from x2edit_core.errors import X2EditError
from x2edit_core.evaluate.cases import decoded_mask
from x2edit_core.train.sources import entries

from .picture_zoo import file_of, grey16, mirrored, picture, tiff, zoo

DEEP = ["16 bits.png", "16 bits.tif", "16 bits big-endian.tif", "16 bits transparent.png", "16 bits alpha.png"]


def values(data, mode="RGB"):
    return np.asarray(opened(data).convert(mode), np.float64)


@pytest.mark.parametrize("name", DEEP)
def test_sixteen_bits_are_parts_of_65535(name):
    assert np.abs(values(zoo()[name], "L") / 255 - grey16() / 65535).max() < 1 / 255


def test_white_may_be_the_least_value():
    assert np.abs(values(zoo()["16 bits white is zero.tif"], "L") / 255 - (1 - grey16() / 65535)).max() < 1 / 255


def test_inks_on_paper():
    inks = np.random.default_rng(0).integers(0, 256, (4, 5, 4), np.uint8)
    data = file_of(Image.fromarray(inks, "CMYK"), "TIFF")
    light = 255 - inks.astype(float)
    assert np.abs(values(data) - light[..., :3] * light[..., 3:] / 255).max() <= 1


def test_numbers_of_no_known_range_are_read_as_the_host_reads_them_and_that_is_said(caplog):
    numbers = np.array([[-3.0, 0.4, 99.9], [np.nan, 254.0, 300.0]], np.float32)
    assert values(tiff(numbers, 1, 3), "L").tolist() == [[0, 0, 99], [0, 254, 255]]
    assert "from -3 to 300" in caplog.text
    caplog.clear()
    opened(zoo()["float of 0 to 1.tif"])
    assert "from 0 to 1, which are read as 0 to 255" in caplog.text
    caplog.clear()
    opened(zoo()["float of 0 to 255.tif"])
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("name", "clear"),
    [("palette transparent.png", 3), ("palette transparent.gif", 3), ("palette alpha.png", None), ("alpha.png", None)],
)
def test_what_is_transparent_is_where_the_edit_belongs(name, clear):
    index = np.asarray(Image.fromarray(picture()).quantize(32))
    opacity = picture()[..., 0] if name == "alpha.png" else np.where(index == clear, 0, 255) if clear else index * 8
    assert np.abs(decoded_mask(zoo()[name], name)[0].numpy() * 255 - (255 - opacity)).max() < 1e-3


@pytest.mark.parametrize("name", sorted({**zoo(), **mirrored()}))
def test_every_file_trains_and_goes_up_as_one_plain_picture(tmp_path, name):
    data = {**zoo(), **mirrored()}[name]
    again = opened(as_png(data))
    assert again.mode == opened(data).mode and np.array_equal(np.asarray(again), np.asarray(opened(data)))
    assert again.info == {} and not again.getexif()
    for part in ("source", "target"):
        (tmp_path / f"a_{part}.png").write_bytes(data)
    (tmp_path / "a.txt").write_text("make it blue", encoding="utf-8")
    (entry,) = entries("folder", tmp_path, lambda error: pytest.fail(str(error)))
    assert np.array_equal(entry.pictures()[0], values(data).astype(np.uint8))


def test_the_first_of_several_pictures_counts():
    for name in ("animated.png", "animated with a stand-in.png", "pages.tif", "animated.webp"):
        assert np.array_equal(values(zoo()[name]), picture()), name


@pytest.mark.parametrize(("data", "words"), [(b"", "no kind that is known"), (b"<html>", "no kind"), (b"%PDF-1.4", "no kind"),
                                             (zoo()["colour.png"][:90], "truncated")])  # fmt: skip
def test_what_is_no_whole_picture_is_refused_in_words(data, words):
    with pytest.raises(X2EditError, match=words) as caught:
        opened(data)
    assert "whole files of PNG" in str(caught.value) and "0x" not in str(caught.value)

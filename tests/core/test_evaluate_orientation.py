"""Pictures whose EXIF says how they were held: scored and trained upright, as the host's LoadImage hands them on."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from x2edit_core.data.pairs import SampleError
from x2edit_core.evaluate.cases import decoded, decoded_mask
from x2edit_core.train.sources import entries

ORIENTATION = 0x0112
UPRIGHT = np.zeros((24, 16, 3), np.uint8)
UPRIGHT[:8], UPRIGHT[8:, :8] = (255, 255, 255), (200, 10, 10)
HELD = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_90", 7: "TRANSVERSE",
        8: "ROTATE_270"}  # fmt: skip
"""Orientation → what the camera's rows are to the upright picture."""


def stored(orientation, form="PNG", mode="RGB", damaged=False):
    """A file whose rows lie as the camera was held; Pillow cannot read `damaged` EXIF."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    told = exif.tobytes()
    picture = Image.fromarray(UPRIGHT).convert(mode).transpose(Image.Transpose[HELD[orientation]])
    buffer = io.BytesIO()
    picture.save(buffer, form, exif=b"?" * len(told) if damaged else told)
    return buffer.getvalue()


def scored(data):
    return (decoded(data, "it")[0] * 255).round().byte().numpy()


@pytest.mark.parametrize("orientation", HELD)
def test_a_picture_is_scored_upright(orientation):
    assert np.array_equal(scored(stored(orientation)), UPRIGHT)


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "TIFF"])
def test_every_format_that_has_exif_is_turned_once(form):
    assert np.abs(scored(stored(6, form)).astype(int) - UPRIGHT).mean() < 20


def test_a_mask_is_turned_with_its_picture():
    mask = decoded_mask(stored(6, mode="L"), "it")[0].numpy()
    assert mask.shape == (24, 16)
    assert (mask[:8] == 1).all() and (mask[8:] < 1).all()


def saved(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def trained(folder, source, target=UPRIGHT):
    (folder / "a_source.png").write_bytes(source)
    (folder / "a_target.png").write_bytes(saved(target))
    (folder / "a.txt").write_text("make it blue\ncolor", encoding="utf-8")
    (entry,) = entries("folder", folder, lambda error: pytest.fail(str(error)))
    return entry.pictures()


def test_a_phone_picture_is_trained_upright_beside_its_upright_target(tmp_path):
    source, target = trained(tmp_path, stored(6))
    assert np.array_equal(source, UPRIGHT)
    assert np.array_equal(target, UPRIGHT)


def test_damaged_exif_turns_nothing_and_costs_no_picture(tmp_path):
    data = stored(6, damaged=True)
    with pytest.raises(SyntaxError):
        ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    sideways = np.asarray(Image.fromarray(UPRIGHT).transpose(Image.Transpose.ROTATE_90))
    assert np.array_equal(scored(data), sideways)
    assert np.array_equal(trained(tmp_path, data, sideways)[0], sideways)


@pytest.mark.parametrize("orientation", HELD)
def test_a_target_that_was_made_without_turning_its_source_is_refused(tmp_path, orientation):
    """By its shape where that tells, else by what it shows: both are pictures of the same scene."""
    rows = np.asarray(Image.fromarray(UPRIGHT).transpose(Image.Transpose[HELD[orientation]]))
    with pytest.raises(SampleError, match=rf"a_source.png is turned by its EXIF \(orientation {orientation}\)"):
        trained(tmp_path, stored(orientation), rows)


@pytest.mark.parametrize("orientation", HELD)
def test_a_pair_that_was_held_alike_is_no_fault(tmp_path, orientation):
    (tmp_path / "a_source.png").write_bytes(stored(orientation))
    (tmp_path / "a_target.png").write_bytes(stored(orientation))
    (tmp_path / "a.txt").write_text("make it blue", encoding="utf-8")
    (entry,) = entries("folder", tmp_path, lambda error: pytest.fail(str(error)))
    assert all(np.array_equal(pixels, UPRIGHT) for pixels in entry.pictures())

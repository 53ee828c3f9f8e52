"""The canvas of two panels: sizes, sentence and masks as the reference has them, and the way back."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from x2edit_core import diptych
from x2edit_core.errors import X2EditError
from x2edit_core.geometry import DiptychLayout, Size, diptych_panel


@settings(max_examples=200, deadline=None)
@given(st.integers(16, 5000), st.integers(16, 5000))
def test_height_is_rounded_as_the_reference_rounds_it(height, width):
    """Upstream: W = 512, H = int(H · 512 / W) // 8 * 8, then the pipeline takes ⌊H / 16⌋ · 16."""
    upstream = int(height * 512 / width) // 8 * 8 // 16 * 16
    assert diptych_panel(Size(height, width), 512) == Size(max(16, upstream), 512)


@pytest.mark.parametrize(
    ("source", "width", "panel"),
    [
        (Size(512, 512), 512, Size(512, 512)),
        (Size(1000, 750), 512, Size(672, 512)),
        (Size(600, 512), 512, Size(592, 512)),
        (Size(3000, 500), 512, Size(3072, 512)),
        (Size(333, 777), 1024, Size(432, 1024)),
        (Size(100, 4000), 512, Size(16, 512)),
        (Size(64, 64), 100, Size(96, 96)),
    ],
)
def test_any_width_and_any_shape(source, width, panel):
    assert diptych_panel(source, width) == panel


def test_sentence_is_the_trained_one_word_for_word():
    assert diptych.sentence("make it snow") == (
        "A diptych with two side-by-side images of the same scene. On the right, the scene is exactly the same as on "
        "the left but make it snow"
    )


def test_sentence_on_the_left_is_mirrored_and_a_template_is_taken_as_it_is():
    assert "On the left, the scene is exactly the same as on the right but x" in diptych.sentence("x", "left")
    assert diptych.sentence("x", "left", diptych.SENTENCE) == diptych.sentence("x", "left"), "a widget holds it in full"
    assert diptych.sentence("{x}", template="right: {instruction}!") == "right: {x}!"
    assert diptych.sentence("x", "left", "On the right {instruction}") == "On the right x"
    with pytest.raises(X2EditError, match="instruction would be lost"):
        diptych.sentence("x", template="On the right, it snows")


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("fill", ["grey", "copy"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_canvas_holds_the_source_in_one_half_only(side, fill, channels):
    image = torch.rand(2, 50, 70, channels)
    layout = diptych.layout_for(image, 96, side)
    canvas, mask = diptych.assemble(image, layout, fill), diptych.mask_of(layout, 2)
    assert canvas.shape == (2, 64, 192, 3) and mask.shape == canvas.shape[:3]
    edit, source = diptych.panels(canvas, layout)
    assert (edit == 0.5).all() if fill == "grey" else torch.equal(edit, source)
    assert torch.equal(source, canvas[:, :, layout.source_columns])
    assert (mask[:, :, layout.edit_columns] == 1).all() and (mask[:, :, layout.source_columns] == 0).all()
    assert diptych.side_of(mask) == side


def test_masked_half_is_mid_grey_whatever_lay_there():
    image = torch.rand(1, 32, 32, 3)
    layout = diptych.layout_for(image, 32, "right")
    mask = diptych.mask_of(layout, 1)
    seen = [diptych.greyed(diptych.assemble(image, layout, fill), mask) for fill in ("grey", "copy")]
    assert torch.equal(*seen)
    edit, source = diptych.panels(seen[0], layout)
    assert (edit == 0.5).all() and torch.equal(source, image)


def test_whole_tokens_rounds_down_and_binarises():
    pixels, mask = diptych.whole_tokens(torch.rand(3, 37, 70, 4), torch.linspace(0, 1, 70).expand(37, 70))
    assert pixels.shape == (3, 32, 64, 3) and mask.shape == (3, 32, 64)
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert (mask.diff(dim=-1) >= 0).all() and 0.45 < float(mask.mean()) < 0.55


@pytest.mark.parametrize("enlarged", [1, 2, 4])
@pytest.mark.parametrize("side", ["right", "left"])
def test_crop_gives_the_edit_at_the_sources_size(side, enlarged):
    image = torch.rand(1, 40, 60, 3)
    layout = diptych.layout_for(image, 64, side)
    canvas = torch.zeros(2, layout.canvas.height, layout.canvas.width, 3)
    canvas[:, :, layout.edit_columns] = 0.75
    canvas = canvas.repeat_interleave(enlarged, 1).repeat_interleave(enlarged, 2)
    found = diptych.crop(canvas, layout)
    assert found.shape == (2, 40, 60, 3)
    torch.testing.assert_close(found, torch.full_like(found, 0.75))


def test_a_picture_that_is_no_diptych_of_this_layout_is_refused():
    layout = DiptychLayout(Size(64, 64), Size(64, 64))
    with pytest.raises(X2EditError, match="128 × 64"):
        diptych.crop(torch.rand(1, 64, 64, 3), layout)
    with pytest.raises(X2EditError, match=r"195 × 98.*width must be even"):
        diptych.crop(torch.rand(1, 98, 195, 3), layout)
    with pytest.raises(X2EditError, match="not a diptych"):
        diptych.finish(torch.rand(1, 64, 128, 3), object(), None, False, None)
    with pytest.raises(X2EditError, match="connect `source`"):
        diptych.finish(torch.rand(1, 64, 128, 3), layout, None, True, None)


def painted(side="right", grain=0.0):
    """A source, and a finished diptych in which a square of it was painted red."""
    source = torch.rand(1, 8, 8, 3).repeat_interleave(16, 1).repeat_interleave(16, 2)
    layout = diptych.layout_for(source, 128, side)
    canvas = diptych.assemble(source, layout, "copy")
    canvas = canvas + grain * torch.randn_like(canvas)
    edit = canvas[:, :, layout.edit_columns]
    edit[:, 40:80, 40:80] = torch.tensor([1.0, 0.0, 0.0])
    return source, layout, canvas


@pytest.mark.parametrize("side", ["right", "left"])
def test_stitched_outside_the_change_is_the_source_bit_for_bit(side):
    source, layout, canvas = painted(side, grain=0.02)
    found = diptych.stitch(canvas, layout, source)
    changed = (found != source).any(-1)
    inside = torch.zeros_like(changed)
    inside[:, 40:80, 40:80] = True
    assert changed[inside].float().mean() > 0.99 and torch.equal(found[inside], diptych.crop(canvas, layout)[inside])
    rows, columns = changed[0].nonzero().unbind(1)
    assert int(rows.min()) >= 30 and int(rows.max()) < 90 and int(columns.min()) >= 30 and int(columns.max()) < 90


def test_a_persons_mask_decides_when_there_is_one():
    source, layout, canvas = painted()
    area = torch.zeros(1, 128, 128)
    area[:, :, :20] = 1.0
    found = diptych.stitch(canvas, layout, source, area)
    assert torch.equal(found[:, :, 32:], source[:, :, 32:])
    assert torch.equal(found[:, :, :20], diptych.crop(canvas, layout)[:, :, :20])


def test_nothing_changed_means_the_source_itself():
    source, layout, _ = painted()
    canvas = diptych.assemble(source, layout, "copy")
    assert torch.equal(diptych.stitch(canvas + 0.03 * torch.randn_like(canvas), layout, source), source)


def test_seam_is_soft_and_ends():
    mask = torch.zeros(1, 128, 128)
    mask[:, 50:70, 50:70] = 1.0
    soft = diptych.feathered(mask)
    assert (soft[mask > 0] == 1).all() and (soft[:, :40] == 0).all()
    assert ((soft > 0) & (soft < 1)).any()
    assert soft.diff(dim=1).abs().max() < 0.5

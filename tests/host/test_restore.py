"""X2Edit Restore behind any editor: no layout needed, the unchanged rest found, and what was found said on the node."""

from __future__ import annotations

import pytest
import torch
from bench.planted import Drift, drifted, photo

DRIFT = Drift(shift=(4.0, -3.0), zoom=1.02, gain=(0.97, 1.0, 1.03), blur=0.5, noise=0.004, jpeg=94)


@pytest.fixture
def shown(pack, monkeypatch):
    texts = []
    monkeypatch.setattr(pack.core("comfy_bridge.notices"), "_send", lambda node, text: texts.append(text))
    monkeypatch.setattr(pack.core("comfy_bridge.notices"), "_words", {})
    return texts


def patched(source):
    target = source.clone()
    target[:, 60:120, 70:140] = 1 - target[:, 60:120, 70:140]
    return target


@pytest.fixture(scope="module")
def pair():
    source = photo(21, 224)
    return source, drifted(patched(source), DRIFT)


def test_an_edit_of_any_editor_comes_back_at_the_sources_size(pack):
    source, edit = torch.rand(1, 50, 70, 3), torch.rand(1, 96, 128, 3)
    picture, mask = pack.run("X2EditRestore", image=edit, source=source)
    assert torch.equal(picture, pack.core("pixels").resize(edit, pack.core("geometry").Size(50, 70)))
    assert mask.shape == (1, 50, 70) and bool((mask == 1).all())
    area = torch.zeros(1, 50, 70)
    area[:, 10:20, 30:50] = 1.0
    within, mask = pack.run("X2EditRestore", image=edit, source=source, mask=area)
    assert torch.equal(mask, area)
    assert torch.equal(within[area == 0], source[area == 0]) and torch.equal(within[area == 1], picture[area == 1])


def test_without_layout_and_source_it_says_what_to_connect(pack):
    for unchanged, words in (("as pasted", "neither a layout nor a source"), ("find", "connect `source`")):
        with pytest.raises(ValueError, match=words):
            pack.run("X2EditRestore", image=torch.rand(1, 32, 32, 3), unchanged=unchanged)


def test_the_unchanged_rest_is_found_and_it_says_what_it_found(pack, pair, shown):
    source, edit = pair
    picture, mask = pack.run("X2EditRestore", image=edit, source=source, unchanged="find")
    assert torch.equal(picture[mask == 0], source[mask == 0])
    assert 0.07 < (mask > 0.5).float().mean() < 0.1, "8.4 % were edited"
    assert (picture - patched(source)).abs().mean() < 0.01
    (said,) = shown
    assert "px right" in said and "px up" in said and "larger" in said and "of the picture changed" in said


def test_a_layout_beside_a_source_changes_nothing_of_what_is_found(pack, pair):
    source, edit = pair
    layout = pack.core("geometry").EditLayout(*(pack.core("geometry").Size(224, 224),) * 2)
    with_layout = pack.run("X2EditRestore", image=edit, layout=layout, source=source, unchanged="find")
    without = pack.run("X2EditRestore", image=edit, source=source, unchanged="find")
    assert all(torch.equal(*both) for both in zip(with_layout, without, strict=True))


@pytest.mark.parametrize("side", ["left", "right"])
def test_of_a_diptych_the_edit_is_taken(pack, pair, side):
    source, edit = pair
    geometry = pack.core("geometry")
    layout = geometry.DiptychLayout(geometry.Size(224, 224), geometry.Size(224, 224), side)
    panels = (source, edit) if side == "right" else (edit, source)
    found = pack.run("X2EditRestore", image=torch.cat(panels, 2), layout=layout, source=source, unchanged="find")
    alone = pack.run("X2EditRestore", image=edit, source=source, unchanged="find")
    assert all(torch.equal(*both) for both in zip(found, alone, strict=True))


def test_a_batch_is_its_pictures_one_by_one(pack, pair, shown):
    source, edit = pair
    other = drifted(patched(source).flip(2), Drift(shift=(-2.0, 1.0)))
    tone = source.mul(0.6)
    edits = torch.cat((edit, other, tone))
    sources = torch.cat((source, source.flip(2), source))
    together = pack.run("X2EditRestore", image=edits, source=sources, unchanged="find")
    for row in range(3):
        one = slice(row, row + 1)
        alone = pack.run("X2EditRestore", image=edits[one], source=sources[one], unchanged="find")
        assert all(torch.equal(whole[one], part) for whole, part in zip(together, alone, strict=True))
    assert torch.equal(together[0][2:], tone), "an edit of the whole picture stays"
    lines = shown[2].splitlines()
    assert [line[:2] for line in lines] == ["1:", "2:", "3:"] and "colours of the whole picture" in lines[2]


def test_half_precision_comes_back_bit_for_bit(pack, pair):
    source, edit = (picture.half() for picture in pair)
    picture, mask = pack.run("X2EditRestore", image=edit, source=source, unchanged="find")
    assert picture.dtype == torch.float16
    assert torch.equal(picture[mask == 0], source[mask == 0]) and 0.85 < (mask == 0).float().mean() < 0.93


def test_a_mask_keeps_the_aligned_edit_within_it(pack, pair):
    source, edit = pair
    area = torch.zeros(1, 224, 224)
    area[:, 55:125, 65:145] = 1.0
    picture, mask = pack.run("X2EditRestore", image=edit, source=source, mask=area, unchanged="find")
    assert torch.equal(mask, area) and torch.equal(picture[area == 0], source[area == 0])
    pasted, _ = pack.run("X2EditRestore", image=edit, source=source, mask=area)
    truth = patched(source)
    assert (picture - truth).abs().mean() < 0.4 * (pasted - truth).abs().mean()


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_transparent_pictures_are_found_in_too(pack, pair, channels):
    source, edit = pair
    if channels == 1:
        source, edit = (picture.mean(-1, keepdim=True) for picture in pair)
    else:
        source = torch.cat((source, torch.ones_like(source[..., :1])), -1)
    picture, mask = pack.run("X2EditRestore", image=edit, source=source, unchanged="find")
    assert picture.shape == (1, 224, 224, 3) and 0.06 < (mask > 0.5).float().mean() < 0.1

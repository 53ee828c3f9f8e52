"""Tensors of other nodes: every kind that can be understood means the same, and the rest is refused by name."""

from __future__ import annotations

import pytest
import torch

from x2edit_core import admit
from x2edit_core.errors import X2EditError

PICTURE = torch.linspace(0, 1, 2 * 6 * 8 * 3).reshape(2, 6, 8, 3)
MASK = torch.linspace(0, 1, 2 * 6 * 8).reshape(2, 6, 8).round()


class Said(list):
    def __call__(self, text):
        self.append(text)


@pytest.fixture
def said():
    return Said()


def test_a_picture_as_expected_comes_through_itself(said):
    assert admit.picture(PICTURE, said) is PICTURE and said == []


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn])
def test_every_kind_of_float_means_the_same(said, kind):
    found = admit.picture(PICTURE.to(kind), said)
    assert found.dtype == torch.float32 and said == []
    assert torch.equal(found, PICTURE.to(kind).float())
    assert torch.equal(admit.mask(MASK.to(kind), said), MASK)


@pytest.mark.parametrize(
    ("kind", "most"),
    [
        (torch.uint8, 255),
        (torch.int16, 255),
        (torch.int32, 255),
        (torch.int64, 255),
        (torch.uint32, 255),
        (torch.uint16, 65535),
    ],
)
def test_integers_are_parts_of_their_range(said, kind, most):
    found = admit.picture((PICTURE.double() * most).round().to(kind), said)
    assert (found - PICTURE).abs().max() <= 0.5 / most + 1e-6
    for scale in (1, most):
        assert torch.equal(admit.mask((MASK * scale).to(kind), said), MASK)
    assert said == []


def test_true_is_white_and_false_black(said):
    assert torch.equal(admit.mask(MASK.bool(), said), MASK)
    assert torch.equal(admit.picture(PICTURE.round().bool(), said), PICTURE.round())


def test_axes_of_a_mask(said):
    for shaped in (MASK, MASK[:, None], MASK[..., None], MASK.transpose(1, 2).contiguous().transpose(1, 2)):
        assert torch.equal(admit.mask(shaped, said), MASK)
    for shaped in (MASK[0], MASK[:1], MASK[0, None, None], MASK[0, ..., None], MASK[:1, ..., None]):
        assert torch.equal(admit.mask(shaped, said), MASK[:1])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_single_picture_without_a_batch(said, channels):
    image = torch.rand(6, 8, channels)
    assert torch.equal(admit.picture(image, said), image[None])


def test_grey_with_alpha_is_a_picture_with_alpha(said):
    image = torch.rand(2, 6, 8, 2)
    found = admit.picture(image, said)
    assert torch.equal(found[..., :3], image[..., :1].expand(-1, -1, -1, 3)) and torch.equal(
        found[..., 3], image[..., 1]
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (PICTURE.movedim(-1, 1), "channels seem to come first"),
        (torch.rand(6, 8), r"\[6, 8\]"),
        (torch.rand(1, 6, 8, 5), "1 to 4 channels"),
        (torch.rand(0, 6, 8, 3), "empty batch"),
        (torch.rand(1, 0, 8, 3), "no pixel"),
        (torch.full((1, 6, 8, 3), -3), "integers .int64. from -3 to -3"),
        (torch.full((1, 6, 8, 3), 4000, dtype=torch.int32), "to 4000"),
        (torch.zeros(1, 6, 8, 3, dtype=torch.complex64), "complex64"),
        ([[0.5]], "of type list"),
        (None, "of type NoneType"),
    ],
)
def test_what_is_no_picture_is_named(said, given, words):
    with pytest.raises(X2EditError, match=words) as caught:
        admit.picture(given, said, "source")
    assert "`source`" in str(caught.value)


@pytest.mark.parametrize("shape", [(1, 6, 8, 3), (2, 3, 6, 8), (6,), (0, 6, 8), (1, 2, 1, 6, 8)])
def test_what_is_no_mask_is_named(said, shape):
    with pytest.raises(X2EditError, match="`edit_mask`"):
        admit.mask(torch.ones(shape), said, "edit_mask")


def test_values_that_are_no_numbers_are_black_and_said(said):
    image = PICTURE.clone()
    image[0, 0, 0], image[1, 0, 0, 0] = torch.nan, torch.inf
    found = admit.picture(image, said)
    assert found.isfinite().all() and not found[0, 0, 0].any() and torch.equal(found[1, 1:], PICTURE[1, 1:])
    assert len(said) == 1 and "`image` holds 4 values that are no numbers, of 288" in said[0]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize(("admitted", "shape"), [(admit.picture, (2, 6, 8, 3)), (admit.mask, (1, 6, 8))])
def test_nothing_but_values_that_are_no_numbers_is_no_picture(said, admitted, shape, value):
    """A black picture in the place of one that failed would be taken for an edit."""
    with pytest.raises(X2EditError, match=r"`edited` holds no numbers at all \("):
        admitted(torch.full(shape, value).half(), said, "edited")
    assert not said


def test_values_out_of_range_are_said(said):
    assert (admit.picture(PICTURE * 255, said) - PICTURE).abs().max() < 1e-6
    assert "read as 0–255" in said[0]
    assert torch.equal(admit.picture(PICTURE * 2 - 1, said), (PICTURE * 2 - 1).clamp(0, 1))
    assert "from -1 to 1" in said[1]
    assert torch.equal(admit.mask(MASK * 255, said), MASK)
    sharpened = PICTURE * 1.04 - 0.02
    assert admit.picture(sharpened, said) is sharpened and len(said) == 3, "a sharpening resize does that everywhere"


@pytest.mark.parametrize("empty", [torch.zeros(1, 64, 64), torch.zeros(64, 64, dtype=torch.uint8), torch.zeros(3, 64, 64, 1),
                                   torch.zeros(1, 1, 1).half(), torch.zeros(2, 32, 32, dtype=torch.bool)])  # fmt: skip
def test_a_placeholder_is_no_mask(said, empty):
    assert admit.mask_for(torch.rand(1, 100, 80, 3), empty, said) is None
    assert len(said) == 1 and "counts as no mask" in said[0]


def test_no_mask_is_none_without_a_word(said):
    assert admit.mask_for(PICTURE, None, said) is None and said == []


def test_a_black_mask_of_the_pictures_size_is_a_mask_and_said(said):
    found = admit.mask_for(torch.rand(1, 64, 64, 3), torch.zeros(1, 64, 64), said)
    assert found is not None and not found.any()
    assert len(said) == 1 and "black everywhere" in said[0]


def test_a_mask_of_another_shape_or_number_is_said(said):
    image = torch.rand(2, 60, 80, 3)
    for fitting in (torch.ones(1, 60, 80), torch.ones(2, 30, 40), torch.ones(1, 121, 161)):
        assert admit.mask_for(image, fitting, said) is not None
    assert said == []
    admit.mask_for(image, torch.ones(1, 80, 60), said)
    assert "60 × 80 and its picture 80 × 60" in said.pop()
    admit.mask_for(image, torch.ones(3, 60, 80), said)
    assert "holds 3 and `image` 2" in said.pop()


def latent(**changes):
    return {"samples": torch.rand(2, 16, 4, 6), **changes}


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_latent_keeps_its_kind(said, kind):
    given = latent(samples=torch.rand(2, 16, 4, 6).to(kind))
    assert admit.latent(given, said) is given and said == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (torch.rand(1, 16, 4, 6), "of type NoneType"),
        ({}, "of type NoneType"),
        (latent(samples=torch.rand(1, 64, 10)), r"\[1, 64, 10\]"),
        (latent(samples=torch.zeros(1, 16, 4, 6, dtype=torch.uint8)), "samples of uint8"),
        (latent(samples=torch.rand(0, 16, 4, 6)), "empty batch"),
        (latent(samples=torch.full((1, 16, 4, 6), torch.nan).half()), "384 values that are no numbers"),
    ],
)
def test_what_is_no_latent_is_named(said, given, words):
    with pytest.raises(X2EditError, match=words):
        admit.latent(given, said)


@pytest.mark.parametrize("painted", [MASK.bool(), MASK[..., None], (MASK * 255).byte()])
def test_a_latents_noise_mask_is_one_of_the_hosts_form(said, painted):
    found = admit.latent(latent(noise_mask=painted), said)
    assert torch.equal(found["noise_mask"], MASK[:, None]) and said == []


@pytest.mark.parametrize("painted", [MASK, MASK[:, None]])
def test_a_noise_mask_in_a_form_of_the_hosts_stays_as_it_came(said, painted):
    given = latent(noise_mask=painted)
    assert admit.latent(given, said) is given and said == []


def test_a_noise_mask_that_paints_nothing_is_said(said):
    admit.latent(latent(noise_mask=torch.zeros(1, 64, 64)), said)
    assert len(said) == 1 and "nothing is painted" in said[0]


def test_half_precision_comes_back_where_all_of_it_came(said):
    half, whole = PICTURE.half(), PICTURE
    assert admit.kind_of(half, None, half) == torch.float16
    assert (
        admit.kind_of(half, whole) == admit.kind_of(whole.double()) == admit.kind_of(whole.bfloat16()) == torch.float32
    )
    assert admit.kind_of((PICTURE * 255).byte()) == torch.float32


def test_a_trained_picture_is_let_go_of_its_graph(said):
    assert not admit.picture(PICTURE.clone().requires_grad_(), said).requires_grad


@pytest.mark.parametrize("kind", [torch.int64, torch.int32, torch.uint16])
def test_labels_and_bytes_in_a_wider_kind_are_told(said, kind):
    """What is read as nearly black was hardly meant so."""
    labels = torch.tensor([[0, 1, 2], [2, 1, 0]]).to(kind)
    found = admit.mask(labels, said)
    assert float(found.max()) < 0.01 and len(said) == 1 and "up to 2" in said[0] and "nearly black" in said[0]


def test_dark_bytes_are_a_dark_picture(said):
    admit.picture(torch.full((1, 4, 4, 3), 7, dtype=torch.uint8), said)
    admit.mask(torch.tensor([[0, 255]]), said)
    assert said == []

"""Reference metrics against their formulas written out, and their identities."""

from __future__ import annotations

import json
import math

import pytest
import torch

from x2edit_core.chat.features import FolderFeatures
from x2edit_core.choosing.metrics import edited_area, l1, psnr, similarity, ssim
from x2edit_core.errors import X2EditError


def pictures(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(3))


def test_equal_pictures_are_perfect():
    one = pictures(2, 20, 24, 3)
    assert l1(one, one).tolist() == [0, 0]
    assert psnr(one, one).tolist() == [math.inf] * 2
    assert ssim(one, one) == pytest.approx([1, 1])
    assert similarity(one.flatten(1), one.flatten(1)) == pytest.approx([1, 1])


def test_l1_and_psnr_of_a_known_difference():
    one = torch.zeros(1, 4, 4, 3)
    assert l1(one, one + 0.1) == pytest.approx([0.1])
    assert psnr(one, one + 0.1) == pytest.approx([20.0])
    assert l1(one, one + torch.tensor([0.3, 0, 0])) == pytest.approx([0.1])


def test_each_picture_of_a_batch_counts_for_itself():
    one, other = pictures(3, 16, 16, 3), pictures(4, 16, 16, 3)[1:]
    for measure in (l1, psnr, ssim):
        each = torch.cat([measure(one[i : i + 1], other[i : i + 1]) for i in range(3)])
        assert torch.allclose(measure(one, other), each)


def naive_ssim(one, other):
    """Window by window, as the formula is printed."""
    axis = torch.arange(11.0, dtype=torch.float64) - 5
    line = torch.exp(-(axis**2) / (2 * 1.5**2))
    weight = line[:, None] * line[None]
    weight /= weight.sum()
    found = []
    for channel in range(3):
        for top in range(one.shape[0] - 10):
            for left in range(one.shape[1] - 10):
                x, y = (p[top : top + 11, left : left + 11, channel].double() for p in (one, other))
                mx, my = (weight * x).sum(), (weight * y).sum()
                vx, vy = (weight * (x - mx) ** 2).sum(), (weight * (y - my) ** 2).sum()
                cov = (weight * (x - mx) * (y - my)).sum()
                found.append((2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4)))
    return torch.stack(found).mean()


def test_ssim_equals_the_formula():
    one = pictures(1, 15, 14, 3)
    other = (one + 0.2 * pictures(2, 15, 14, 3)[1:]).clamp(0, 1)
    assert ssim(one, other).item() == pytest.approx(naive_ssim(one[0], other[0]).item(), abs=1e-6)
    assert ssim(one, other) == pytest.approx(ssim(other, one))


def test_edited_area_tells_inside_from_outside():
    source = torch.full((1, 8, 8, 3), 0.5)
    mask = torch.zeros(1, 8, 8)
    mask[:, :4] = 1
    edit = source.clone()
    edit[:, :2] += 0.25  # half of the area
    edit[:, 7, :4, 0] += 0.1  # an eighth of the rest, in one channel
    found = edited_area(source, edit, mask)
    assert found.inside.item() == pytest.approx(1 / 2)
    assert found.outside.item() == pytest.approx(1 / 8)
    assert found.changed.item() == pytest.approx((16 + 4) / 64)
    assert found.l1_outside.item() == pytest.approx(4 * 0.1 / 3 / 32)
    assert found.psnr_outside.item() == pytest.approx(-10 * math.log10(4 * 0.01 / 3 / 32))


def test_edited_area_without_a_rest_and_without_a_change():
    source = pictures(1, 8, 8, 3)
    whole = edited_area(source, source)
    assert (whole.changed.item(), whole.inside.item()) == (0, 0)
    assert whole.outside.isnan().all() and whole.psnr_outside.isnan().all()
    kept = edited_area(source, source + 0.5, torch.zeros(8, 8))
    assert kept.inside.isnan().all()
    assert kept.outside.item() == 1


def test_shapes_that_do_not_fit_are_refused():
    one = pictures(1, 16, 16, 3)
    with pytest.raises(X2EditError, match="one size"):
        l1(one, one[:, :8])
    with pytest.raises(X2EditError, match="mask"):
        edited_area(one, one, torch.ones(8, 8))
    with pytest.raises(X2EditError, match="at least 11"):
        ssim(one[:, :10], one[:, :10])
    with pytest.raises(X2EditError, match="compared"):
        similarity(torch.rand(1, 4), torch.rand(1, 5))


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("weights") / "clip"
    letters = [*"abcdehnotrw", *(letter + "</w>" for letter in "abcdehnotrw"), "<|startoftext|>", "<|endoftext|>"]
    source = folder.parent
    (source / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(letters)}))
    (source / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer(str(source / "vocab.json"), str(source / "merges.txt"), model_max_length=16)
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"bos_token_id": len(letters) - 2, "eos_token_id": len(letters) - 1, "pad_token_id": len(letters) - 1}
    text = {**size, **ends, "vocab_size": len(letters), "max_position_embeddings": 16}
    vision = {**size, "image_size": 32, "patch_size": 8}
    torch.manual_seed(0)
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    transformers.CLIPModel(config).save_pretrained(folder)
    reader = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    transformers.CLIPProcessor(reader, tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dino_folder(tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("weights") / "dino"
    torch.manual_seed(0)
    config = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    transformers.Dinov2Model(config).save_pretrained(folder)
    transformers.BitImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}).save_pretrained(
        folder
    )
    return folder


def test_clip_features_of_pictures_and_texts(clip_folder):
    features = FolderFeatures(clip_folder)
    one, other = pictures(2, 32, 32, 3)
    vectors = features.of_pictures([one, other])
    texts = features.of_texts(["a cat", "ten red hot doors on the other shore"])
    assert features.reads_text
    assert vectors.shape == texts.shape == (2, 8)
    assert torch.allclose(features.of_pictures([other])[0], vectors[1], atol=1e-6), "a batch changes nothing"
    assert similarity(vectors[:1], features.of_pictures([one])) == pytest.approx([1], abs=1e-5)
    assert similarity(vectors, texts).abs().max() < 1


def test_dino_features_of_pictures(dino_folder):
    features = FolderFeatures(dino_folder)
    one, other = pictures(2, 40, 28, 3)
    vectors = features.of_pictures([one, other, one])
    assert vectors.shape == (3, 16)
    assert torch.allclose(vectors[0], vectors[2], atol=1e-6)
    assert not torch.allclose(vectors[0], vectors[1], atol=1e-3)
    with pytest.raises(X2EditError, match="no text side"):
        features.of_texts(["a"])


def test_folders_that_are_no_encoder(tmp_path):
    with pytest.raises(X2EditError, match=r"no config\.json"):
        FolderFeatures(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(X2EditError, match="cannot be loaded"):
        FolderFeatures(tmp_path).of_pictures([torch.rand(8, 8, 3)])

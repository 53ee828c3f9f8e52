from __future__ import annotations

import pytest
import torch

from x2edit_core import demo
from x2edit_core.demo import autoencoder, text


def test_every_embedded_file_is_there():
    assert all(path.is_file() for path in demo.BASES.values())
    assert all(any(folder.glob("*.safetensors")) for folder in demo.EMBEDDED.values())


def transform():
    network = autoencoder.PatchTransform()
    network.load_state_dict(autoencoder.patch_transform_weights())
    return network.eval().requires_grad_(False)


def test_patch_transform_keeps_what_it_can_represent():
    network = transform()
    latent = torch.randn(2, 16, 3, 5)
    torch.testing.assert_close(network.encode(network.decode(latent)), latent, rtol=0, atol=1e-4)


def test_patch_transform_keeps_flat_colours():
    colours = torch.rand(4, 3, 1, 1) * 2 - 1
    picture = colours.expand(4, 3, 16, 24)
    network = transform()
    torch.testing.assert_close(network.decode(network.encode(picture)), picture, rtol=0, atol=1e-5)


def test_pieces_split_words_digits_and_chinese():
    assert text.pieces("Move the  Red circle 12px, 把圆移开。") == [
        *("move", "the", "red", "circle", "1", "2", "px", ","),
        *("把", "圆", "移", "开", "。"),
    ]


def test_tokens_are_stable_and_in_the_table():
    tokens = text.tokenize("把圆移开 please")
    assert tokens == text.tokenize("把圆移开  PLEASE")
    assert all(1 <= row < text.TextConfig.table for token in tokens for row in token)


def test_inflected_words_share_their_context_only():
    circle, circles = text.tokenize("circle circles")
    assert circle[0] != circles[0]
    assert circle[1] == circles[1]


@pytest.mark.parametrize(("length", "padded"), [(0, 48), (48, 48), (49, 96), (10_000, text.LONGEST)])
def test_padding_reaches_the_next_multiple(length, padded):
    tokens = text.pad(text.tokenize("word " * length))
    assert len(tokens) == padded
    assert tokens.count(text.PAD) == padded - min(length, text.LONGEST)


def encoder(seed=1):
    config = text.TextConfig(context_width=40, pooled_width=24, width=32, heads=2, layers=2)
    network = text.TextEncoder(config)
    network.load_state_dict(text.initial_weights(config, seed))
    return network.eval().requires_grad_(False)


def encode(*prompts, seed=1):
    return encoder(seed)(torch.tensor([text.pad(text.tokenize(prompt)) for prompt in prompts]))


def test_encoder_gives_the_configured_widths():
    context, pooled = encode("a red circle", "一个红色的圆")
    assert context.shape == (2, text.SLOTS, 40)
    assert pooled.shape == (2, 24)


def test_encoder_reads_the_order_of_words():
    (first, _), (second, _) = encode("circle left of square"), encode("square left of circle")
    assert not torch.allclose(first, second, atol=1e-3)


def test_a_prompt_does_not_see_its_batch():
    alone, pooled_alone = encode("blue square")
    together, pooled = encode("blue square", "something else")
    torch.testing.assert_close(together[:1], alone)
    torch.testing.assert_close(pooled[:1], pooled_alone)


def test_empty_prompt_is_finite():
    assert all(output.isfinite().all() for output in encode(""))


def test_initial_weights_follow_the_seed():
    first, again, other = (
        text.initial_weights(text.TextConfig(8, 8, width=8, heads=1), seed)["embedding.weight"] for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from x2edit_core import miniature as demo
from x2edit_core.miniature import autoencoder, qwen, text
from x2edit_core.scenes import make_picture


def test_every_embedded_file_is_there():
    assert all(path.is_file() for path in (demo.FLUX, demo.TEXT, demo.AUTOENCODER, *demo.EMBEDDED.values()))


def test_the_embedded_models_stay_small():
    sizes = {path: path.stat().st_size for path in demo.WEIGHTS.rglob("*") if path.is_file()}
    assert sum(sizes.values()) <= 40e6
    assert sizes[demo.QWEN] + sizes[demo.EMBEDDED["embedded: x2edit qwen"]] <= 5e6


def test_the_sizes_of_the_embedded_qwen_image_are_in_its_shapes():
    weights = load_file(demo.QWEN)
    made = qwen.sizes_of(weights)
    assert made == qwen.sizes(128, 3)
    assert {"num_layers": 3, "num_attention_heads": 4, "attention_head_dim": 32}.items() <= made.items()
    assert weights["transformer_blocks.0.attn.norm_q.weight"].shape == (qwen.HEAD,) and sum(qwen.AXES) == qwen.HEAD
    assert weights["proj_out.weight"].shape[0] == made["in_channels"] == 4 * made["out_channels"]


def test_the_plain_base_is_the_fill_base_without_its_further_inputs():
    weights = load_file(demo.FLUX)
    plain = demo.without_fill(weights)
    assert plain["img_in.weight"].shape[1] == 64 < weights["img_in.weight"].shape[1] == 384
    assert torch.equal(plain["img_in.weight"], weights["img_in.weight"][:, :64])
    assert all(plain[name] is weights[name] for name in weights if name != "img_in.weight")


def untrained():
    network = autoencoder.Autoencoder()
    network.load_state_dict(autoencoder.initial_weights())
    return network.eval().requires_grad_(False)


def test_untrained_autoencoder_keeps_what_it_can_represent():
    network = untrained()
    latent = torch.randn(2, 16, 3, 5)
    torch.testing.assert_close(network.encode(network.decode(latent)), latent, rtol=0, atol=1e-4)


def test_untrained_autoencoder_keeps_flat_colours():
    colours = torch.rand(4, 3, 1, 1) * 2 - 1
    picture = colours.expand(4, 3, 16, 24)
    network = untrained()
    torch.testing.assert_close(network.decode(network.encode(picture)), picture, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def trained():
    network = autoencoder.Autoencoder().eval().requires_grad_(False)
    network.load_state_dict({name: tensor.float() for name, tensor in load_file(demo.AUTOENCODER).items()})
    return network


@pytest.fixture(scope="module")
def pictures():
    return torch.from_numpy(np.stack([make_picture(seed, "heldout")[0] for seed in range(1000, 1016)]))


def decibels(network, pictures, noise=0.0):
    latent = network.encode_normal(autoencoder.to_pixels(pictures))
    back = autoencoder.to_picture(network.decode_normal(latent + noise * torch.randn_like(latent)))
    error = (back.float() - pictures.float()) / 255
    return -10 * error.square().mean((1, 2, 3)).log10().mean()


def test_trained_autoencoder_is_small_and_faithful(trained, pictures):
    assert demo.AUTOENCODER.stat().st_size <= 2_000_000
    assert decibels(trained, pictures) >= 36


def test_trained_autoencoder_forgives_noise(trained, pictures):
    assert decibels(trained, pictures, noise=0.05) > decibels(trained, pictures) - 2


def test_trained_latents_have_about_unit_variance(trained, pictures):
    latent = trained.encode(autoencoder.to_pixels(pictures))
    deviation = ((latent - autoencoder.SHIFT) * autoencoder.SCALE).std((0, 2, 3))
    assert deviation.min() > 0.6
    assert deviation.max() < 1.6


def test_one_picture_goes_through_as_in_a_batch(trained, pictures):
    alone = autoencoder.round_trip(trained, pictures[0].numpy())
    together = autoencoder.to_picture(trained.decode(trained.encode(autoencoder.to_pixels(pictures[:2]))))[0]
    assert np.abs(alone.astype(int) - together.numpy()).max() <= 1


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


@pytest.mark.parametrize(("length", "padded"), [(0, 24), (24, 24), (25, 48), (10_000, text.LONGEST)])
def test_padding_reaches_the_next_multiple(length, padded):
    tokens = text.pad(text.tokenize("word " * length))
    assert len(tokens) == padded
    assert tokens.count(text.PAD) == padded - min(length, text.LONGEST)


def encoder(seed=1):
    config = text.TextConfig(context_width=40, pooled_width=24, width=64, layers=2)
    network = text.TextEncoder(config)
    network.load_state_dict(text.initial_weights(config, seed))
    return network.eval().requires_grad_(False)


def encode(*prompts, seed=1):
    return encoder(seed)(text.batch(prompts))


def test_encoder_gives_the_configured_widths():
    context, pooled = encode("a red circle", "一个红色的圆")
    assert context.shape == (2, text.SLOTS, 40)
    assert pooled.shape == (2, 24)


def test_configuration_is_read_from_the_weights():
    config = text.TextConfig(context_width=40, pooled_width=24, width=64, layers=3, table=128)
    assert text.TextConfig.of(text.initial_weights(config, 1)) == config


def test_encoder_for_the_trained_base_is_small():
    config = text.TextConfig(context_width=256, pooled_width=128)
    assert sum(tensor.numel() for tensor in text.initial_weights(config, 1).values()) < 2_000_000


def test_encoder_can_be_trained_to_tell_instructions_apart():
    network = encoder().train().requires_grad_(True)
    wanted = torch.tensor([0, 1, 0, 1])
    tokens = text.batch(["remove the red circle", "add a red circle", "去掉红色的圆", "添加红色的圆"])
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    losses = []
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(network(tokens)[1][:, :2], wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 < losses[0]
    assert all(parameter.grad is not None for name, parameter in network.named_parameters() if "context" not in name)


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
        text.initial_weights(text.TextConfig(8, 8, width=32), seed)["embedding.weight"] for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)

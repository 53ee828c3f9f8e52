"""ICEdit's nodes against the reference's conventions, row by row, and in the graphs that people build from them."""

from __future__ import annotations

import math

import comfy.samplers
import comfy.text_encoders.flux
import pytest
import torch

from .graphs import relative_error, velocity

INSTRUCTION = "make the sky (dark:1.5) red"
PREFIX = (
    "A diptych with two side-by-side images of the same scene. On the right, the scene is exactly the same as on the "
    "left but "
)


@pytest.fixture(scope="module")
def models(pack):
    return pack.run("X2EditDemoModels", base="fill")


@pytest.fixture(scope="module")
def text_to_image(pack):
    return pack.run("X2EditDemoModels", base="x2edit")[0]


@pytest.fixture(scope="module")
def applied(pack, models):
    (adapter,) = pack.run("X2EditAdapterLoader", adapter_name="embedded: icedit")
    return pack.run("X2EditApply", model=models[0], adapter=adapter)[0]


def diptych(pack, image, **inputs):
    return pack.run("ICEditDiptych", image=image, **{"width": 64, **inputs})


def condition(pack, models, canvas, mask, **inputs):
    inputs = {"clip": models[1], "instruction": "remove the circle", **inputs}
    return pack.run("ICEditConditioning", vae=models[2], diptych=canvas, mask=mask, **inputs)


def sample(pack, model, positive, negative, latent, steps=1, denoise=1.0):
    (done,) = pack.run(
        "KSampler", model=model, positive=positive, negative=negative, latent_image=latent, seed=3, steps=steps,
        cfg=1.0, sampler_name="euler", scheduler="simple", denoise=denoise,
    )  # fmt: skip
    return done


class FluxText:
    """The host's real FLUX tokenizer behind an encoder that only notes what it was given."""

    def __init__(self, tokenizer=None, options=None, seen=None):
        self.tokenizer = tokenizer or comfy.text_encoders.flux.FluxTokenizer()
        self.options, self.seen = dict(options or {}), [] if seen is None else seen

    def clone(self):
        return FluxText(self.tokenizer, self.options, self.seen)

    def set_tokenizer_option(self, name, value):
        self.options[name] = value

    def tokenize(self, text):
        return self.tokenizer.tokenize_with_weights(text, tokenizer_options=self.options)

    def encode_from_tokens_scheduled(self, tokens, unprojected=False, add_dict=None):
        self.seen.append(tokens)
        return [
            [torch.randn(1, len(tokens["t5xxl"][0]), 192), {"pooled_output": torch.randn(1, 192), **(add_dict or {})}]
        ]


@pytest.fixture
def encoded(pack, models):
    """(tokens of one conditioning run, its conditioning, the tokenizer)."""

    def run(side="right", **inputs):
        clip = FluxText()
        canvas, mask, _ = diptych(pack, torch.rand(1, 64, 64, 3), side=side)
        positive, negative, _ = condition(pack, models, canvas, mask, clip=clip, instruction=INSTRUCTION, **inputs)
        assert clip.options == {}, "the connected CLIP keeps its own settings"
        return clip.seen[0], positive, negative, clip.tokenizer

    return run


@pytest.mark.parametrize(("key", "part"), [("l", "clip_l"), ("t5xxl", "t5xxl")])
def test_both_encoders_read_the_sentence_word_for_word(encoded, key, part):
    """Against the tokenizers alone, without the host's prompt syntax: brackets stay brackets, all weights are 1."""
    tokens, _, _, tokenizer = encoded()
    expected = getattr(tokenizer, part).tokenizer(PREFIX + INSTRUCTION)["input_ids"]
    section = tokens[key][0]
    assert [token for token, _ in section][: len(expected)] == expected
    assert {weight for _, weight in section} == {1.0}


def test_t5_is_padded_to_512_and_clip_to_77(encoded):
    tokens, *_ = encoded()
    assert len(tokens["t5xxl"][0]) == 512 and len(tokens["l"][0]) == 77
    shorter, *_ = encoded(t5_min_length=0)
    assert len(shorter["t5xxl"][0]) == 256, "0 keeps the host's own length"


def test_guidance_is_50_and_the_negative_is_empty(encoded):
    _, positive, negative, _ = encoded()
    assert positive[0][1]["guidance"] == 50.0
    assert not negative[0][0].any() and not negative[0][1]["pooled_output"].any()
    assert torch.equal(negative[0][1]["concat_latent_image"], positive[0][1]["concat_latent_image"])


def test_a_template_of_ones_own(encoded):
    tokens, _, _, tokenizer = encoded(template="Right: {instruction}.")
    expected = tokenizer.t5xxl.tokenizer(f"Right: {INSTRUCTION}.")["input_ids"]
    assert [token for token, _ in tokens["t5xxl"][0]][: len(expected)] == expected


def test_an_edit_on_the_left_is_announced_there_by_the_default_sentence(encoded):
    tokens, _, _, tokenizer = encoded(side="left")
    swapped = {"right,": "left,", "left": "right"}
    mirrored = " ".join(swapped.get(word, word) for word in PREFIX.split(" "))
    expected = tokenizer.t5xxl.tokenizer(mirrored + INSTRUCTION)["input_ids"]
    assert [token for token, _ in tokens["t5xxl"][0]][: len(expected)] == expected


@pytest.mark.parametrize("fill", ["grey", "copy"])
def test_what_the_model_is_shown_equals_the_hosts_own_inpainting_node(pack, models, fill):
    """The masked half grey before encoding whatever was pasted there, and the mask at pixel resolution."""
    canvas, mask, _ = diptych(pack, torch.rand(2, 64, 64, 3), fill=fill)
    positive, _, latent = condition(pack, models, canvas, mask)
    theirs, _, samples = pack.run(
        "InpaintModelConditioning", positive=positive, negative=positive, vae=models[2], pixels=canvas, mask=mask,
        noise_mask=False,
    )  # fmt: skip
    for name in ("concat_latent_image", "concat_mask"):
        torch.testing.assert_close(positive[0][1][name], theirs[0][1][name])
    torch.testing.assert_close(latent["samples"], samples["samples"])
    (plain,) = pack.run("VAEEncode", pixels=torch.cat((canvas[:, :, :64], torch.full_like(canvas[:, :, :64], 0.5)), 2),
                        vae=models[2])  # fmt: skip
    torch.testing.assert_close(positive[0][1]["concat_latent_image"], plain["samples"])


def test_mask_edge_lies_on_a_latent_column(pack, models):
    canvas, mask, _ = diptych(pack, torch.rand(1, 64, 64, 3), width=512)
    positive, *_ = condition(pack, models, canvas, mask)
    blocks = positive[0][1]["concat_mask"].unflatten(-1, (-1, 8))
    assert (blocks == blocks[..., :1]).all() and blocks.shape[-2] == 128
    assert (blocks[..., :64, :] == 0).all() and (blocks[..., 64:, :] == 1).all()


def test_sizes_are_whole_tokens_even_if_the_diptych_is_not(pack, models):
    positive, _, latent = condition(pack, models, torch.rand(1, 75, 138, 3), torch.ones(1, 75, 138))
    assert latent["samples"].shape[-2:] == (8, 16)
    assert positive[0][1]["concat_mask"].shape == (1, 1, 64, 128)


def test_source_panel_is_painted_freely_unless_kept(pack, models, applied):
    canvas, mask, _ = diptych(pack, torch.rand(1, 64, 64, 3))
    free, kept = (condition(pack, models, canvas, mask, keep_source_panel=keep) for keep in (False, True))
    assert "noise_mask" not in free[2]
    torch.testing.assert_close(kept[2]["noise_mask"][0, 0], mask[0])
    done = sample(pack, applied, *kept)
    torch.testing.assert_close(done["samples"][..., :8], kept[2]["samples"][..., :8], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(sample(pack, applied, *free)["samples"][..., :8], kept[2]["samples"][..., :8], atol=0.1)


@pytest.mark.parametrize("steps", [4, 28, 50])
@pytest.mark.parametrize("size", [(64, 128), (48, 64), (128, 256)])
def test_sigmas_are_the_reference_pipelines(pack, models, text_to_image, steps, size):
    """diffusers: linspace(1, 1/n), shifted by exp(mu) with mu linear in the token count; within 2e-4."""
    latent = {"samples": torch.zeros(1, 16, *size)}
    mu = 0.5 + (size[0] * size[1] // 4 - 256) * 0.65 / 3840
    times = torch.linspace(1.0, 1.0 / steps, steps, dtype=torch.float64)
    expected = math.exp(mu) / (math.exp(mu) + (1 / times - 1))
    for base in (models[0], text_to_image):
        (model,) = pack.run("X2EditShift", model=base, latent=latent)
        sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", steps)
        assert (sigmas[:-1] - expected).abs().max() <= 2e-4 and sigmas[-1] == 0
        theirs = pack.run(
            "ModelSamplingFlux", model=base, max_shift=1.15, base_shift=0.5, width=8 * size[1], height=8 * size[0]
        )[0].get_model_object("model_sampling")
        assert model.get_model_object("model_sampling").shift == pytest.approx(theirs.shift)
    assert base.get_model_object("model_sampling").shift == 1.15, "the connected model keeps its own"


def test_shift_moves_the_percents_of_adapters_before_and_after(pack, models):
    (adapter,) = pack.run("X2EditAdapterLoader", adapter_name="embedded: icedit")
    latent = {"samples": torch.zeros(1, 16, 64, 128)}
    (shifted,) = pack.run("X2EditShift", model=models[0], latent=latent)
    inputs = {"adapter": adapter, "end_percent": 0.5}
    (before,) = pack.run("X2EditApply", model=shifted, **inputs)
    (after,) = pack.run("X2EditShift", model=pack.run("X2EditApply", model=models[0], **inputs)[0], latent=latent)
    canvas, mask, _ = diptych(pack, torch.rand(1, 64, 64, 3))
    positive, *_ = condition(pack, models, canvas, mask)
    noise = torch.randn(1, 16, 8, 16)
    for sigma in (0.6, 0.8):
        assert torch.equal(velocity(before, positive, noise, sigma), velocity(after, positive, noise, sigma))


def pipeline_draws(seed, shape, draws):
    """What the reference's pipeline gets: bfloat16 from a CPU generator of this seed, draw after draw."""
    generator = torch.Generator("cpu").manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.bfloat16) for _ in range(draws)]


@pytest.mark.parametrize("seed", [0, 304897401, 2**63])
@pytest.mark.parametrize("shape", [(1, 16, 64, 128), (2, 16, 6, 20)])
def test_initial_noise_of_a_seed_is_the_references(pack, seed, shape):
    first, second = pipeline_draws(seed, shape, 2)
    latent = {"samples": torch.zeros(shape)}
    for mode, expected in (("diffusers 0.32", first), ("diffusers 0.33", second)):
        (noise,) = pack.run("ICEditNoise", seed=seed, mode=mode)
        assert noise.seed == seed
        found = noise.generate_noise(latent)
        assert torch.equal(found, expected.float())
        assert torch.equal(noise.generate_noise(latent), found)
        part = noise.generate_noise({"samples": torch.zeros(1, *shape[1:]), "batch_index": [shape[0] - 1]})
        assert mode != "diffusers 0.32" or torch.equal(part, found[-1:])
    (theirs,) = pack.run("RandomNoise", noise_seed=seed)
    assert torch.equal(pack.run("ICEditNoise", seed=seed)[0].generate_noise(latent), theirs.generate_noise(latent))


@pytest.mark.parametrize("shape", [(1, 64, 64, 3), (2, 47, 81, 3), (1, 30, 50, 4), (3, 40, 40, 1), (1, 200, 31, 3)])
@pytest.mark.parametrize("side", ["right", "left"])
def test_any_picture_comes_back_at_its_own_size(pack, models, applied, shape, side):
    image = torch.rand(*shape)
    canvas, mask, layout = diptych(pack, image, side=side)
    conditioned = condition(pack, models, canvas, mask)
    assert conditioned[2]["samples"].shape[0] == shape[0]
    done = sample(pack, applied, *conditioned)
    (decoded,) = pack.run("VAEDecode", samples=done, vae=models[2])
    for node, inputs in (
        ("ICEditCrop", {}),
        ("ICEditCrop", {"source": image, "stitch": "feathered"}),
        ("ICEditCrop", {"source": image, "stitch": "feathered", "edit_mask": torch.ones(1, *shape[1:3])}),
        ("X2EditRestore", {}),
    ):
        result = pack.run(node, image=decoded, layout=layout, **inputs)[0]
        assert result.shape == (*shape[:3], 3) and result.isfinite().all()


def test_a_batch_is_its_pictures_one_by_one(pack, models, applied):
    images = torch.rand(2, 64, 64, 3)
    canvas, mask, _ = diptych(pack, images)
    positive, *_ = condition(pack, models, canvas, mask)
    noise = torch.randn(2, 16, 8, 16)
    together = velocity(applied, positive, noise, 0.7)
    for row in range(2):
        canvas, mask, _ = diptych(pack, images[row : row + 1])
        positive, *_ = condition(pack, models, canvas, mask)
        alone = velocity(applied, positive, noise[row : row + 1], 0.7)
        assert relative_error(together[row : row + 1], alone) < 1e-5


def test_fill_without_an_adapter_is_the_training_free_form(pack, models):
    canvas, mask, _ = diptych(pack, torch.rand(1, 64, 64, 3))
    done = sample(pack, models[0], *condition(pack, models, canvas, mask), steps=2)
    assert done["samples"].shape == (1, 16, 8, 16) and done["samples"].isfinite().all()


def test_another_nodes_layout_is_refused(pack, models):
    from .graphs import conditioning

    text = conditioning(torch.randn(1, 4, 192), torch.randn(1, 192))
    _, _, layout = pack.run(
        "X2EditReference", conditioning=text, vae=models[2], image=torch.rand(1, 64, 64, 3), size="keep"
    )
    with pytest.raises(ValueError, match="X2Edit Restore"):
        pack.run("ICEditCrop", image=torch.rand(1, 64, 128, 3), layout=layout)


def scene():
    """A smooth picture that the autoencoder can represent."""
    rows = torch.linspace(0.1, 0.9, 128)[None, :, None, None]
    columns = torch.linspace(0.8, 0.2, 128)[None, None, :, None]
    ramps = rows * torch.tensor([1.0, 0.5, 0.2]) + columns * torch.tensor([0.0, 0.4, 0.7])
    return (ramps / 1.2).expand(1, 128, 128, 3).contiguous()


def turn(pack, vae, picture, place, **crop):
    """One edit whose model is perfect: a square is painted, and only the autoencoder's loss is in the result."""
    canvas, _, layout = diptych(pack, picture, width=128, fill="copy")
    canvas = canvas.clone()
    canvas[:, place : place + 20, 128 + place : 148 + place] = torch.tensor([0.9, 0.1, 0.1])
    (latent,) = pack.run("VAEEncode", pixels=canvas, vae=vae)
    (decoded,) = pack.run("VAEDecode", samples=latent, vae=vae)
    return pack.run("ICEditCrop", image=decoded, layout=layout, **crop)[0]


def test_many_turns_do_not_drift(pack, models):
    """The untouched area after four edits in a row, each on the result of the one before."""
    source, vae = scene(), models[2]
    untouched = torch.ones(128, 128, dtype=torch.bool)
    for place in (10, 30, 60, 90):
        untouched[max(place - 12, 0) : place + 32, max(place - 12, 0) : place + 32] = False
    once = turn(pack, vae, source, 10)
    decoder_loss = (once - source)[:, untouched].abs().mean()
    stitched, whole = source, source
    for place in (10, 30, 60, 90):
        stitched = turn(pack, vae, stitched, place, source=stitched, stitch="feathered")
        whole = turn(pack, vae, whole, place)
        painted = stitched[:, place + 4 : place + 16, place + 4 : place + 16]
        assert (painted - torch.tensor([0.9, 0.1, 0.1])).abs().mean() < 0.1, "each edit is in the picture"
    assert torch.equal(stitched[:, untouched], source[:, untouched])
    assert (whole - source)[:, untouched].abs().mean() < 4 * decoder_loss + 1e-3

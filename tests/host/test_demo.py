from __future__ import annotations

import pytest
import torch

NAME = "X2EditDemoModels"


@pytest.fixture(scope="module")
def models(pack):
    return pack.run(NAME, base="x2edit")


@pytest.fixture
def vae(models):
    return models[2]


@pytest.fixture
def clip(models):
    return models[1]


@pytest.mark.parametrize(("base", "channels"), [("x2edit", 16), ("fill", 96)])
def test_bases_go_through_the_hosts_own_sampler(pack, base, channels):
    model, clip, vae = pack.run(NAME, base=base)
    assert model.model.diffusion_model.patch_size**2 * channels == model.model.diffusion_model.in_channels
    (text,) = pack.run("CLIPTextEncode", clip=clip, text="a red circle")
    (text,) = pack.run("FluxGuidance", conditioning=text, guidance=3.5)
    (zero,) = pack.run("ConditioningZeroOut", conditioning=text)
    (latent,) = pack.run("EmptySD3LatentImage", width=128, height=96, batch_size=2)
    (latent,) = pack.run(
        "KSampler",
        **{"model": model, "positive": text, "negative": zero, "latent_image": latent, "seed": 1, "steps": 2},
        **{"cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0},
    )
    (image,) = pack.run("VAEDecode", samples=latent, vae=vae)
    assert image.shape == (2, 96, 128, 3)
    assert image.isfinite().all()


@pytest.mark.parametrize(
    ("width", "height", "fits"), [(256, 256, True), (512, 256, True), (128, 400, True), (1024, 1024, False)]
)
def test_pictures_far_beyond_the_miniatures_size_are_refused_before_the_first_step(pack, models, width, height, fits):
    """A diptych of two panels counts as one picture."""
    model, clip, _ = models
    (text,) = pack.run("CLIPTextEncode", clip=clip, text="a red square")
    (latent,) = pack.run("EmptySD3LatentImage", width=width, height=height, batch_size=1)
    inputs = {"model": model, "positive": text, "negative": text, "latent_image": latent, "seed": 1, "steps": 1}
    inputs |= {"cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    if fits:
        assert pack.run("KSampler", **inputs)[0]["samples"].isfinite().all()
        return
    with pytest.raises(
        pack.core("errors").X2EditError, match=r"128 pixels; this one is sampled at 1024 × 1024\. Set `width`"
    ):
        pack.run("KSampler", **inputs)


def test_unknown_base_is_named(pack):
    bridge, errors = pack.core("comfy_bridge.miniature"), pack.core("errors")
    with pytest.raises(errors.X2EditError, match=r"'other'.*x2edit, fill"):
        bridge.load_demo_models("other")


def smooth(*shape):
    """Pictures whose patches the autoencoder can represent: slow ramps."""
    rows = torch.linspace(0.1, 0.9, shape[1])[None, :, None, None]
    columns = torch.linspace(0.8, 0.2, shape[2])[None, None, :, None]
    return (rows * torch.tensor([1.0, 0.5, 0.2]) + columns * torch.tensor([0.0, 0.4, 0.7])).expand(*shape) / 1.2


def test_vae_round_trip_through_the_nodes(pack, vae):
    image = smooth(3, 64, 96, 3)
    (latent,) = pack.run("VAEEncode", pixels=image, vae=vae)
    assert latent["samples"].shape == (3, 16, 8, 12)
    (back,) = pack.run("VAEDecode", samples=latent, vae=vae)
    assert (back - image).abs().max() < 0.05


def test_vae_crops_odd_sizes_and_drops_alpha_as_others_do(pack, vae):
    (latent,) = pack.run("VAEEncode", pixels=torch.rand(1, 77, 131, 4), vae=vae)
    assert latent["samples"].shape == (1, 16, 9, 16)


def test_vae_tiles_agree_with_the_whole(pack, vae):
    image = smooth(1, 256, 192, 3)
    (whole,) = pack.run("VAEEncode", pixels=image, vae=vae)
    tiling = {"tile_size": 128, "overlap": 32, "temporal_size": 64, "temporal_overlap": 8}
    (tiled,) = pack.run("VAEEncodeTiled", pixels=image, vae=vae, **tiling)
    (back,) = pack.run("VAEDecodeTiled", samples=tiled, vae=vae, **tiling)
    torch.testing.assert_close(tiled["samples"], whole["samples"], rtol=0, atol=0.05)
    assert (back - image).abs().max() < 0.05


def test_vae_latents_suit_the_models_latent_format(pack, models, vae):
    torch.manual_seed(0)
    (latent,) = pack.run("VAEEncode", pixels=smooth(1, 128, 128, 3), vae=vae)
    inside = models[0].model.process_latent_in(latent["samples"])
    assert inside.abs().max() < 5
    torch.testing.assert_close(models[0].model.process_latent_out(inside), latent["samples"])


def test_vae_is_counted_loaded_and_freed_by_the_host(pack, vae):
    import comfy.model_management

    pack.run("VAEEncode", pixels=torch.rand(1, 64, 64, 3), vae=vae)
    assert any(loaded.model is vae.patcher for loaded in comfy.model_management.current_loaded_models)
    assert vae.patcher.model_size() == sum(p.nbytes for p in vae.first_stage_model.parameters())
    comfy.model_management.unload_all_models()
    assert not any(loaded.model is vae.patcher for loaded in comfy.model_management.current_loaded_models)
    pack.run("VAEEncode", pixels=torch.rand(1, 64, 64, 3), vae=vae)


def test_clip_takes_both_prompts_as_flux_does(pack, clip):
    (same,) = pack.run("CLIPTextEncodeFlux", clip=clip, clip_l="circle", t5xxl="circle", guidance=3.5)
    (split,) = pack.run("CLIPTextEncodeFlux", clip=clip, clip_l="square", t5xxl="circle", guidance=3.5)
    assert torch.equal(same[0][0], split[0][0])
    assert not torch.equal(same[0][1]["pooled_output"], split[0][1]["pooled_output"])


def test_clip_prompt_weights_count(clip):
    plain, weighted, unit = (clip.encode(f"a {word} circle") for word in ("red", "(red:1.5)", "(red:1.0)"))
    assert torch.equal(plain, unit)
    assert not torch.equal(plain, weighted)


def test_clip_clone_ignores_options_of_real_tokenizers(clip):
    copy = clip.clone()
    copy.set_tokenizer_option("t5xxl_min_length", 512)
    assert copy.tokenize("移除圆", unknown_option=1) == clip.tokenize("移除圆")


def test_clip_return_forms_agree(clip):
    tokens = clip.tokenize("a", return_word_ids=False)
    context, pooled = clip.encode_from_tokens(tokens, return_pooled=True)
    as_dict = clip.encode_from_tokens(tokens, return_dict=True)
    ((scheduled, extra),) = clip.encode_from_tokens_scheduled(tokens)
    assert torch.equal(context, as_dict["cond"])
    assert torch.equal(context, scheduled)
    assert torch.equal(pooled, as_dict["pooled_output"])
    assert torch.equal(pooled, extra["pooled_output"])


def test_clip_word_ids_number_the_words_and_not_the_padding(clip):
    (section,) = clip.tokenize("red circle", return_word_ids=True)["l"]
    assert [word for *_, word in section][:4] == [1, 2, 0, 0]


def test_guidance_does_nothing_and_sigmas_are_those_of_dev(pack, models):
    model, clip, _ = models
    assert model.get_model_object("model_sampling").shift == 1.15
    flux = model.get_model_object("diffusion_model")
    context, pooled = clip.encode_from_tokens(clip.tokenize("a red circle"), return_pooled=True)
    x = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        passes = [flux(x, torch.ones(1), context, pooled, torch.tensor([scale])) for scale in (1.0, 30.0)]
    assert torch.equal(*passes)


def test_a_scene_can_show_an_edit_that_is_new_to_the_models(pack):
    inputs = {"task": "tone", "seed": 4}
    image, _, target, _ = pack.run("X2EditDemoScene", **inputs)
    same, words, taught, task = pack.run("X2EditDemoScene", **inputs, lesson="channels")
    assert torch.equal(same, image) and not torch.equal(taught, target)
    assert torch.equal(taught, image[..., [1, 2, 0]])
    assert words == "rotate the color channels" and task.task.english == "color"
    assert all(torch.equal(a, b) for a, b in zip(pack.run("X2EditDemoScene", **inputs)[:1], [image], strict=True))

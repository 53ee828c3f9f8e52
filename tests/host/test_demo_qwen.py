"""The embedded Qwen-Image: the host's classes at its sizes, its autoencoder and text, and what it can do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

SIDE = 64
SCENES = 8
ADAPTER = "embedded: x2edit qwen"


@pytest.fixture(scope="module")
def models(pack):
    return pack.run("X2EditDemoModels", base="qwen")


@pytest.fixture(scope="module")
def vae(models):
    return models[2]


def test_the_model_is_the_hosts_own_with_every_weight_of_the_file(pack, models):
    import comfy.ldm.qwen_image.model
    import comfy.model_base
    from safetensors.torch import load_file

    base = models[0].model
    network = base.diffusion_model
    assert type(base) is comfy.model_base.QwenImage
    assert type(network) is comfy.ldm.qwen_image.model.QwenImageTransformer2DModel
    stored, found = load_file(pack.core("miniature").QWEN), network.state_dict()
    assert stored.keys() == found.keys()
    assert all(torch.equal(found[name].float(), stored[name].float()) for name in stored)


def test_a_loaded_qwen_image_of_the_hosts_is_as_before(pack):
    """Building the small one changes nothing of how the host tells models apart."""
    import comfy.model_detection
    from safetensors.torch import load_file

    weights = load_file(pack.core("miniature").QWEN)
    before = comfy.model_detection.detect_unet_config(dict(weights), "")
    pack.run("X2EditDemoModels", base="qwen")
    assert comfy.model_detection.detect_unet_config(dict(weights), "") == before


def test_pictures_far_beyond_its_size_are_refused_before_the_first_step(pack, models):
    (text,) = pack.run("CLIPTextEncode", clip=models[1], text="a red square")
    with pytest.raises(pack.core("errors").X2EditError, match=r"made for pictures of 64 pixels; .* 512 × 512"):
        pack.run(
            "KSampler", model=models[0], positive=text, negative=text, latent_image={"samples": torch.zeros(1, 16, 1, 64, 64)},
            seed=1, steps=1, cfg=1.0, sampler_name="euler", scheduler="simple", denoise=1.0,
        )  # fmt: skip


def smooth(count):
    rows = torch.linspace(0.1, 0.9, SIDE)[None, :, None, None]
    shades = torch.linspace(0.3, 1, count)[:, None, None, None]
    return (rows * shades * torch.tensor([1.0, 0.6, 0.3])).expand(count, SIDE, SIDE + 32, 3)


def test_pictures_are_encoded_as_flux_has_them_in_the_layout_of_films(pack, models, vae):
    pictures = smooth(1)
    plain = pack.run("X2EditDemoModels", base="x2edit")
    inside = []
    for model, _, encoder in (models, plain):
        (latent,) = pack.run("VAEEncode", pixels=pictures, vae=encoder)
        inside.append(model.model.process_latent_in(latent["samples"]))
        (back,) = pack.run("VAEDecode", samples=latent, vae=encoder)
        assert back.shape == pictures.shape and (back - pictures).abs().max() < 0.05
    assert inside[0].shape == (1, 16, 1, SIDE // 8, (SIDE + 32) // 8)
    torch.testing.assert_close(inside[0].squeeze(2), inside[1], rtol=0, atol=1e-4)


def test_a_film_has_a_latent_for_its_first_picture_and_each_four_after(pack, vae):
    pictures = smooth(9)
    (latent,) = pack.run("VAEEncode", pixels=pictures, vae=vae)
    assert latent["samples"].shape[:3] == (1, 16, 3)
    (back,) = pack.run("VAEDecode", samples=latent, vae=vae)
    for first, last, kept in ((0, 0, 0), (1, 4, 4), (5, 8, 8)):
        assert (back[first : last + 1] - pictures[kept]).abs().max() < 0.05
    assert len(back) == len(pictures)


def test_references_of_several_pictures_are_encoded_one_by_one(pack, models, vae):
    (positive, _) = pack.run("X2EditQwenTextEncode", clip=models[1], instruction="x", width=SIDE, height=SIDE)
    size = {"size": "keep", "width": SIDE, "height": SIDE}
    _, latent, _ = pack.run("X2EditReference", conditioning=positive, vae=vae, image=torch.rand(2, 90, 70, 3), **size)
    assert latent["samples"].shape == (2, 16, 1, 8, 8)


@pytest.mark.parametrize("words", ["make it evening", "(dark:1.8) \\\\(x\\\\) embedding:y", "调成黄昏"])
def test_the_instruction_is_read_literally_and_the_negative_says_nothing(pack, models, words):
    positive, negative = pack.run("X2EditQwenTextEncode", clip=models[1], instruction=words, width=SIDE, height=SIDE)
    encoder = models[1].cond_stage_model.encoder
    text = pack.core("miniature.text")
    with torch.no_grad():
        for conditioning, said in ((positive, words), (negative, "")):
            torch.testing.assert_close(conditioning[0][0].float().cpu(), encoder.float()(text.batch([said]))[0].cpu())


def edited(pack, models, task, strength):
    """Held-out scenes of a task: how near their edits and their sources are to the exact answers, in decibels."""
    model, clip, vae = models
    scenes, tasks = pack.core("scenes"), pack.core("tasks")
    (adapter,) = pack.run("X2EditAdapterLoader", adapter_name=ADAPTER)
    chosen = tasks.Task.from_name(task)
    (applied,) = pack.run("X2EditApply", model=model, adapter=adapter, task=tasks.TaskChoice(chosen), strength=strength)
    (sampler,) = pack.run("KSamplerSelect", sampler_name="euler")
    size = {"size": "keep", "width": 0, "height": 0}
    edits, sources = [], []
    for seed in range(SCENES):
        case = scenes.make_case(seed, chosen, "heldout", SIDE)
        image = torch.from_numpy(case.source)[None].float() / 255
        positive, _ = pack.run("X2EditQwenTextEncode", clip=clip, instruction=case.instruction, image=image, **size)
        positive, latent, _ = pack.run("X2EditReference", conditioning=positive, vae=vae, image=image, **size)
        (sigmas,) = pack.run("X2EditSigmas", model=applied, latent=latent, steps=8)
        given = {"model": applied, "positive": positive, "negative": positive, "latent_image": latent}
        noise = {"add_noise": True, "noise_seed": seed, "cfg": 1.0, "sampler": sampler, "sigmas": sigmas}
        sampled, _ = pack.run("SamplerCustom", **given, **noise)
        (picture,) = pack.run("VAEDecode", samples=sampled, vae=vae)
        edits.append(decibels(picture[0].numpy(), case.target / 255))
        sources.append(decibels(case.source / 255, case.target / 255))
    return float(np.mean(edits)), float(np.mean(sources))


def decibels(one, other):
    return -10 * np.log10(max(float(np.mean((one - other) ** 2)), 1e-9))


def test_its_edits_are_near_and_the_adapters_edit_is_new_to_the_base(pack, models):
    """docs/miniature.md has the figures of 40 scenes; these are the first of them."""
    with_adapter, untouched = edited(pack, models, "tone", 1.0)
    alone, _ = edited(pack, models, "tone", 1e-6)
    assert with_adapter > untouched + 3
    assert with_adapter > alone + 1

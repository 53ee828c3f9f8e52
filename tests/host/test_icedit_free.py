"""ICEdit without an adapter on a text-to-image FLUX: inversion, what it keeps, and what is put back."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from .graphs import relative_error, velocity

pytestmark = pytest.mark.needs("attention patches")

PANEL = 64


@pytest.fixture(scope="module")
def models(pack):
    return pack.run("X2EditDemoModels", base="x2edit")


@pytest.fixture(scope="module")
def image():
    torch.manual_seed(3)
    return torch.rand(1, 4, 4, 3).repeat_interleave(16, 1).repeat_interleave(16, 2)


def invert(pack, models, image, **inputs):
    inputs = {"steps": 6, "solver": "rf-solver", "width": PANEL, "layers_start": 0.0, "check": False, **inputs}
    return pack.run("ICEditInvert", model=models[0], vae=models[2], image=image, **inputs)


@pytest.fixture(scope="module")
def inverted(pack, models, image):
    return invert(pack, models, image)


@pytest.fixture(scope="module")
def conditioned(pack, models, image):
    canvas, mask, _ = pack.run("ICEditDiptych", image=image, width=PANEL)
    return pack.run(
        "ICEditConditioning", clip=models[1], vae=models[2], instruction="make it red", diptych=canvas, mask=mask,
        guidance=3.5,
    )  # fmt: skip


def sample(pack, model, conditioned, noise, steps=6):
    positive, _, latent = conditioned
    (guider,) = pack.run("BasicGuider", model=model, conditioning=positive)
    (sampler,) = pack.run("KSamplerSelect", sampler_name="euler")
    (sigmas,) = pack.run("BasicScheduler", model=model, scheduler="simple", steps=steps, denoise=1.0)
    return pack.run(
        "SamplerCustomAdvanced", noise=noise, guider=guider, sampler=sampler, sigmas=sigmas, latent_image=latent
    )[0]["samples"]  # fmt: skip


def attention_values(pack, model, x, sigma):
    """Every layer's values of the image tokens, from one plain evaluation without text."""
    seen, watched = [], model.clone()

    def watch(q, k, v, extra_options, **_):
        seen.append(v[:, :, extra_options["img_slice"][0] :].clone())
        return {}

    watched.set_model_attn1_patch(watch)
    features = pack.core("comfy_bridge.inversion")
    return velocity(watched, features._no_text(model.model.diffusion_model), x, sigma), seen


def test_kept_values_are_those_of_the_inverted_path(pack, models, image, inverted):
    """At sigma 1 the path's end is known: it is the noise, evaluated once more."""
    noise, features, layout = inverted
    assert features.sigmas[0] == 1.0 and features.sigmas[-1] == 0.0 and len(features.sigmas) == 7
    assert set(features.values) == {(step, layer) for step in range(6) for layer in range(features.depth)}
    assert layout == features.layout
    _, values = attention_values(pack, models[0], noise.inverted, 1.0)
    for layer, value in enumerate(values):
        assert relative_error(features.values[0, layer], value) < 1e-5
        assert relative_error(features.values[3, layer], value) > 1e-3
    assert all(value.device.type == "cpu" for value in features.values.values())


def test_euler_inversion_is_the_hosts_own_step_upwards(pack, models, image):
    """One step from the picture: x + sigma · v(x, ~0), with v from the host's own sampler."""
    noise, _, _ = invert(pack, models, image, steps=1, solver="euler")
    floor = pack.core("comfy_bridge.inversion").SMALLEST_SIGMA
    x = models[0].model.process_latent_in(models[2].encode(image))
    slope, _ = attention_values(pack, models[0], x, floor)
    assert relative_error(noise.inverted, x + slope) < 1e-3


def test_noise_is_the_inverted_source_beside_a_seeds_noise(pack, models, image, inverted, conditioned):
    noise, _, _ = inverted
    latent = conditioned[2]
    whole = noise.generate_noise(latent)
    assert torch.equal(whole[..., :8], noise.inverted)
    (plain,) = pack.run("RandomNoise", noise_seed=noise.seed)
    assert torch.equal(whole[..., 8:], plain.generate_noise(latent)[..., 8:])
    left, _, layout = invert(pack, models, image, side="left")
    assert layout.side == "left"
    assert torch.equal(left.generate_noise(latent)[..., 8:], left.inverted)
    with pytest.raises(ValueError, match="same image and width"):
        noise.generate_noise({"samples": torch.zeros(1, 16, 8, 8)})


def test_the_error_of_the_way_back_is_reported_and_smaller_with_the_second_order(pack, models, image):
    features = pack.core("comfy_bridge.inversion")
    misses = {}
    for solver in ("rf-solver", "euler"):
        with torch.inference_mode():
            found = features.invert(models[0], models[2], image, PANEL, "right", 12, solver, features.Range(), 0, 8.0)
        misses[solver] = float(found.report.split("differs by ")[1].split(" %")[0])
        assert "dB" in found.report and "MiB" in found.report
    assert misses["rf-solver"] < misses["euler"]


def test_injection_replaces_the_values_of_the_source_panel_alone(pack, models, inverted, conditioned):
    noise, features, _ = inverted
    (model,) = pack.run("ICEditInject", model=models[0], features=features, strength=0.75)
    seen, watched = [], []

    def before(q, k, v, extra_options, **_):
        watched.append(v.clone())
        return {}

    def after(q, k, v, extra_options, **_):
        seen.append((v.clone(), extra_options["img_slice"][0]))
        return {}

    patched = models[0].clone()
    patched.set_model_attn1_patch(before)
    patched.model_options["transformer_options"]["patches"]["attn1_patch"] += model.model_options[
        "transformer_options"
    ]["patches"]["attn1_patch"]
    patched.set_model_attn1_patch(after)
    step = 2
    velocity(patched, conditioned[0], noise.generate_noise(conditioned[2]), features.sigmas[step])
    assert len(seen) == features.depth
    for layer, (old, (new, start)) in enumerate(zip(watched, seen, strict=True)):
        grid_old, grid_new = (part[:, :, start:].unflatten(2, (4, 8)) for part in (old, new))
        assert torch.equal(new[:, :, :start], old[:, :, :start])
        assert torch.equal(grid_new[..., 4:, :], grid_old[..., 4:, :])
        kept = features.values[step, layer].unflatten(2, (4, 4))
        torch.testing.assert_close(grid_new[..., :4, :], 0.25 * grid_old[..., :4, :] + 0.75 * kept)


def test_the_source_panel_comes_back_by_its_noise_and_its_values_together(pack, models, image, inverted, conditioned):
    """Beside an edit and under its text the source is painted again; not from its noise alone, nor its values alone."""
    noise, features, _ = inverted
    (model,) = pack.run("ICEditInject", model=models[0], features=features)
    (other,) = pack.run("RandomNoise", noise_seed=1)
    expected = models[2].encode(image)
    plain, injected, foreign = (
        relative_error(sample(pack, each, conditioned, start)[..., :8], expected)
        for each, start in ((models[0], noise), (model, noise), (model, other))
    )
    assert injected < 0.6 * min(plain, foreign)


def test_strength_zero_and_empty_ranges_change_nothing(pack, models, inverted, conditioned):
    noise, features, _ = inverted
    (same,) = pack.run("ICEditInject", model=models[0], features=features, strength=0.0)
    assert same is models[0]
    expected = sample(pack, models[0], conditioned, noise, 2)
    for inputs in ({"layers_start": 1.0}, {"steps_start": 1.0}):
        (model,) = pack.run("ICEditInject", model=models[0], features=features, **inputs)
        assert torch.equal(sample(pack, model, conditioned, noise, 2), expected)
    (model,) = pack.run("ICEditInject", model=models[0], features=features)
    assert not torch.equal(sample(pack, model, conditioned, noise, 2), expected)


def test_only_the_asked_layers_and_steps_are_kept(pack, models, image):
    _, features, _ = invert(pack, models, image, layers_start=0.34, steps_start=0.5)
    first = round(0.34 * features.depth)
    assert set(features.values) == {(step, layer) for step in (3, 4, 5) for layer in range(first, features.depth)}


def test_too_much_memory_is_refused_before_the_work(pack, models, image):
    with pytest.raises(ValueError, match=r"GiB; the limit is 0.1 GiB"):
        invert(pack, models, image.repeat(40, 1, 1, 1), steps=900, memory_limit=0.1)


@pytest.mark.parametrize(("layers", "steps"), [((0.0, 1.0), (0.0, 1.0)), ((0.34, 1.0), (0.5, 0.9))])
def test_expected_memory_is_what_is_kept(pack, models, image, layers, steps):
    bridge = pack.core("comfy_bridge.inversion")
    kept = bridge.Range(layers, steps)
    _, features, _ = invert(
        pack, models, image, layers_start=layers[0], layers_end=layers[1], steps_start=steps[0], steps_end=steps[1]
    )
    model = models[0].model
    expected = bridge.expected_bytes(features, kept, 1, model.diffusion_model.hidden_size, model.get_dtype_inference())
    assert features.bytes == expected > 0


def test_fill_is_told_that_it_needs_no_inversion(pack, models, image):
    fill = pack.run("X2EditDemoModels", base="fill")
    with pytest.raises(ValueError, match="needs no inversion"):
        invert(pack, (fill[0], None, fill[2]), image)


def test_values_of_another_flux_are_refused(pack, models, inverted):
    features = inverted[1]
    other = type(features)(features.layout, features.sigmas, 57, features.values)
    with pytest.raises(ValueError, match="57 blocks"):
        pack.run("ICEditInject", model=models[0], features=other)


@pytest.mark.parametrize("shape", [(2, 47, 81, 4), (1, 90, 33, 1)])
def test_batches_and_odd_pictures(pack, models, shape):
    picture = torch.rand(*shape)
    noise, features, layout = invert(pack, models, picture, steps=2)
    canvas, mask, same = pack.run("ICEditDiptych", image=picture, width=PANEL)
    assert same == layout
    conditioned = pack.run(
        "ICEditConditioning", clip=models[1], vae=models[2], instruction="x", diptych=canvas, mask=mask
    )
    (model,) = pack.run("ICEditInject", model=models[0], features=features)
    samples = sample(pack, model, conditioned, noise, 2)
    (decoded,) = pack.run("VAEDecode", samples={"samples": samples}, vae=models[2])
    (result,) = pack.run("ICEditCrop", image=decoded, layout=layout)
    assert result.shape == (*shape[:3], 3)


def test_guidance_with_two_halves_injects_into_both(pack, models, inverted, conditioned):
    noise, features, _ = inverted
    (model,) = pack.run("ICEditInject", model=models[0], features=features)
    positive, negative, latent = conditioned
    x, sigma = noise.generate_noise(latent), features.sigmas[1]
    together = velocity(model, positive, x, sigma, negative, cfg=3.0)
    one, two = (velocity(model, each, x, sigma) for each in (positive, negative))
    assert relative_error(together, two + 3.0 * (one - two)) < 1e-4


def test_nothing_remains_on_the_model(pack, models, image):
    options = str(models[0].model_options)
    _, features, _ = invert(pack, models, image, steps=2)
    pack.run("ICEditInject", model=models[0], features=features)
    assert str(models[0].model_options) == options


def test_a_new_seed_redraws_the_other_panel_and_inverts_nothing(pack, models, image, conditioned, monkeypatch):
    bridge = pack.core("comfy_bridge.inversion")
    follow, runs = bridge._follow, []
    monkeypatch.setattr(bridge, "_follow", lambda *inputs: runs.append(1) or follow(*inputs))
    picture = image.clone()
    first, kept, _ = invert(pack, models, picture, steps=2, seed=1)
    second, same, _ = invert(pack, models, picture, steps=2, seed=2)
    assert len(runs) == 1 and same is kept and second.inverted is first.inverted
    (plain,) = pack.run("RandomNoise", noise_seed=2)
    latent = conditioned[2]
    assert torch.equal(second.generate_noise(latent)[..., 8:], plain.generate_noise(latent)[..., 8:])
    text = conditioned[0]
    (guided,) = pack.run("FluxGuidance", conditioning=text, guidance=1.0)
    others = ({"steps": 3}, {"solver": "euler"}, {"layers_start": 0.5}, {"side": "left"}, {"conditioning": text},
              {"conditioning": guided}, {"check": True})  # fmt: skip
    for done, inputs in enumerate(others, 2):
        invert(pack, models, picture, **{"steps": 2, **inputs})
        assert len(runs) == done + (1 if "check" in inputs else 0), inputs
    with pytest.raises(ValueError, match="GiB"):
        invert(pack, models, picture, steps=2, memory_limit=1e-9)


def test_what_is_kept_goes_with_the_picture_it_is_of(pack, models, image):
    picture = image.clone()
    _, features, _ = invert(pack, models, picture, steps=1)
    alive = weakref.ref(features)
    del features
    gc.collect()
    assert alive() is not None, "another seed would use it"
    del picture
    gc.collect()
    assert alive() is None

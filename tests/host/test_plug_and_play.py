"""The paper's plug-and-play table on the embedded models: bases with and without guidance, LoRAs, samplers and schedulers.

The embedded models are small and their pictures mean nothing, so identities are asserted: what must be equal is equal,
what must act acts, and every combination samples to the end. `docs/models.md` gives the settings for the real files.
"""

from __future__ import annotations

import comfy.sd
import folder_paths
import pytest
import torch
from safetensors.torch import load_file, save_file

from .graphs import GOLDEN_FLUX, conditioning, golden_adapter, golden_cases, relative_error, state, velocity

CASE = golden_cases("x2edit")[0]["tensors"]
GUIDANCE = "time_text_embed.guidance_embedder."
# (base, steps, LoRA strength) of the paper's rows; those that are the same thing to these models share a line.
ROWS = {
    "dev, Krea, PixelWave": ("guided", 28, None),
    "schnell, shuttle": ("unguided", 4, None),
    "Turbo-Alpha": ("guided", 8, 1.0),
    "AntiBlur, Midjourney-Mix2": ("guided", 28, 1.5),
    "Super-Realism, Ghibli": ("guided", 28, 1.0),
}
SAMPLERS = ("euler", "euler_ancestral", "heun", "dpmpp_2m", "dpmpp_sde", "uni_pc", "ddim", "res_multistep", "lcm")
SCHEDULERS = ("simple", "normal", "beta", "sgm_uniform", "ddim_uniform")
# Each sampler and each scheduler once in every run, all pairs in a full one.
PRESETS = [
    pytest.param(sampler, scheduler, marks=() if sampler == "euler" or scheduler == "simple" else pytest.mark.full)
    for sampler in SAMPLERS
    for scheduler in SCHEDULERS
]
# Layer → its name in diffusers; one layer of each kind that has a single name there.
SITES = {
    "double_blocks.0.img_attn.proj": "transformer_blocks.0.attn.to_out.0",
    "double_blocks.0.img_mlp.0": "transformer_blocks.0.ff.net.0.proj",
    "single_blocks.1.linear2": "single_transformer_blocks.1.proj_out",
}
# The same layers as three kinds of files name them: FLUX's own names, kohya's, diffusers'.
FORMS = {
    "flux": "diffusion_model.{}.lora_{}.weight",
    "kohya": "lora_unet_{}.lora_{}.weight",
    "diffusers": "transformer.{}.lora_{}.weight",
}


def load(tensors):
    with torch.inference_mode():
        return comfy.sd.load_diffusion_model_state_dict({key: tensor.clone() for key, tensor in tensors.items()})


@pytest.fixture(scope="module")
def weights(pack):
    return load_file(GOLDEN_FLUX)


@pytest.fixture(scope="module")
def bases(weights):
    """A base as dev and its kin are, and one without guidance embedding, as schnell and shuttle are."""
    unguided = {key: tensor for key, tensor in weights.items() if not key.startswith(GUIDANCE)}
    assert 0 < len(unguided) < len(weights)
    return {"guided": load(weights), "unguided": load(unguided)}


@pytest.fixture(scope="module")
def loras(bases, tmp_path_factory):
    """One LoRA in three kinds of files; returns the file name of each."""
    folder = tmp_path_factory.mktemp("loras")
    modules = dict(bases["guided"].model.diffusion_model.named_modules())
    generator = torch.Generator().manual_seed(1)
    pairs = {}
    for path in SITES:
        wide, narrow = modules[path].weight.shape
        down = torch.randn(4, narrow, generator=generator) / narrow**0.5
        pairs[path] = (down, torch.randn(wide, 4, generator=generator) / 8)
    names = {}
    for form, pattern in FORMS.items():
        halves = ("down", "up") if form == "kohya" else ("A", "B")
        tensors = {
            pattern.format(_named(path, form), half): tensor
            for path, pair in pairs.items()
            for half, tensor in zip(halves, pair, strict=True)
        }
        names[form] = f"plug_and_play_{form}.safetensors"
        save_file(tensors, folder / names[form])
    folder_paths.add_model_folder_path("loras", str(folder))
    return names


def _named(path, form):
    if form == "diffusers":
        return SITES[path]
    return path.replace(".", "_") if form == "kohya" else path


def apply(pack, model, strength=1.0):
    adapter = golden_adapter(pack)
    (task,) = pack.run("X2EditTask", task="style")
    return pack.run("X2EditApply", model=model, adapter=adapter, task=task, strength=strength)[0]


def with_lora(pack, model, name, strength):
    return pack.run("LoraLoaderModelOnly", model=model, lora_name=name, strength_model=strength)[0]


def positive(pack, model, guidance=3.5):
    plain = conditioning(CASE["context"][:, :48], CASE["pooled"], guidance)
    return pack.core("comfy_bridge.pictures").add_reference(plain, model.model.process_latent_out(CASE["ref"]))


def sample(pack, model, steps=4, sampler="euler", scheduler="simple", guidance=3.5):
    text = positive(pack, model, guidance)
    latent = {"samples": torch.zeros_like(CASE["noise"])}
    settings = {"seed": 3, "steps": steps, "cfg": 1.0, "sampler_name": sampler, "scheduler": scheduler, "denoise": 1.0}
    (result,) = pack.run("KSampler", model=model, positive=text, negative=text, latent_image=latent, **settings)
    return result["samples"]


def evaluate(pack, model, guidance=3.5):
    return velocity(model, positive(pack, model, guidance), CASE["noise"], 0.7)


def test_a_base_without_guidance_is_one_whose_guidance_adds_nothing(pack, weights, bases):
    silent = {key: torch.zeros_like(t) if key.startswith(GUIDANCE) else t for key, t in weights.items()}
    expected = evaluate(pack, apply(pack, load(silent)))
    found = evaluate(pack, apply(pack, bases["unguided"]))
    assert relative_error(found, expected) < 1e-6
    assert relative_error(found, evaluate(pack, apply(pack, bases["guided"]))) > 1e-3


def test_guidance_counts_only_where_the_base_has_it(pack, bases):
    one, other = (evaluate(pack, apply(pack, bases["unguided"]), guidance) for guidance in (1.0, 30.0))
    assert torch.equal(one, other)
    one, other = (evaluate(pack, apply(pack, bases["guided"]), guidance) for guidance in (1.0, 30.0))
    assert not torch.equal(one, other)


@pytest.mark.parametrize("row", ROWS)
def test_row_of_the_table(pack, bases, loras, row):
    """Steps and LoRA strength of the table: finite, all parts act, either order alike, and the base is left as it was."""
    name, steps, strength = ROWS[row]
    base = bases[name]
    before = state(base.model)
    edited = sample(pack, apply(pack, base), steps)
    assert edited.isfinite().all()
    assert relative_error(edited, sample(pack, base, steps)) > 1e-3
    if strength is not None:
        first = sample(pack, apply(pack, with_lora(pack, base, loras["flux"], strength)), steps)
        other_order = sample(pack, with_lora(pack, apply(pack, base), loras["flux"], strength), steps)
        assert first.isfinite().all()
        assert relative_error(other_order, first) < 1e-4
        assert relative_error(first, edited) > 1e-3
    base.detach()
    after = state(base.model)
    assert after["forward"] == before["forward"]
    assert all(torch.equal(after["value"][key], value) for key, value in before["value"].items())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["guided", "unguided"])
def test_every_kind_of_lora_file_adds_the_same_in_either_order(pack, bases, loras, name, form):
    base = bases[name]
    expected = evaluate(pack, apply(pack, with_lora(pack, base, loras["flux"], 1.5)))
    first = evaluate(pack, apply(pack, with_lora(pack, base, loras[form], 1.5)))
    after = evaluate(pack, with_lora(pack, apply(pack, base), loras[form], 1.5))
    assert relative_error(first, expected) < 1e-5
    assert relative_error(after, expected) < 1e-5
    assert relative_error(expected, evaluate(pack, apply(pack, base))) > 1e-3


@pytest.mark.parametrize(("sampler", "scheduler"), PRESETS)
def test_samplers_and_schedulers(pack, bases, sampler, scheduler):
    base = bases["guided"]
    plain = sample(pack, base, 4, sampler, scheduler)
    assert torch.equal(sample(pack, apply(pack, base, 0.0), 4, sampler, scheduler), plain)
    edited = sample(pack, apply(pack, base), 4, sampler, scheduler)
    assert edited.isfinite().all()
    assert relative_error(edited, plain) > 1e-3


@pytest.mark.parametrize("name", ["guided", "unguided"])
def test_a_part_of_sampling_means_the_same_on_either_base(pack, bases, name):
    """The two kinds of bases spread their sigmas differently; the adapter's share follows the one it is on."""
    base = bases[name]
    adapter = golden_adapter(pack)
    (task,) = pack.run("X2EditTask", task="style")
    (half,) = pack.run("X2EditApply", model=base, adapter=adapter, task=task, end_percent=0.5)
    text, middle = positive(pack, base), float(base.get_model_object("model_sampling").percent_to_sigma(0.5))

    def acts_at(sigma):
        return torch.equal(
            velocity(half, text, CASE["noise"], sigma), velocity(apply(pack, base), text, CASE["noise"], sigma)
        )

    assert acts_at(middle + 0.05)
    assert not acts_at(middle - 0.05)

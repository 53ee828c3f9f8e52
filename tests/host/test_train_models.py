"""What a run stands on: the host's models by weights, patches and options, texts as they are edited with, and exports."""

from __future__ import annotations

import comfy.model_patcher
import comfy.text_encoders.flux
import numpy as np
import pytest
import torch
from PIL import Image

QKV = "diffusion_model.double_blocks.0.img_attn.qkv.weight"
SENTENCE = "the left but make the sky (dark:1.5) red"


@pytest.fixture(scope="module")
def models(pack):
    return pack.core("comfy_bridge.training.models").HostModels(*pack.run("X2EditDemoModels", base="x2edit"))


def patched(model, seed=0, strength=1.0):
    """A clone of MODEL with a patch on one weight, as a LoRA loader leaves it."""
    shape = model.model.state_dict()[QKV].shape
    change = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.1
    clone = model.clone()
    assert clone.add_patches({QKV: ("diff", (change,))}, strength)
    return clone


def weights_of(flux):
    return {name: tensor.detach().float().clone() for name, tensor in flux.state_dict().items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_offloaded_base_keeps_the_patches_of_its_model(pack, models, dtype):
    module = pack.core("comfy_bridge.training.models")
    plain = weights_of(models.model.model.diffusion_model)
    model, key = patched(models.model), QKV.removeprefix("diffusion_model.")
    found = weights_of(module.streamed_flux(model, dtype)[0])
    assert float((found[key] - plain[key]).std()) == pytest.approx(0.1, rel=0.05)
    assert all(
        torch.equal(plain[name], tensor) for name, tensor in weights_of(models.model.model.diffusion_model).items()
    )
    loaded = weights_of(module.own_flux(model, dtype)[0])
    assert all(torch.equal(found[name], tensor) for name, tensor in loaded.items())
    other = weights_of(module.streamed_flux(models.model.clone(), dtype)[0])
    assert not torch.equal(other[key], found[key]), "what another clone has loaded is not taken along"
    expected = plain[key].to(dtype).float()
    assert torch.equal(other[key], expected)


def test_a_model_is_told_from_another_by_what_is_patched_onto_it(pack, models):
    module = pack.core("comfy_bridge.training.models")
    names = [
        module.model_fingerprint(model)
        for model in (
            models.model,
            patched(models.model),
            patched(models.model, seed=1),
            patched(models.model, strength=0.5),
        )
    ]
    assert len(set(names)) == 4
    assert module.model_fingerprint(patched(models.model)) == names[1], "the same patch in another session"
    loaded = patched(models.model)
    module.own_flux(loaded, torch.float32)
    assert module.model_fingerprint(loaded) == names[1] and module.model_fingerprint(models.model) == names[0]


class FluxText:
    """FLUX's own tokenizer and the host's patcher, over an encoder that notes what it is given."""

    def __init__(self, other=None):
        self.tokenizer = other.tokenizer if other else comfy.text_encoders.flux.FluxTokenizer()
        cpu = torch.device("cpu")
        self.patcher = other.patcher.clone() if other else comfy.model_patcher.ModelPatcher(Noting(), cpu, cpu)
        self.cond_stage_model = self.patcher.model
        self.layer_idx = other.layer_idx if other else None
        self.tokenizer_options = dict(other.tokenizer_options) if other else {}

    def clone(self):
        return FluxText(self)

    def set_tokenizer_option(self, name, value):
        self.tokenizer_options[name] = value

    def tokenize(self, text):
        return self.tokenizer.tokenize_with_weights(text, tokenizer_options=self.tokenizer_options)

    def encode_from_tokens(self, tokens, return_pooled=True):
        assert return_pooled
        return self.cond_stage_model(tokens)

    def encode_from_tokens_scheduled(self, tokens, add_dict=None):
        context, pooled = self.cond_stage_model(tokens)
        return [[context, {"pooled_output": pooled, **(add_dict or {})}]]


class Noting(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Linear(2, 2)
        self.seen = []

    def forward(self, tokens):
        self.seen.append(tokens["t5xxl"])
        return torch.zeros(1, len(tokens["t5xxl"][0]), 8), torch.zeros(1, 8)


@pytest.fixture(scope="module")
def flux_text():
    return FluxText()


def stored(pack, clip, cache, kind):
    values = {"kind": kind, "output": "run", "steps": 1, "model": {"base": "x"}, "data": {"cache": str(cache)}}
    config = pack.core("train.config").parse_config(values)
    return pack.core("comfy_bridge.training.text").text_of(clip, config, None, None, torch.device("cpu"))


@pytest.mark.parametrize("kind", ["icedit", "icedit_moe"])
def test_diptychs_are_told_in_training_what_they_are_told_in_editing(pack, flux_text, tmp_path, kind):
    context, _ = stored(pack, flux_text, tmp_path, kind)([SENTENCE])
    assert context.shape[1] == 512
    pack.core("comfy_bridge.diptych").encode_sentence(flux_text, SENTENCE, 512, 50.0)
    learnt, edited = flux_text.cond_stage_model.seen[-2:]
    assert learnt == edited and all(weight == 1.0 for _, weight in learnt[0])


def test_texts_are_kept_by_everything_that_shapes_their_encoding(pack, flux_text, tmp_path):
    def change(alter):
        clip = flux_text.clone()
        alter(clip)
        return clip

    def patch(clip, strength=1.0):
        assert clip.patcher.add_patches({"scale.weight": ("diff", (torch.ones(2, 2),))}, strength)

    clips = [
        flux_text,
        change(patch),
        change(lambda clip: patch(clip, 0.5)),
        change(lambda clip: setattr(clip, "layer_idx", -2)),
        change(lambda clip: clip.set_tokenizer_option("t5xxl_min_length", 300)),
    ]
    for clip in clips:
        stored(pack, clip, tmp_path, "lora")([SENTENCE])
    stored(pack, flux_text, tmp_path, "icedit")([SENTENCE])
    assert len(list((tmp_path / "text").iterdir())) == 6
    before = len(flux_text.cond_stage_model.seen)
    for clip in (flux_text, change(patch)):
        stored(pack, clip, tmp_path, "lora")([SENTENCE])
    assert len(flux_text.cond_stage_model.seen) == before, "equal ones are taken from the files"


def test_what_breaks_in_a_run_is_listed_beside_its_cache(pack, models, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for index in range(3):
        for side in ("source", "target"):
            pixels = np.random.default_rng(index).integers(0, 255, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(data / f"{index}_{side}.png")
        (data / f"{index}.txt").write_text("Make it red")
    values = {
        "kind": "lora", "output": str(tmp_path / "run"), "steps": 3, "batch": 3, "adapter": {"rank": 2},
        "model": {"base": "connected", "precision": "float32"},
        "data": {"kind": "folder", "path": str(data), "size": 32},
    }  # fmt: skip
    config = pack.core("train.config").parse_config(values)
    parts = pack.core("comfy_bridge.training.setup").assemble(config, models=models)
    sorted((config.cache / "latents").iterdir())[0].write_bytes(b"")
    pack.core("train.loop").Trainer(config, parts).run()
    (listed,) = (config.cache / "skipped.txt").read_text().splitlines()
    assert "_source.png: its latents" in listed
    pack.core("comfy_bridge.training.setup").assemble(config, models=models).batches.close()
    assert not (config.cache / "skipped.txt").exists(), "the next start encodes it anew"


def folder_of_pairs(data, count=3):
    data.mkdir()
    for index in range(count):
        for side in ("source", "target"):
            pixels = np.random.default_rng(index).integers(0, 255, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(data / f"{index}_{side}.png")
        (data / f"{index}.txt").write_text(f"Make it red {index}")
    return data


def lora_config(pack, tmp_path):
    values = {
        "kind": "lora", "output": str(tmp_path / "run"), "steps": 3, "batch": 3, "adapter": {"rank": 2},
        "model": {"base": "connected", "precision": "float32"},
        "data": {"kind": "folder", "path": str(folder_of_pairs(tmp_path / "data")), "size": 32},
    }  # fmt: skip
    return pack.core("train.config").parse_config(values)


def test_a_picture_whose_latents_are_no_numbers_is_listed_when_it_is_stored(pack, models, tmp_path, monkeypatch):
    """As half precision does to some pictures: the second one's first value is infinite."""
    module, config = pack.core("comfy_bridge.training.models"), lora_config(pack, tmp_path)
    encode, calls = module.HostPictures.encode, []

    def spoilt(self, pictures):
        calls.append(encode(self, pictures))
        if len(calls) == 3:
            calls[-1][0, 0, 0, 0] = float("inf")
        return calls[-1]

    monkeypatch.setattr(module.HostPictures, "encode", spoilt)
    parts = pack.core("comfy_bridge.training.setup").assemble(config, models=models)
    assert len(parts.batches.pools["edit"].tasks) == 2
    (listed,) = (config.cache / "skipped.txt").read_text().splitlines()
    assert "1_source.png" in listed and "no numbers" in listed
    parts.batches.close()
    monkeypatch.undo()
    whole = pack.core("comfy_bridge.training.setup").assemble(config, models=models).batches
    assert len(whole.pools["edit"].tasks) == 3 and not (config.cache / "skipped.txt").exists()
    whole.close()


def test_a_text_whose_encoding_is_no_numbers_is_left_out_and_listed(pack, flux_text, tmp_path):
    clip = FluxText(flux_text)
    forward = clip.cond_stage_model.forward

    def spoilt(tokens):
        context, pooled = forward(tokens)
        return (context + float("nan"), pooled) if len(clip.cond_stage_model.seen) == 2 else (context, pooled)

    clip.cond_stage_model.forward = spoilt
    clip.cond_stage_model.seen.clear()
    text = stored(pack, clip, tmp_path, "lora")
    try:
        text.prepare(["a", "b", "c"], lambda done, total: None)
    finally:
        del clip.cond_stage_model.forward
    assert text.broken == {"b"} and len(list((tmp_path / "text").rglob("*.safetensors"))) == 2


def test_what_encodes_to_other_channels_is_refused_in_words(pack, models):
    module = pack.core("comfy_bridge.training.models")
    flux = models.model.model.diffusion_model
    found = (torch.zeros(1, 4, flux.params.context_in_dim), torch.zeros(1, flux.params.vec_in_dim))
    module.require_widths(found, flux)
    with pytest.raises(ValueError, match="The text encoder gives 768 and"):
        module.require_widths((torch.zeros(1, 77, 768), found[1]), flux)
    pictures = module.HostPictures(models.vae, models.model)
    pictures._vae = type("FourChannels", (), {"encode": staticmethod(lambda pixels: torch.zeros(1, 4, 4, 4))})
    with pytest.raises(ValueError, match=r"latents of \[4, 4, 4\]; FLUX.1 has 16 channels"):
        pictures.encode(torch.zeros(1, 32, 32, 3, dtype=torch.uint8))


@pytest.mark.parametrize(("kind", "top_k"), [("icedit", 1), ("icedit_moe", 1), ("x2edit", 2)])
def test_the_research_layout_computes_the_same_whatever_alpha_is(pack, tmp_path, kind, top_k):
    adapters, setup = pack.core("train.adapters"), pack.core("comfy_bridge.training.setup")
    config = pack.core("train.config").AdapterConfig(experts=3, rank=4, top_k=top_k, alpha=8.0)
    spec = adapters.spec_for(kind, config, pack.core("families.flux1").FluxShape(128, 1, 1))
    adapter = adapters.new_adapter(spec, kind == "x2edit", 0)
    for delta in adapter.deltas:
        torch.nn.init.normal_(delta.up)
    assert setup.has_released_form(spec)
    setup.save_released(adapter, tmp_path)
    released = pack.core("adapters.checkpoint").load_adapter(tmp_path)
    assert released.spec.kind == kind and (not spec.experts or released.spec.routing == spec.routing)
    for one, other in zip(released.deltas, adapter.deltas, strict=True):
        assert torch.equal(one.up * one.scale, (other.up * other.scale).to(torch.bfloat16))
        assert torch.equal(one.down_gate, other.down_gate.to(torch.bfloat16))


def test_what_the_research_layout_cannot_say_is_not_written_in_it(pack):
    adapters, setup = pack.core("train.adapters"), pack.core("comfy_bridge.training.setup")
    shape = pack.core("families.flux1").FluxShape(128, 1, 1)
    for kind, top_k in (("lora", 2), ("icedit_moe", 2), ("x2edit", 1)):
        config = pack.core("train.config").AdapterConfig(experts=3, rank=4, top_k=top_k)
        assert not setup.has_released_form(adapters.spec_for(kind, config, shape))

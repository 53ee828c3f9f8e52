"""What only Qwen-Image has: latents of films, one method for all references, and files that belong elsewhere."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from .graphs import conditioning, golden_adapter, golden_cases, golden_models, relative_error, velocity
from .qwen_golden import FOLDER, batch_of, latent, load_adapter, load_base, tensors
from .test_filter import Liking, favourite_of, plain, run_filter

KEPT = tensors()
ODD = {name: KEPT[f"case3.{name}"] for name in ("noise", "ref", "context", "out")}
"""A grid of 5 x 7 tokens, task 10, t = 0.9."""


@pytest.fixture(scope="module")
def base(pack):
    return load_base()


@pytest.fixture(scope="module")
def adapter(pack):
    return load_adapter(pack)


@pytest.fixture(scope="module")
def edited(pack, base, adapter):
    return pack.run("X2EditApply", model=base, adapter=adapter, task=batch_of(pack, [10]))[0]


@pytest.fixture
def vae():
    """A tiny autoencoder of films through the host's own class: the Wan 2.1 layout, which Qwen-Image uses."""
    import comfy.ldm.wan.vae

    config = {"dim": 8, "z_dim": 16, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_scales": [],
              "temperal_downsample": [False, True, True], "dropout": 0.0}  # fmt: skip
    torch.manual_seed(0)
    network = comfy.ldm.wan.vae.WanVAE(**config)
    drawn = {
        key: torch.randn_like(tensor) / max(tensor[0].numel(), 1) ** 0.5 for key, tensor in network.state_dict().items()
    }
    vae = comfy.sd.VAE(sd=drawn)
    vae.first_stage_model.requires_grad_(False)
    return vae


def reference_of(pack, base, picture, context=ODD["context"]):
    positive = [[context, {}]]
    return pack.core("comfy_bridge.pictures").add_reference(positive, base.model.process_latent_out(latent(picture)))


def test_each_picture_of_a_batch_has_a_latent_of_its_own(pack, vae):
    pictures = torch.rand(3, 32, 48, 3)
    positive, empty, layout = pack.run(
        "X2EditReference", conditioning=[[torch.zeros(1, 4, 48), {}]], vae=vae, image=pictures, size="keep"
    )
    (found,) = positive[0][1]["reference_latents"]
    assert found.shape == empty["samples"].shape == (3, 16, 1, 4, 6)
    for index in range(3):
        assert torch.equal(found[index : index + 1], vae.encode(pictures[index : index + 1]))
    decoded = pack.run("VAEDecode", samples={"samples": found}, vae=vae)[0]
    restored, _ = pack.run("X2EditRestore", image=decoded, layout=layout)
    assert restored.shape == pictures.shape


def test_a_reference_of_another_autoencoder_is_refused_by_name(pack, edited):
    """Of FLUX's for Qwen-Image the host would make a film of sixteen frames."""
    add, refused = pack.core("comfy_bridge.pictures").add_reference, pack.core("errors").ModelMismatchError
    positive = add([[ODD["context"], {}]], torch.zeros(1, 16, 10, 14))
    with pytest.raises(refused, match="autoencoder of another kind"):
        velocity(edited, positive, latent(ODD["noise"]), 0.9)
    case = golden_cases("x2edit")[0]["tensors"]
    (flux,) = pack.run("X2EditApply", model=golden_models(pack)[0], adapter=golden_adapter(pack))
    positive = add(conditioning(case["context"], case["pooled"]), case["ref"].unsqueeze(2))
    with pytest.raises(refused, match="autoencoder of another kind"):
        velocity(flux, positive, case["noise"], 0.7)


@pytest.mark.parametrize("method", ["index", "offset", None])
def test_one_reference_is_placed_the_same_whatever_the_base_prefers(pack, base, edited, method):
    """Bases of the 2511 kind modulate references as clean tokens unless told otherwise."""
    later = base.clone()
    network = later.model.diffusion_model
    before = network.default_ref_method
    try:
        network.default_ref_method = method or "index_timestep_zero"
        found = velocity(edited, reference_of(pack, base, ODD["ref"]), latent(ODD["noise"]), 0.9)
    finally:
        network.default_ref_method = before
    assert relative_error(found[:, :, 0], ODD["out"]) <= 1e-5


def with_foreign(pack, base, method):
    """A reference of another node, then one of ours."""
    picture = base.model.process_latent_out(latent(ODD["ref"]))
    options = {"reference_latents": [picture], **({"reference_latents_method": method} if method else {})}
    return pack.core("comfy_bridge.pictures").add_reference([[ODD["context"], options]], picture.flip(-1))


@pytest.mark.parametrize(("negative", "told"), [("without", 1), ("with", 0)])
def test_a_negative_branch_without_the_reference_is_told(pack, base, adapter, caplog, negative, told):
    """Guidance then moves away from the source as well; the result is a picture nobody would suspect."""
    pack.core("comfy_bridge.notices")._said.clear()
    (model,) = pack.run("X2EditApply", model=base, adapter=adapter)
    positive = reference_of(pack, base, ODD["ref"])
    other = (
        reference_of(pack, base, ODD["ref"], ODD["context"].flip(1)) if negative == "with" else [[ODD["context"], {}]]
    )
    for _ in range(2):
        velocity(model, positive, latent(ODD["noise"]), 0.9, other, cfg=4.0)
    assert sum("negative conditioning has no reference" in record.getMessage() for record in caplog.records) == told


def test_a_branch_that_was_mended_is_not_told_again(pack, monkeypatch):
    """The model, and what it remembers, outlives a run; its branches may come one by one."""
    families = pack.core("comfy_bridge.families.qwen_image")
    said = []
    monkeypatch.setattr(families, "say_once", lambda key, text: said.append(key))
    branches = families.Branches()
    for branch, referenced in ((0, True), (1, False)):
        branches.tell({"cond_or_uncond": [branch]}, referenced)
    assert said == ["negative without reference"]
    for branch in (0, 1):
        branches.tell({"cond_or_uncond": [branch]}, True)
    assert len(said) == 1


@pytest.mark.parametrize("method", ["index_timestep_zero", "negative_index"])
def test_references_that_cannot_stand_together_are_refused(pack, base, edited, method):
    with pytest.raises(pack.core("errors").ModelMismatchError, match=method):
        velocity(edited, with_foreign(pack, base, method), latent(ODD["noise"]), 0.9)


def test_references_of_two_nodes_are_counted_on(pack, base, edited):
    """Theirs in frame 1, ours in frame 2, as if all were ours."""
    picture = base.model.process_latent_out(latent(ODD["ref"]))
    add = pack.core("comfy_bridge.pictures").add_reference
    both = add(add([[ODD["context"], {}]], picture), picture.flip(-1))
    wanted = velocity(edited, both, latent(ODD["noise"]), 0.9)
    assert torch.equal(velocity(edited, with_foreign(pack, base, None), latent(ODD["noise"]), 0.9), wanted)
    swapped = add(add([[ODD["context"], {}]], picture.flip(-1)), picture)
    assert relative_error(velocity(edited, swapped, latent(ODD["noise"]), 0.9), wanted) > 1e-4


def test_a_forward_that_makes_positions_itself_is_refused(pack, base, edited, monkeypatch):
    """As a pack that runs the blocks on its own would, by a function that it put in the place of the host's."""
    network = base.model.diffusion_model

    def _forward(x, timesteps, context, attention_mask=None, ref_latents=None, additional_t_cond=None,
                 transformer_options=None, control=None, **kwargs):  # fmt: skip
        tokens = torch.zeros(1, 35, 64)
        network.transformer_blocks[0](network.img_in(tokens), network.txt_in(context), None, torch.zeros(1, 64))
        return x

    monkeypatch.setitem(network.__dict__, "_forward", _forward)
    with pytest.raises(
        pack.core("errors").ModelMismatchError, match=r"replaced Qwen-Image's _forward \(by .*test_qwen_image\)"
    ):
        velocity(edited, reference_of(pack, base, ODD["ref"]), latent(ODD["noise"]), 0.9)


@pytest.mark.parametrize("model", ["flux1", "qwen_image"])
def test_an_adapter_of_the_other_family_is_refused_by_both_names(pack, base, adapter, model):
    connected = golden_models(pack)[0] if model == "flux1" else base
    other = adapter if model == "flux1" else golden_adapter(pack)
    with pytest.raises(
        pack.core("errors").ModelMismatchError, match=r"FLUX\.1 with .*Qwen-Image with|Qwen-Image with .*FLUX"
    ):
        pack.run("X2EditApply", model=connected, adapter=other)


def test_a_pruned_base_is_refused_by_both_numbers_of_blocks(pack, adapter):
    weights = {key: tensor for key, tensor in load_file(FOLDER / "qwen_image_base_diffusers.safetensors").items()
               if not key.startswith("transformer_blocks.2.")}  # fmt: skip
    with pytest.raises(pack.core("errors").ModelMismatchError, match=r"3 blocks.*2 blocks"):
        pack.run("X2EditApply", model=load_base(weights), adapter=adapter)


def test_a_file_cut_short_says_so_and_one_with_gaps_names_them(pack, tmp_path):
    for name in ("lora.safetensors", "task_embeddings.bin"):
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    path, load = tmp_path / "lora.safetensors", pack.core("adapters.checkpoint").load_adapter
    lacking = load_file(path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(pack.core("errors").CheckpointError, match="not a complete safetensors file"):
        load(tmp_path)
    save_file({key: tensor for key, tensor in lacking.items() if ".1.attn.processor.k_" not in key}, path)
    with pytest.raises(pack.core("errors").CheckpointError, match=r"(?s)27 missing: .*Qwen-Image"):
        load(tmp_path)


def test_an_offset_in_rows_has_no_meaning_here(pack, base, adapter):
    with pytest.raises(pack.core("errors").X2EditError, match="on Qwen-Image references stand in frames of their own"):
        pack.run("X2EditApply", model=base, adapter=adapter, reference_offset=64)


def test_what_the_file_holds_and_nobody_applies_is_told_once(pack, caplog):
    pack.core("comfy_bridge.notices")._said.clear()
    for _ in range(2):
        load_adapter(pack, "qwen told")
    assert sum("never applies them" in record.getMessage() for record in caplog.records) == 1


def test_routing_map_shows_target_and_reference(pack, base, edited):
    inputs = {"conditioning": reference_of(pack, base, ODD["ref"]), "latent": {"samples": latent(ODD["noise"])}}
    image, text = pack.run("X2EditRoutingMap", model=edited, block=-1, projection="v", **inputs, **stream("double"))
    assert image.shape[-1] == 3 and "transformer_blocks.2.attn.to_v" in text
    for wrong, message in ((stream("single") | {"projection": "q"}, "no single blocks"),
                           (stream("double") | {"projection": "proj"}, "q, k and v only")):  # fmt: skip
        with pytest.raises(pack.core("errors").X2EditError, match=message):
            pack.run("X2EditRoutingMap", model=edited, block=0, **inputs, **wrong)


def stream(kind):
    return {"stream": kind}


def test_a_shift_node_has_qwen_images_numbers(pack, base):
    """Unstretched: exactly what a shift of e^mu gives."""
    latents = {"samples": torch.zeros(1, 16, 1, 64, 64)}
    (shifted,) = pack.run("X2EditShift", model=base, latent=latents)
    (other,) = pack.run("ModelSamplingAuraFlow", model=base, shift=1.7137)
    for percent in (0.25, 0.5, 0.75):
        found, wanted = (
            model.get_model_object("model_sampling").percent_to_sigma(percent) for model in (shifted, other)
        )
        assert found == pytest.approx(wanted, abs=1e-3)


def test_one_adapter_file_serves_every_copy(pack, base, adapter):
    """A base without an adapter keeps the host's positions, also after an edit."""
    plain = velocity(base, reference_of(pack, base, ODD["ref"]), latent(ODD["noise"]), 0.9)
    assert relative_error(plain[:, :, 0], KEPT["case6.out"]) > 1e-3
    resting = pack.run("X2EditApply", model=base, adapter=adapter, end_percent=0.0)[0]
    aligned = velocity(resting, reference_of(pack, base, ODD["ref"]), latent(ODD["noise"]), 0.9)
    assert relative_error(aligned[:, :, 0], KEPT["case6.out"]) <= 1e-5, "at rest only the experts stop"
    assert "process_img" not in base.model.diffusion_model.__dict__


@pytest.mark.parametrize("mode", ["paper", "continue", "halving"])
def test_the_early_filter_ends_in_ksamplers_own_result(pack, base, adapter, vae, mode):
    """Drafts of films are shown to the judge as pictures, at cfg 4 with the rescaled norm."""
    Liking.verdict = pack.core("choosing.judge").Verdict
    model = pack.run("X2EditApply", model=base, adapter=adapter, task=batch_of(pack, [10]))[0]
    (model,) = pack.run("X2EditGuidanceRescale", model=model)
    source = torch.rand(1, 80, 112, 3, generator=torch.Generator().manual_seed(1))
    graph = {"model": model, "source": source, "vae": vae}
    for name, context in (("positive", ODD["context"]), ("negative", ODD["context"].flip(1))):
        graph[name], graph["latent"], graph["layout"] = pack.run(
            "X2EditReference", conditioning=[[context, {}]], vae=vae, image=source, size="keep"
        )
    judge = Liking()
    judge.favourite = favourite_of(pack, graph, 42, cfg=4.0).squeeze(0)
    latent_out, seed, *_ = run_filter(pack, graph, judge, mode=mode, cfg=4.0)
    assert judge.seen and all(picture.shape == (80, 112, 3) for _, *pair, _ in judge.seen for picture in pair)
    assert torch.equal(latent_out["samples"], plain(pack, graph, seed, cfg=4.0))
    assert latent_out["samples"].shape == (1, 16, 1, 10, 14)

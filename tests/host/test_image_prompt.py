"""A picture as a prompt beside an edit: the published adapters' formula on the host's FLUX, and nothing left behind."""

from __future__ import annotations

import contextlib
import copy
import json
from types import SimpleNamespace

import comfy.clip_vision
import comfy.model_management as memory
import comfy.samplers
import folder_paths
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from ..core.image_adapters import flat, instantx, plain_tokens, xlabs
from .families import Flux1
from .graphs import assert_untouched, relative_error, state, velocity
from .plain_flux import plain_velocity
from .replacements import IdentityLike, TeaCacheLike, by_setattr, left_behind

FEATURES, STATES = 24, 9
TABLES, TABLE = instantx(FEATURES), xlabs(FEATURES)
REFERENCE_OFFSET = 64


@pytest.fixture(scope="module")
def golden(pack):
    return Flux1(pack)


@pytest.fixture(scope="module")
def base(golden):
    return golden.base()


@pytest.fixture(scope="module")
def adapter(golden):
    return golden.adapter()


@pytest.fixture
def positive(golden, base):
    return golden.positive(base)


@pytest.fixture(scope="module")
def folder(pack):
    """Adapters of both kinds in models/x2edit."""
    place = pack.base / "models" / "x2edit"
    place.mkdir(parents=True, exist_ok=True)
    torch.save(TABLES, place / "ip-adapter.bin")
    save_file(TABLE, place / "xlabs.safetensors")
    return place


@pytest.fixture(scope="module")
def loaded(pack, folder):
    """The file's adapter; InstantX's with a pooling head that takes the first state, so that tests know its vector."""
    found = {
        name: pack.run("X2EditImageAdapterLoader", file=name)[0] for name in ("ip-adapter.bin", "xlabs.safetensors")
    }
    kind = type(found["ip-adapter.bin"])
    first = found["ip-adapter.bin"]
    return {
        "instantx": kind(first.adapter, first.patcher, lambda states: states[:, 0].float()),
        "xlabs": found["xlabs.safetensors"],
    }


def encoded(pictures=1, seed=0, features=FEATURES):
    """What CLIP Vision Encode gives of one."""
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(pictures, STATES, features, generator=generator)
    return comfy.clip_vision.Output(), states


def output(pictures=1, seed=0, features=FEATURES):
    found, states = encoded(pictures, seed, features)
    found["last_hidden_state"], found["image_embeds"] = states, states[:, 0]
    return found


@pytest.fixture
def prompt(pack, loaded):
    def make(kind="instantx", given=None, **inputs):
        given = output() if given is None else given
        return pack.run("X2EditImageTokens", image_adapter=loaded[kind], clip_vision_output=given, **inputs)[0]

    return make


@pytest.fixture
def apply(golden, adapter):
    return lambda model, strength=1.0, **inputs: golden.apply(model, adapter, strength=strength, **inputs)


def plainly(kind, vector, target, strength, text=None, area=None):
    """`attended` and `after` of `plain_velocity`: the published formula, written out."""
    if kind == "instantx":
        tokens = plain_tokens(TABLES, vector)
        names = {"double_blocks.0": 0, "single_blocks.0": 1, "single_blocks.1": 2}
        keys = {block: [TABLES["ip_adapter"][f"{i}.to_{x}_ip.weight"] for x in "kv"] for block, i in names.items()}
    else:
        part = "ip_adapter_proj_model"
        tokens = (vector @ TABLE[f"{part}.proj.weight"].T + TABLE[f"{part}.proj.bias"]).view(len(vector), -1, 48)
        tokens = functional.layer_norm(tokens, (48,), TABLE[f"{part}.norm.weight"], TABLE[f"{part}.norm.bias"])
        keys = {"double_blocks.0": "kv"}

    def add(block, query):
        if block not in keys:
            return torch.zeros(())
        states = []
        for place, letter in enumerate("kv"):
            if kind == "instantx":
                projected = (tokens @ keys[block][place].T).unflatten(-1, (2, 128)).transpose(1, 2)
                projected = projected * torch.rsqrt(projected.square().mean(-1, keepdim=True) + 1e-5)
            else:
                name = f"{block}.processor.ip_adapter_double_stream_{letter}_proj"
                projected = tokens @ TABLE[f"{name}.weight"].T + TABLE[f"{name}.bias"]
                projected = projected.unflatten(-1, (2, 128)).transpose(1, 2)
            states.append(projected)
        weights = torch.softmax(query @ states[0].transpose(-1, -2) / 128**0.5, -1)
        found = (weights @ states[1]).transpose(1, 2).flatten(2) * strength
        share = torch.zeros(found.shape[1])
        first = 0 if block.startswith("double") else text
        share[(0 if kind == "instantx" and area is None else first) : first + target] = 1.0
        if area is not None:
            share[first : first + target] = area
        return found * share[:, None]

    return {"attended": add} if kind == "instantx" else {"after": add}


def expected(golden, adapter, strength, *additions, reference=True):
    """The golden case by the plain FLUX, with the adapter's task as `Golden.apply` sets it."""
    case = golden.case
    joined = {}
    for name in ("attended", "after"):
        parts = [item[name] for item in additions if name in item]
        if parts:
            joined[name] = lambda block, query, parts=parts: sum(part(block, query) for part in parts)
    flux = {key: tensor.float() for key, tensor in load_host_weights(golden).items()}
    return plain_velocity(
        flux, case["noise"], torch.tensor([0.7]), case["context"], case["pooled"], 3.5,
        reference=case["ref"] if reference else None, offset=REFERENCE_OFFSET,
        adapter=copy.deepcopy(adapter.adapter).float() if strength else None, tasks=[STYLE], **joined,
    )[0]  # fmt: skip


STYLE = 3


def load_host_weights(golden):
    return golden.base().model.diffusion_model.state_dict()


def target_of(golden):
    return golden.noise.shape[-1] * golden.noise.shape[-2] // 4


@pytest.mark.parametrize("kind", ["instantx", "xlabs"])
def test_beside_an_x2edit_adapter_it_is_the_published_formula(golden, base, adapter, positive, apply, prompt, kind):
    """Experts and picture in one plain FLUX: the serial expert reads what the picture changed, references stay clean."""
    found = golden.run(apply(base, image_tokens=prompt(kind), image_strength=0.8), positive)
    vector, text = output()["image_embeds"], golden.case["context"].shape[1]
    reading = plainly(kind, vector, target_of(golden), 0.8, text)
    assert relative_error(found, expected(golden, adapter, 1.0, reading)) < 1e-5
    assert relative_error(found, golden.run(apply(base), positive)) > 1e-2


def test_alone_it_acts_where_the_adapter_does_not(golden, base, adapter, apply, prompt):
    found = golden.run(apply(base, 0.0, image_tokens=prompt()), golden.plain())
    reading = plainly("instantx", output()["image_embeds"], target_of(golden), 1.0, golden.case["context"].shape[1])
    assert relative_error(found, expected(golden, adapter, 0.0, reading, reference=False)) < 1e-5


@pytest.mark.parametrize("kind", ["instantx", "xlabs"])
@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_lambda_zero_is_the_model_bit_for_bit(golden, base, positive, apply, prompt, kind, strength):
    found = golden.run(apply(base, strength, image_tokens=prompt(kind), image_strength=0.0), positive)
    assert torch.equal(found, golden.run(apply(base, strength), positive))
    found = golden.run(apply(base, strength, image_tokens=prompt(kind, strength=0.0)), positive)
    assert torch.equal(found, golden.run(apply(base, strength), positive))


def test_several_pictures_of_both_kinds_add_up(golden, base, adapter, positive, apply, prompt):
    chain = prompt("xlabs", output(seed=1), strength=0.5, image_tokens=prompt("instantx", strength=0.4))
    found = golden.run(apply(base, image_tokens=chain, image_strength=0.8), positive)
    text, target = golden.case["context"].shape[1], target_of(golden)
    readings = (
        plainly("instantx", output()["image_embeds"], target, 0.8 * 0.4, text),
        plainly("xlabs", output(seed=1)["image_embeds"], target, 0.8 * 0.5, text),
    )
    assert relative_error(found, expected(golden, adapter, 1.0, *readings)) < 1e-5
    first = apply(base, image_tokens=prompt("xlabs", output(seed=1), strength=0.4))
    turned = apply(first, 0.0, image_tokens=prompt(strength=0.32))
    assert relative_error(golden.run(turned, positive), found) < 1e-5


def test_an_area_keeps_it_there(golden, base, adapter, positive, apply, prompt):
    rows, columns = golden.noise.shape[-2] // 2, golden.noise.shape[-1] // 2
    mask = torch.zeros(1, 16 * rows, 16 * columns)
    mask[:, :, : 8 * columns] = 1.0
    found = golden.run(apply(base, image_tokens=prompt(mask=mask)), positive)
    area = functional.interpolate(mask[None], (rows, columns), mode="area").flatten()
    reading = plainly("instantx", output()["image_embeds"], rows * columns, 1.0, golden.case["context"].shape[1], area)
    assert relative_error(found, expected(golden, adapter, 1.0, reading)) < 1e-5
    black = golden.run(apply(base, image_tokens=prompt(mask=torch.zeros_like(mask))), positive)
    assert torch.equal(black, golden.run(apply(base, image_tokens=prompt()), positive)), "a black mask counts as none"


def test_it_acts_within_its_part_of_sampling(golden, base, positive, apply, prompt):
    def run(sigma, **inputs):
        return golden.run(apply(base, image_tokens=prompt(**inputs)), positive, sigma)

    early, alone = {"end_percent": 0.4}, golden.run(apply(base), positive, 0.3)
    assert torch.equal(run(0.3, **early), alone)
    assert torch.equal(run(0.99, **early), run(0.99))
    assert not torch.equal(run(0.3), alone)
    with pytest.raises(ValueError, match="lies after"):
        prompt(start_percent=0.5, end_percent=0.4)


@pytest.mark.parametrize("masked", [False, True])
def test_pictures_of_a_batch_take_turns_in_both_halves_of_guidance(pack, golden, base, apply, prompt, masked):
    """With a mask for each of them, each is kept to its own."""
    case, text = golden.pair()
    pair, masks = output(pictures=2), torch.zeros(2, 16, 16)
    masks[0, :, :8], masks[1, :8] = 1.0, 1.0

    def area(rows):
        return {"mask": masks[rows]} if masked else {}

    model = apply(base, 0.0, image_tokens=prompt(given=pair, **area(slice(0, 2))))
    other = torch.roll(case["context"], 1, 0)

    def run(model, rows):

        return velocity(model, text(case["context"], rows), case["noise"][rows], 0.8, text(other, rows), cfg=2.0)

    together = run(model, slice(0, 2))
    for row in range(2):
        single = comfy.clip_vision.Output()
        for name in ("last_hidden_state", "image_embeds"):
            single[name] = pair[name][row : row + 1]
        tokens = prompt(given=single, **area(slice(row, row + 1)))
        alone = run(apply(base, 0.0, image_tokens=tokens), slice(row, row + 1))
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-4, atol=1e-5)


def test_more_pictures_than_are_sampled_is_said(pack, golden, base, positive, apply, prompt, caplog):
    pack.core("comfy_bridge.notices")._said.clear()
    found = golden.run(apply(base, image_tokens=prompt(given=output(3))), positive)
    assert "holds 3 pictures and 1 sampled" in caplog.text.replace("are ", "")
    single = comfy.clip_vision.Output()
    for name in ("last_hidden_state", "image_embeds"):
        single[name] = output(3)[name][:1]
    assert relative_error(found, golden.run(apply(base, image_tokens=prompt(given=single)), positive)) < 1e-6


class Stop(Exception):
    pass


@pytest.mark.parametrize("kind", ["instantx", "xlabs"])
def test_a_run_an_error_and_an_interrupt_leave_the_base_as_it_was(golden, base, positive, apply, prompt, kind):
    before, alone = state(base.model), golden.run(base, positive)
    model = apply(base, image_tokens=prompt(kind))
    golden.run(model, positive)
    assert_untouched(base.model, before)
    failing = model.clone()

    def fail(args, extra):
        extra["original_block"](args)
        raise Stop

    failing.set_model_patch_replace(fail, "dit", *golden.last_block)
    with pytest.raises(Stop):
        golden.run(failing, positive)
    assert_untouched(base.model, before)

    def interrupt(step, *_):
        memory.interrupt_current_processing()
        memory.throw_exception_if_processing_interrupted()

    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, positive)
    guider.set_cfg(1.0)
    sampler = comfy.samplers.sampler_object("euler")
    with pytest.raises(memory.InterruptProcessingException), torch.inference_mode():
        guider.sample(
            golden.noise, torch.zeros_like(golden.noise), sampler, torch.linspace(1, 0, 4), callback=interrupt
        )
    assert_untouched(base.model, before)
    assert torch.equal(golden.run(base, positive), alone)
    assert not base.attachments and not base.additional_models


def test_the_order_of_nodes_does_not_matter(pack, golden, base, adapter, positive, apply, prompt):
    one = apply(apply(base, 0.5), 0.5, image_tokens=prompt())
    two = apply(apply(base, 0.5, image_tokens=prompt()), 0.5)
    for _ in range(3):
        assert relative_error(golden.run(two, positive), golden.run(one, positive)) < 1e-6


def test_beside_foreign_patches(golden, base, positive, apply, prompt):
    """Another pack's attention patch and block replacement run as they would, and change nothing by standing there."""
    seen, alone = [], golden.run(apply(base, image_tokens=prompt()), positive)
    model = apply(base, image_tokens=prompt()).clone()
    model.set_model_attn1_patch(lambda q, k, v, **_: seen.append("attention") or {"q": q, "k": k, "v": v})
    model.set_model_patch_replace(
        lambda args, extra: seen.append("block") or extra["original_block"](args), "dit", *golden.first_block
    )
    assert torch.equal(golden.run(model, positive), alone)
    assert seen.count("block") == 1


def test_under_a_replaced_forward(golden, base, positive, apply, prompt):
    expected = golden.run(apply(base, image_tokens=prompt()), positive)
    for order in ("before", "after"):
        replacement = IdentityLike()
        with left_behind(base):
            if order == "before":
                model = apply(by_setattr(base, replacement), image_tokens=prompt())
            else:
                model = by_setattr(apply(base, image_tokens=prompt()), replacement)
            assert torch.equal(golden.run(model, positive), expected)
        assert replacement.blocks == 3


def own_blocks(flux, img, img_ids, txt, txt_ids, timesteps, y, guidance=None, *args, **kwargs):
    """A forward that never runs the blocks' own layers."""
    return flux.final_layer(flux.img_in(img), flux.time_in(torch.zeros(len(img), 256)))


def test_a_forward_that_leaves_it_out_is_named(pack, golden, base, apply, prompt):
    flux = base.model.diffusion_model
    with left_behind(base), pytest.raises(ValueError, match=rf"forward_orig \(by {__name__}\).*picture prompt"):
        model = apply(base, 0.0, image_tokens=prompt())
        flux.forward_orig = own_blocks.__get__(flux)
        golden.run(model, golden.plain())


def test_block_by_block_compilation(golden, base, positive, apply, prompt):
    expected = golden.run(apply(base, image_tokens=prompt()), positive)
    flux, blocks = base.model.diffusion_model, base.model.diffusion_model.double_blocks
    first = blocks[0]
    blocks[0] = torch.compile(first, backend="eager")
    try:
        for _ in range(2):
            assert relative_error(golden.run(apply(base, image_tokens=prompt()), positive), expected) < 1e-5
    finally:
        blocks[0] = first
        flux.zero_grad()


def test_keys_and_values_are_the_hosts_to_count_and_free(golden, base, positive, apply, prompt, loaded):
    tokens = prompt()
    memory.unload_all_models()
    golden.run(apply(base, image_tokens=tokens), positive)
    (states,) = [stream.states for stream in tokens.streams]
    (entry,) = [item for item in memory.current_loaded_models if item.model and item.model.model is states]
    assert entry.model_memory() == sum(part.numel() * part.element_size() for part in states.parameters())
    assert not any(
        item.model.model is loaded["instantx"].adapter for item in memory.current_loaded_models if item.model
    )
    memory.unload_all_models()
    assert not any(item.model and item.model.model is states for item in memory.current_loaded_models)


@pytest.mark.needs("copies for several devices")
def test_copies_for_further_devices_have_their_own(golden, base, positive, apply, prompt, monkeypatch):
    import comfy.multigpu

    other = torch.device("cpu", 1)
    monkeypatch.setattr(memory, "get_all_torch_devices", lambda **_: [memory.get_torch_device(), other])
    monkeypatch.setattr(memory, "set_torch_device", lambda device: None)
    model = apply(base, image_tokens=prompt())
    alone = golden.run(model, positive)
    both = comfy.multigpu.create_multigpu_deepclones(model, 2)
    assert relative_error(golden.run(both, positive), alone) < 1e-6
    (copy,) = both.get_additional_models_with_key("multigpu")
    (own,), (theirs,) = (each.get_attachment("x2edit").streams for each in (both, copy))
    assert own.states is not theirs.states
    assert all(torch.equal(a, b) and a is not b for a, b in zip(own.states.keys, theirs.states.keys, strict=True))
    memory.unload_all_models()


def test_other_models_are_refused(pack, golden, base, prompt):
    from . import qwen_golden

    prompts = pack.core("comfy_bridge.image_prompts")
    with pytest.raises(ValueError, match=r"hidden 256 with 3 double and single.*Qwen-Image"):
        prompts.apply_prompt(qwen_golden.load_base(), prompt(), 1.0)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda out: out.__setitem__("last_hidden_state", torch.zeros(1, 9, 25)), "another encoder"),
        (lambda out: out.__setitem__("last_hidden_state", torch.zeros(9, 24)), r"last_hidden_state = \[9, 24\]"),
        (lambda out: out.__setitem__("last_hidden_state", torch.full((1, 9, 24), float("nan"))), "no numbers"),
    ],
)
def test_what_no_encoder_of_the_adapter_gave_is_refused(prompt, change, word):
    given = output()
    change(given)
    with pytest.raises(ValueError, match=word):
        prompt(given=given)
    with pytest.raises(ValueError, match="clip_vision_output"):
        prompt(given=SimpleNamespace())


def test_the_published_widths_name_their_encoder(pack):
    prompts, kinds = pack.core("comfy_bridge.image_prompts"), pack.core("adapters.image_adapter")
    spec = kinds.ImageAdapterSpec("xlabs", 768, 4, 4096, 3072, 19)
    managed = SimpleNamespace(adapter=SimpleNamespace(spec=spec, source="file"), head=None)
    given = comfy.clip_vision.Output()
    given["last_hidden_state"], given["image_embeds"] = torch.zeros(1, 577, 1024), torch.zeros(1, 768)
    with pytest.raises(ValueError, match=r"CLIP ViT-L/14, 224 px; the picture was encoded as 577 states"):
        prompts.vectors_of(managed, given)
    given["last_hidden_state"] = torch.zeros(1, 257, 1024)
    assert prompts.vectors_of(managed, given).shape == (1, 768)


def siglip(folder, width=64):
    """transformers' SigLIP, and the host's own with the same weights."""
    from transformers import SiglipVisionConfig, SiglipVisionModel

    torch.manual_seed(0)
    sizes = {"hidden_size": width, "num_attention_heads": 16, "intermediate_size": 80, "num_hidden_layers": 2}
    theirs = SiglipVisionModel(SiglipVisionConfig(image_size=28, patch_size=14, **sizes)).eval()
    config = {
        "image_size": 28, "patch_size": 14, "num_channels": 3, "model_type": "siglip_vision_model",
        "hidden_act": "gelu_pytorch_tanh", "image_mean": [0.5] * 3, "image_std": [0.5] * 3, **sizes,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    host = comfy.clip_vision.ClipVisionModel(str(folder / "config.json"))
    weights = theirs.state_dict()
    weights = {f"vision_model.{key.removeprefix('vision_model.')}": value for key, value in weights.items()}
    with contextlib.suppress(AttributeError):
        host.model.float()
    host.load_sd(weights)
    return theirs, host, weights


def test_core_siglip_with_its_head_gives_transformers_vector(pack, tmp_path, monkeypatch):
    """ComfyUI's encoder drops the pooling head; its states through the file's head are SigLIP's pooled vector."""
    theirs, host, weights = siglip(tmp_path)
    torch.save(instantx(features=64), pack.base / "models" / "x2edit" / "siglip-adapter.bin")
    read_before = pack.node("X2EditImageAdapterLoader").fingerprint_inputs(file="siglip-adapter.bin")
    folder_paths.add_model_folder_path("clip_vision", str(tmp_path))
    save_file({key: value.contiguous() for key, value in weights.items()}, tmp_path / "sigclip.safetensors")
    assert pack.node("X2EditImageAdapterLoader").fingerprint_inputs(file="siglip-adapter.bin") != read_before
    (managed,) = pack.run("X2EditImageAdapterLoader", file="siglip-adapter.bin")
    assert managed.head is not None, "found by itself"
    picture = torch.rand(1, 28, 28, 3)
    given = host.encode_image(picture, crop=False)
    with torch.no_grad():
        expected = theirs(pixel_values=(picture.movedim(-1, 1) - 0.5) / 0.5).pooler_output
    with torch.inference_mode():
        found = pack.core("comfy_bridge.image_prompts").vectors_of(managed, given)
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)
    (named,) = pack.run("X2EditImageAdapterLoader", file="siglip-adapter.bin", encoder_file="sigclip.safetensors")
    assert torch.equal(named.head.weights["probe"], weights["vision_model.head.probe"])
    (tmp_path / "sigclip.safetensors").unlink()
    (bare,) = pack.run("X2EditImageAdapterLoader", file="siglip-adapter.bin")
    with pytest.raises(ValueError, match="pooling head"):
        pack.run("X2EditImageTokens", image_adapter=bare, clip_vision_output=given)


def test_names_that_are_not_listed_find_nothing(pack, folder):
    (folder / "nested").mkdir(exist_ok=True)
    save_file(flat(TABLES), folder / "nested" / "safe.safetensors")
    names = pack.node("X2EditImageAdapterLoader").define_schema().inputs[0].options
    assert {"ip-adapter.bin", "xlabs.safetensors", "nested/safe.safetensors"} <= set(names)
    for name in ("../x2edit/ip-adapter.bin", str(folder / "ip-adapter.bin"), "nothing.bin"):
        with pytest.raises(ValueError, match="was not found"):
            pack.run("X2EditImageAdapterLoader", file=name)
    with pytest.raises(ValueError, match=r"encoder .* was not found"):
        pack.run("X2EditImageAdapterLoader", file="ip-adapter.bin", encoder_file="../x")


def test_the_licence_is_said_on_the_node(pack, folder, caplog):
    pack.core("comfy_bridge.notices")._said.clear()
    pack.run("X2EditImageAdapterLoader", file="ip-adapter.bin")
    assert "non-commercial licence" in caplog.text


@pytest.mark.parametrize("size", [(9, 12), (8, 11)])
def test_sizes_that_are_no_whole_tokens(golden, base, apply, prompt, size):
    """A mask that is white everywhere is no mask, on the grid that the host pads to."""
    x = torch.randn(1, 16, *size)
    masked = apply(base, 0.0, image_tokens=prompt("xlabs", mask=torch.ones(1, 40, 30)))
    found = velocity(masked, golden.plain(), x, 0.7)
    assert torch.equal(found, velocity(apply(base, 0.0, image_tokens=prompt("xlabs")), golden.plain(), x, 0.7))
    assert not torch.equal(found, velocity(base, golden.plain(), x, 0.7))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_base_in_half_precision(golden, base, positive, apply, prompt, dtype):
    half = golden.load(golden.weights(), dtype=dtype)
    found = golden.run(apply(half, image_tokens=prompt()), golden.positive(half))
    expected = golden.run(apply(base, image_tokens=prompt()), positive)
    assert relative_error(found, expected) < 3e-2
    assert relative_error(found, expected) < 0.5 * relative_error(golden.run(apply(base), positive), expected)


def test_blocks_and_steps_that_others_skip_are_theirs_to_skip(golden, base, positive, apply, prompt):
    """A node that leaves out a block is no fault of the picture's, nor a cache that leaves out all of a later step."""
    model = apply(base, image_tokens=prompt()).clone()
    model.set_model_patch_replace(lambda args, extra: {"img": args["img"]}, "dit", *golden.last_block)
    skipped = golden.run(model, positive)
    alone = apply(base).clone()
    alone.set_model_patch_replace(lambda args, extra: {"img": args["img"]}, "dit", *golden.last_block)
    assert not torch.equal(skipped, golden.run(alone, positive))
    cache = TeaCacheLike(skips={1})
    with left_behind(base):
        model = by_setattr(apply(base, image_tokens=prompt()), cache)
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(positive, positive)
        guider.set_cfg(1.0)
        with torch.inference_mode():
            guider.sample(
                golden.noise, torch.zeros_like(golden.noise), comfy.samplers.sampler_object("euler"),
                torch.tensor([1.0, 0.6, 0.0]), disable_pbar=True,
            )  # fmt: skip
    assert cache.skipped == 1


@pytest.mark.full
def test_the_compile_node_gives_the_same(pack, golden, base, positive, apply, prompt):
    expected = golden.run(apply(base, image_tokens=prompt()), positive)
    (model,) = pack.run("TorchCompileModel", model=apply(base, image_tokens=prompt()), backend="inductor")
    assert relative_error(golden.run(model, positive), expected) < 1e-5


def test_a_lora_on_the_same_layers_adds_up(pack, golden, base, positive, apply, prompt, tmp_path):
    """A bypass LoRA lies on the layers that the picture reads and joins, before or after it."""
    tensors = {}
    for path in golden.lora_sites:
        width = base.model.diffusion_model.get_submodule(path).weight.shape
        tensors[f"diffusion_model.{path}.lora_A.weight"] = torch.randn(4, width[1]) / width[1] ** 0.5
        tensors[f"diffusion_model.{path}.lora_B.weight"] = torch.randn(width[0], 4) / 4
    save_file(tensors, tmp_path / "beside_a_picture.safetensors")
    folder_paths.add_model_folder_path("loras", str(tmp_path))

    def lora(model, loader="LoraLoaderBypassModelOnly"):
        return pack.run(loader, model=model, lora_name="beside_a_picture.safetensors", strength_model=0.8)[0]

    found = golden.run(lora(apply(base, image_tokens=prompt())), positive)
    assert relative_error(golden.run(apply(lora(base), image_tokens=prompt()), positive), found) < 1e-5
    merged = lora(apply(base, image_tokens=prompt()), "LoraLoaderModelOnly")
    assert relative_error(golden.run(merged, positive), found) < 1e-5


def test_an_eight_bit_base(golden, base, positive, apply, prompt):
    """The layers that the picture joins have forwards of their own there."""
    packed = golden.load(golden.weights(), dtype=torch.float8_e4m3fn)
    assert packed.model.diffusion_model.double_blocks[0].img_attn.proj.weight.dtype == torch.float8_e4m3fn
    shown = golden.positive(packed)
    found = golden.run(apply(packed, image_tokens=prompt()), shown)
    plainly_packed, whole = golden.run(apply(packed), shown), golden.run(apply(base), positive)
    effect = golden.run(apply(base, image_tokens=prompt()), positive) - whole
    assert relative_error(found - plainly_packed, effect) < 0.2


def test_a_model_loaded_in_part(golden, base, positive, apply, prompt, monkeypatch):
    model = apply(base, image_tokens=prompt())
    expected = golden.run(model, positive)
    memory.unload_all_models()
    use_more, offloaded = memory.LoadedModel.model_use_more_vram, []

    def with_little_room(entry, extra_memory, **options):
        room = entry.model.model_size() * golden.room if entry.model.model is model.model else extra_memory
        return use_more(entry, room, **options)

    monkeypatch.setattr(memory.LoadedModel, "model_use_more_vram", with_little_room)
    network = model.model.diffusion_model
    hook = network.register_forward_pre_hook(
        lambda *_: offloaded.append(sum(hasattr(part, "prev_comfy_cast_weights") for part in network.modules()))
    )
    assert torch.equal(golden.run(model, positive), expected)
    hook.remove()
    assert offloaded and offloaded[0] > 0
    memory.unload_all_models()

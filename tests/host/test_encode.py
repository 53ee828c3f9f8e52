"""X2Edit's text conditioning against transformers: a tiny Qwen2.5-VL of the true class, loaded into the host's own.

The oracle runs transformers' model with the masking that the research code met (transformers 4.51, SDPA on CUDA):
position ids count real tokens and are 1 on pads; pad rows attend to all 512 keys.
"""

from __future__ import annotations

import gc
import importlib
import os
import weakref
from pathlib import Path

import pytest
import torch
import transformers

COMFYUI = Path(os.environ["COMFYUI_PATH"])
VOCABULARY = 151936
HIDDEN, LAYERS, INNER = 256, 3, 96
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_heads": 2}
INSTRUCTION = "Remove the dog's collar, 换成红色"


def tiny_qwen(seed: int = 0) -> transformers.Qwen2_5_VLForConditionalGeneration:
    """Narrow but of the true class; the head size 128 and its split over three axes are the released ones."""
    torch.manual_seed(seed)
    text = {
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
        "tie_word_embeddings": True,
    }
    vision = {**VISION, "depth": 4, "out_hidden_size": HIDDEN, "fullatt_block_indexes": [3]}
    config = transformers.Qwen2_5_VLConfig(
        text_config=text, vision_config=vision, tie_word_embeddings=True, image_token_id=151655
    )
    model = transformers.Qwen2_5_VLForConditionalGeneration(config).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if name.endswith(("norm.weight", "layernorm.weight", "bias")):
            parameter.add_(torch.randn_like(parameter) * 0.2)
        elif "embed_tokens" in name or "proj.weight" in name:
            parameter.mul_(4)  # so that attention is far from uniform and a wrong mask shows
    return model


def host_weights(model) -> dict[str, torch.Tensor]:
    return {
        key.replace("model.language_model.", "model.").replace("model.visual.", "visual."): value
        for key, value in model.state_dict().items()
        if key != "lm_head.weight"
    }


def host_clip(weights, dtype=torch.float32):
    """`weights` in the host's own classes, shrunken by its own configuration override."""
    sd, qwen_image = (importlib.import_module(f"comfy.{name}") for name in ("sd", "text_encoders.qwen_image"))
    vision = importlib.import_module("comfy.text_encoders.qwen_vl")
    quantised = importlib.import_module("comfy.text_encoders.hunyuan_video").llama_detect(weights)
    quantised.pop("dtype_llama")

    class Target:
        clip = qwen_image.te(**quantised)
        tokenizer = qwen_image.QwenImageTokenizer
        params: dict = {}

    override = {
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }

    class TinyVision(vision.Qwen2VLVisionTransformer):
        def __init__(self, hidden_size, output_hidden_size, **kwargs):
            super().__init__(**VISION, output_hidden_size=output_hidden_size, num_layers=4, **kwargs)
            self.fullatt_block_indexes = [3]

    whole, vision.Qwen2VLVisionTransformer = vision.Qwen2VLVisionTransformer, TinyVision
    try:
        return sd.CLIP(
            Target(),
            state_dict=[dict(weights)],
            model_options={"dtype": dtype, "qwen25_7b_model_config": override},
        )
    finally:
        vision.Qwen2VLVisionTransformer = whole


@pytest.fixture(scope="module")
def qwen():
    return tiny_qwen()


@pytest.fixture(scope="module")
def clip(qwen, pack):
    return host_clip(host_weights(qwen))


@pytest.fixture(scope="module")
def bridge(pack):
    return pack.core("comfy_bridge.text")


@pytest.fixture(scope="module")
def core(pack):
    return pack.core("alignnet")


@pytest.fixture
def alignnet(bridge, core, tmp_path):
    torch.manual_seed(1)
    torch.save(core.AlignNet(LAYERS + 1, HIDDEN, 24, 10).state_dict(), tmp_path / "alignnet.bin")
    return bridge.load_managed_alignnet(tmp_path / "alignnet.bin")


@pytest.fixture(scope="module")
def tokenizer():
    return transformers.Qwen2Tokenizer.from_pretrained(
        COMFYUI / "comfy" / "text_encoders" / "qwen25_tokenizer", padding_side="left"
    )


def oracle_mask(valid: torch.Tensor) -> torch.Tensor:
    """(1, S) 0/1 → additive (1, 1, S, S): causal and valid, with wholly masked rows opened again."""
    length = valid.shape[1]
    allowed = torch.ones(length, length, dtype=torch.bool).tril() & valid[0].bool()[None, :]
    additive = torch.zeros(length, length).masked_fill(~allowed, torch.finfo(torch.float32).min)
    return (additive * (~(allowed.logical_not().all(-1, keepdim=True)))).view(1, 1, length, length)


def oracle_states(qwen, tokens, position_ids=None, **vision) -> torch.Tensor:
    valid = tokens["attention_mask"]
    if position_ids is None:
        position_ids = (valid.cumsum(-1) - 1).masked_fill(valid == 0, 1).expand(3, 1, -1)
    if vision:
        embeds = qwen.get_input_embeddings()(tokens["input_ids"])
        features = qwen.model.get_image_features(**vision).pooler_output[0]
        embeds[tokens["input_ids"] == 151655] = features
        inputs = {"inputs_embeds": embeds}
    else:
        inputs = {"input_ids": tokens["input_ids"]}
    output = qwen.model.language_model(
        **inputs, attention_mask=oracle_mask(valid), position_ids=position_ids, output_hidden_states=True
    )
    return torch.stack(output.hidden_states, dim=1)


def assert_close(found: torch.Tensor, expected: torch.Tensor, relative: float = 2e-5) -> None:
    assert found.shape == expected.shape
    assert ((found - expected).norm() / expected.norm()).item() < relative


def chat_tokens(tokenizer, text):
    return tokenizer([text], padding="max_length", max_length=512, truncation=True, return_tensors="pt")


@pytest.mark.parametrize("form", ["infer", "train"])
def test_real_and_pad_rows_equal_the_reference(bridge, core, clip, qwen, tokenizer, form):
    text = core.chat_text(core.prompt_text(INSTRUCTION, form))
    tokens = chat_tokens(tokenizer, text)
    pads = int((tokens["attention_mask"] == 0).sum())
    expected = oracle_states(qwen, tokens)
    found = bridge.hidden_states(clip, bridge.find_encoder(clip), text)
    assert 0 < pads < 512
    for state in range(LAYERS + 1):
        assert_close(found[:, state, pads:], expected[:, state, pads:])
        assert_close(found[:, state, :pads], expected[:, state, :pads])


def test_the_hosts_own_masking_gives_other_pad_rows(bridge, core, clip):
    """What makes the above a test: with the host's plain causal mask pad rows differ, real rows do not."""
    text = core.chat_text(INSTRUCTION)
    encoder = bridge.find_encoder(clip)
    found = bridge.hidden_states(clip, encoder, text)
    ids = encoder.tokenizer(text)["input_ids"]
    pads = 512 - len(ids)
    row = torch.tensor([[core.PAD_TOKEN] * pads + ids])
    valid = torch.tensor([[0] * pads + [1] * len(ids)])
    positions = core.reference_positions(pads, 512)
    plain, _ = encoder.model.model(row, attention_mask=valid, position_ids=positions)
    assert_close(plain[:, pads:], found[:, -1, pads:])
    difference = (plain[:, :pads] - found[:, -1, :pads]).norm() / found[:, -1, :pads].norm()
    assert difference > 0.01


def test_pad_rows_depend_on_the_last_word(bridge, core, clip):
    encoder = bridge.find_encoder(clip)
    one, other = (bridge.hidden_states(clip, encoder, core.chat_text(f"Add a {noun}")) for noun in ("dog", "cat"))
    assert torch.equal(one[:, 0, :400], other[:, 0, :400])
    assert not torch.equal(one[:, -1, :400], other[:, -1, :400])


def test_a_long_prompt_is_cut_on_the_right(bridge, core, clip, qwen, tokenizer, caplog):
    text = core.chat_text("Remove the dog " * 300)
    found = bridge.hidden_states(clip, bridge.find_encoder(clip), text)
    tokens = chat_tokens(tokenizer, text)
    assert bool(tokens["attention_mask"].all())
    assert_close(found, oracle_states(qwen, tokens))
    assert "cut off" in caplog.text


@pytest.mark.parametrize(("form", "count"), [("infer", 41), ("train", 22)])
def test_token_counts_of_the_released_template(core, tokenizer, form, count):
    assert len(tokenizer(core.chat_text(core.prompt_text("Remove the dog", form)))["input_ids"]) == count


def test_the_template_is_the_tokenizers_own(core, tokenizer):
    turns = [{"role": "user", "content": INSTRUCTION}]
    system = [{"role": "system", "content": "You are a helpful assistant."}]
    expected = tokenizer.apply_chat_template(system + turns, tokenize=False, add_generation_prompt=True)
    assert core.chat_text(INSTRUCTION) == expected


@pytest.mark.needs("ordered vision")
def test_an_image_takes_its_grid_positions(bridge, core, clip, qwen, tokenizer):
    torch.manual_seed(3)
    image = torch.rand(256, 256, 3)
    host_vision = importlib.import_module("comfy.text_encoders.qwen_vl")
    pixels, grid = host_vision.process_qwen2vl_images(image[None])
    size = int(grid.prod()) // 4
    text = core.chat_text("What if it rains?", images=1)
    tokens = chat_tokens(tokenizer, text.replace("<|image_pad|>", "<|image_pad|>" * size))
    kinds = (tokens["input_ids"] == 151655).int()
    positions, _ = qwen.model.get_rope_index(
        tokens["input_ids"], image_grid_thw=grid, attention_mask=tokens["attention_mask"], mm_token_type_ids=kinds
    )
    # The releases differ in what they write at pads; 4.51 wrote 1.
    positions = positions.masked_fill(tokens["attention_mask"][None] == 0, 1)
    expected = oracle_states(qwen, tokens, positions, pixel_values=pixels, image_grid_thw=grid)
    found = bridge.hidden_states(clip, bridge.find_encoder(clip), text, image)
    assert_close(found, expected, 1e-4)


def test_node_gives_what_alignnet_makes_of_the_states(pack, bridge, core, clip, qwen, tokenizer, alignnet):
    ((conditioning,),) = pack.run(
        "X2EditTextEncode", clip=clip, alignnet=alignnet, instruction="Add rain", trigger_words="ghibli"
    )
    tokens = chat_tokens(tokenizer, core.chat_text(core.prompt_text("ghibli,Add rain", "infer")))
    plain = core.AlignNet(LAYERS + 1, HIDDEN, 24, 10)
    plain.load_state_dict(alignnet.net.state_dict())
    context, pooled = plain(oracle_states(qwen, tokens))
    assert_close(conditioning[0], context)
    assert_close(conditioning[1]["pooled_output"], pooled)
    assert conditioning[0].dtype == torch.float32


def test_prompt_forms_differ(pack, clip, alignnet):
    wrapped, bare = (
        pack.run("X2EditTextEncode", clip=clip, alignnet=alignnet, instruction="Add rain", prompt_form=form)[0][0][0]
        for form in ("infer", "train")
    )
    assert not torch.allclose(wrapped, bare)


def test_lines_become_rows_of_a_batch(pack, clip, alignnet):
    def encode(text, **more):
        return pack.run("X2EditTextEncode", clip=clip, alignnet=alignnet, instruction=text, **more)[0][0]

    context, rest = encode("Add rain\n\n  \nRemove the dog", one_per_line=True)
    alignnet.clear()
    assert context.shape == (2, 512, 24)
    assert rest["pooled_output"].shape == (2, 10)
    for row, text in enumerate(("Add rain", "Remove the dog")):
        alone, alone_rest = encode(text)
        assert torch.equal(context[row : row + 1], alone)
        assert torch.equal(rest["pooled_output"][row : row + 1], alone_rest["pooled_output"])
    whole, _ = encode("Add rain\nRemove the dog")
    assert whole.shape == (1, 512, 24)


@pytest.fixture
def asked(bridge, monkeypatch):
    """The texts whose states were computed rather than remembered."""
    texts = []
    real = bridge.hidden_states
    monkeypatch.setattr(bridge, "hidden_states", lambda *args, **kw: texts.append(args[2]) or real(*args, **kw))
    return texts


@pytest.mark.needs("ordered vision")
def test_results_are_kept_per_image(clip, alignnet, asked):
    image = torch.rand(40, 30, 3)
    for same in (image, image.clone(), image * 0.5):
        alignnet.encode(clip, ["picture"], [same])
    assert len(asked) == 2


def test_results_are_kept_per_text_and_encoder(clip, alignnet, asked):
    first = alignnet.encode(clip, ["a", "b"])
    again = alignnet.encode(clip, ["b", "a", "a"])
    assert len(asked) == 2
    assert torch.equal(again[0], first[0][[1, 0, 0]])
    patched = clip.clone()
    weight = torch.randn(HIDDEN, HIDDEN)
    patched.add_patches({"qwen25_7b.transformer.model.layers.0.self_attn.q_proj.weight": ("diff", (weight,))})
    changed = alignnet.encode(patched, ["a"])
    assert len(asked) == 3
    assert not torch.allclose(changed[0], first[0][:1])
    assert torch.equal(alignnet.encode(clip, ["a"])[0], first[0][:1])


def test_kept_results_are_bounded_and_not_shared(bridge, clip, alignnet):
    for index in range(bridge.CACHED_PROMPTS + 3):
        context, _ = alignnet.encode(clip, [f"prompt {index}"])
    assert len(alignnet._results) == bridge.CACHED_PROMPTS
    before = context.clone()
    context.zero_()
    assert torch.equal(alignnet.encode(clip, [f"prompt {index}"])[0], before)


def test_nothing_holds_the_encoder_or_alignnet(bridge, core, tmp_path):
    torch.save(core.AlignNet(LAYERS + 1, HIDDEN, 24, 10).state_dict(), tmp_path / "a.bin")
    net, clip = bridge.load_managed_alignnet(tmp_path / "a.bin"), host_clip(host_weights(tiny_qwen()))
    net.encode(clip, ["a"])
    model, inner = weakref.ref(clip.cond_stage_model), weakref.ref(net.net)
    del clip
    gc.collect()
    assert model() is None
    del net
    gc.collect()
    assert inner() is None


def test_memory_is_the_hosts_to_manage(bridge, clip, alignnet):
    management = importlib.import_module("comfy.model_management")
    alignnet.encode(clip, ["a"])
    loaded = [entry.model for entry in management.current_loaded_models]
    assert clip.patcher in loaded
    assert alignnet.patcher in loaded
    before, _ = alignnet.encode(clip, ["a"])
    alignnet.clear()
    management.unload_all_models()
    after, _ = alignnet.encode(clip, ["a"])
    assert torch.equal(before, after)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn])
def test_narrow_encoders_run_through_the_hosts_casts(qwen, alignnet, dtype):
    """Weights stored in `dtype` give what the same rounded values give in float32."""
    stored = host_clip(host_weights(qwen), dtype)
    exact = host_clip({key: value.to(dtype).float() for key, value in host_weights(qwen).items()})
    assert stored.cond_stage_model.qwen25_7b.transformer.model.layers[0].mlp.up_proj.weight.dtype == dtype
    found, expected = (alignnet.encode(clip, ["Add rain"]) for clip in (stored, exact))
    assert_close(found[0], expected[0], 1e-4)
    assert_close(found[1], expected[1], 1e-4)


def test_quantised_encoders_run_through_the_hosts_layouts(qwen, alignnet):
    """A file as `qwen_2.5_vl_7b_fp8_scaled` is: scaled fp8 weights with their format beside them."""
    packed, exact = {}, {}
    mark = torch.tensor(list(b'{"format": "float8_e4m3fn"}'), dtype=torch.uint8)
    for key, value in host_weights(qwen).items():
        packed[key] = exact[key] = value
        if key.startswith("model.layers.") and key.endswith("proj.weight"):
            scale = value.abs().max() / 448
            packed[key] = (value / scale).to(torch.float8_e4m3fn)
            exact[key] = packed[key].float() * scale
            packed[key.replace(".weight", ".weight_scale")] = scale
            packed[key.replace(".weight", ".comfy_quant")] = mark
    clip = host_clip(packed)
    weight = clip.cond_stage_model.qwen25_7b.transformer.model.layers[0].mlp.up_proj.weight
    assert type(weight).__name__ == "QuantizedTensor"
    found, expected = (alignnet.encode(each, ["Add rain"]) for each in (clip, host_clip(exact)))
    assert_close(found[0], expected[0], 1e-4)
    assert_close(found[1], expected[1], 1e-4)


def test_another_text_encoder_is_refused(pack, alignnet):
    _, clip, _ = pack.run("X2EditDemoModels", base="x2edit")
    with pytest.raises(pack.core("errors").ModelMismatchError, match=r"Qwen2\.5-VL-7B"):
        pack.run("X2EditTextEncode", clip=clip, alignnet=alignnet, instruction="a")


def test_another_alignnet_is_refused(pack, bridge, core, clip):
    net = bridge.ManagedAlignNet(core.AlignNet(LAYERS, HIDDEN, 24, 10), "other.bin")
    with pytest.raises(pack.core("errors").ModelMismatchError, match=r"other\.bin reads 3 states"):
        net.encode(clip, ["a"])


def test_images_must_fit_the_instructions(pack, clip, alignnet):
    with pytest.raises(pack.core("errors").X2EditError, match="2 images for 1 instruction"):
        pack.run("X2EditTextEncode", clip=clip, alignnet=alignnet, instruction="a", image=torch.rand(2, 8, 8, 3))


def test_loader_lists_and_loads_only_what_is_there(pack, core, bridge):
    folder = pack.base / "models" / "x2edit" / "X2Edit"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(core.AlignNet(2, 8, 6, 4).state_dict(), folder / "diffusion_pytorch_model.bin")
    torch.save({"weight": torch.zeros(16, 8)}, folder / "task_embeddings.bin")
    (pack.base / "models" / "secret.bin").write_bytes(b"x")
    names = bridge.alignnet_names()
    assert names.count("X2Edit") == 1 and not [name for name in names if "secret" in name or name.endswith(".bin")]
    (alignnet,) = pack.run("X2EditAlignNetLoader", file="X2Edit")
    assert (alignnet.net.states, alignnet.net.width) == (2, 8)
    for name in ("../secret.bin", str(pack.base / "models" / "secret.bin"), "X2Edit/task_embeddings.bin", ""):
        with pytest.raises(pack.core("errors").X2EditError, match="not found"):
            bridge.alignnet_path(name)

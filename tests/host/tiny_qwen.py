"""Tiny random Qwen models of the true classes, their folders, and plain forward passes as the oracle."""

from __future__ import annotations

import os
from pathlib import Path

import torch
import transformers
from PIL import Image

TOKENIZER = Path(os.environ["COMFYUI_PATH"]) / "comfy" / "text_encoders" / "qwen25_tokenizer"
TEXT = {
    "vocab_size": 151936,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
COMMON = {"head_dim": 128, "rms_norm_eps": 1e-6, "eos_token_id": 151645, "pad_token_id": 151643}
TOKENS = {"image_token_id": 151655, "video_token_id": 151656, "vision_start_token_id": 151652}
ANSWERS = ["1", "2", "remove subject", "替换主体"]


def seeded(make):
    torch.manual_seed(7)
    model = make().eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if "norm" in name and name.endswith("weight"):
            parameter.add_(torch.randn_like(parameter) * 0.2)
        elif "proj" in name or "embed_tokens" in name or "lm_head" in name:
            parameter.mul_(4)  # opinions strong enough that a wrong position or mask shows
    return model


def qwen3(tied: bool):
    rope = {"rope_type": "default", "rope_theta": 1e6}
    config = transformers.Qwen3Config(**TEXT, **COMMON, rope_parameters=rope, tie_word_embeddings=tied)
    return seeded(lambda: transformers.Qwen3ForCausalLM(config))


def qwen3_vl():
    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20], "mrope_interleaved": True}
    vision = {"hidden_size": 128, "intermediate_size": 64, "depth": 3, "deepstack_visual_indexes": [0, 1, 2]}
    config = transformers.Qwen3VLConfig(
        text_config={**TEXT, **COMMON, "rope_parameters": rope, "tie_word_embeddings": True},
        vision_config={**vision, "num_heads": 16, "out_hidden_size": TEXT["hidden_size"]},
        tie_word_embeddings=True,
        **TOKENS,
    )
    return seeded(lambda: transformers.Qwen3VLForConditionalGeneration(config))


def qwen25_vl():
    wide = {**TEXT, "hidden_size": 256}
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
    vision = {"hidden_size": 32, "intermediate_size": 64, "depth": 2, "num_heads": 2, "fullatt_block_indexes": [1]}
    config = transformers.Qwen2_5_VLConfig(
        text_config={**wide, "rms_norm_eps": 1e-6, "rope_parameters": rope, "tie_word_embeddings": False},
        vision_config={**vision, "out_hidden_size": 256},
        tie_word_embeddings=False,
        **TOKENS,
    )
    return seeded(lambda: transformers.Qwen2_5_VLForConditionalGeneration(config))


def processor_for(model):
    """The processor of a vision model; the template has the turns of Qwen's own, without its tools."""
    third = type(model).__name__.startswith("Qwen3VL")
    images = {"patch_size": model.config.vision_config.patch_size, "min_pixels": 32 * 32, "max_pixels": 512 * 512}
    if third:
        images |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    video = transformers.Qwen3VLVideoProcessor if third else transformers.Qwen2VLVideoProcessor
    return (transformers.Qwen3VLProcessor if third else transformers.Qwen2_5_VLProcessor)(
        image_processor=transformers.Qwen2VLImageProcessor(**images),
        tokenizer=transformers.Qwen2Tokenizer.from_pretrained(TOKENIZER),
        video_processor=video(),
        chat_template=(
            "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for p in m.content %}"
            "{% if p.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ p.text }}{% endif %}"
            "{% endfor %}<|im_end|>\n{% endfor %}{{ '<|im_start|>assistant\n' }}"
        ),
    )


def save_folder(model, folder: Path) -> Path:
    """What a download of the model's repository holds."""
    model.save_pretrained(folder)
    text_only = type(model).__name__.startswith("Qwen3For")
    reader = transformers.Qwen2Tokenizer.from_pretrained(TOKENIZER) if text_only else processor_for(model)
    reader.save_pretrained(folder)
    return folder


MODELS = {"qwen3": lambda: qwen3(tied=True), "qwen2.5-vl": qwen25_vl, "qwen3-vl": qwen3_vl}


def picture() -> Image.Image:
    torch.manual_seed(5)
    return Image.fromarray((torch.rand(96, 64, 3) * 255).byte().numpy(), "RGB")


def conversation(protocol, with_image=False):
    return [
        protocol.Message("system", "Answer with a number."),
        protocol.Message("user", "Which is better? 哪个更好？", (picture(),) if with_image else ()),
    ]


def log_probabilities(model, tokenizer, inputs, answers):
    """Sum over each answer's tokens and the end of turn, from one plain forward pass per answer."""
    totals = []
    prompt = inputs["input_ids"]
    for answer in answers:
        reply = torch.tensor([[*tokenizer(answer)["input_ids"], tokenizer.convert_tokens_to_ids("<|im_end|>")]])
        whole = {**inputs, "input_ids": torch.cat([prompt, reply], 1)}
        whole["attention_mask"] = torch.ones_like(whole["input_ids"])
        if "mm_token_type_ids" in inputs:
            whole["mm_token_type_ids"] = torch.nn.functional.pad(inputs["mm_token_type_ids"], (0, reply.shape[1]))
        logits = model(**whole, use_cache=False).logits[0, prompt.shape[1] - 1 : -1]
        totals.append(logits.double().log_softmax(-1).gather(-1, reply[0][:, None]).sum().item())
    return totals


def greedy(model, tokenizer, inputs, count):
    """The likeliest next token, `count` times, each from a whole forward pass."""
    whole = dict(inputs)
    for _ in range(count):
        token = model(**whole, use_cache=False).logits[:, -1:].argmax(-1)
        whole["input_ids"] = torch.cat([whole["input_ids"], token], 1)
        whole["attention_mask"] = torch.ones_like(whole["input_ids"])
        if "mm_token_type_ids" in whole:
            whole["mm_token_type_ids"] = torch.nn.functional.pad(whole["mm_token_type_ids"], (0, 1))
    return tokenizer.decode(whole["input_ids"][0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()

"""The golden models of each family behind one face, so that what is guaranteed of one is tested on all."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from safetensors.torch import load_file

from . import flux2_tiny, qwen_golden
from .graphs import GOLDEN_FLUX, conditioning, golden_adapter, golden_cases, golden_models, velocity


class Golden:
    """`lora_sites`: layers a LoRA changes, those of the experts among them; `last_block`: its kind and number for the
    host's block replacements; `routed`: the Linears of its experts; `room`: of its size, with
    which the host loads some of those and not all."""

    name = ""
    file: Any = None
    lora_sites: tuple[str, ...] = ()
    first_block = ("double_block", 0)
    last_block = ("double_block", 0)
    routed: tuple[str, ...] = ()
    room = 0.5

    def __init__(self, pack: Any) -> None:
        self.pack = pack

    @cached_property
    def case(self):
        return self._case()

    @property
    def noise(self):
        return self.case["noise"]

    def run(self, model, positive, sigma=0.7):
        return velocity(model, positive, self.noise, sigma)

    def positive(self, base):
        """The case's text with its reference, as X2Edit Reference adds it."""
        plain = self.plain()
        return self.pack.core("comfy_bridge.pictures").add_reference(
            plain, base.model.process_latent_out(self.case["ref"])
        )

    def apply(self, model, adapter, task="style", **inputs):
        (choice,) = self.pack.run("X2EditTask", task=task)
        return self.pack.run("X2EditApply", model=model, adapter=adapter, task=choice, **inputs)[0]

    def weights(self):
        return load_file(self.file)


class Flux1(Golden):
    name = "flux1"
    file = GOLDEN_FLUX
    lora_sites = (
        "double_blocks.0.img_attn.qkv",
        "double_blocks.0.img_attn.proj",
        "single_blocks.0.linear1",
        "single_blocks.1.linear1",
        "single_blocks.1.linear2",
    )
    last_block = ("single_block", 1)
    routed = (
        "double_blocks.0.img_attn.qkv",
        "double_blocks.0.img_attn.proj",
        "single_blocks.0.linear1",
        "single_blocks.1.linear1",
    )

    def _case(self):
        return golden_cases("x2edit")[0]["tensors"]

    def base(self):
        return golden_models(self.pack)[0]

    def adapter(self):
        return golden_adapter(self.pack)

    def load(self, tensors, **options):
        """As the loader node does; the host rewrites tensors while it loads, so it gets copies."""
        import comfy.sd

        with torch.inference_mode():
            copies = {key: tensor.clone() for key, tensor in tensors.items()}
            return comfy.sd.load_diffusion_model_state_dict(copies, model_options=options)

    def plain(self):
        return conditioning(self.case["context"], self.case["pooled"])

    def pair(self):
        """Two pictures with two texts, and their conditioning by rows."""
        case = golden_cases("x2edit")[2]["tensors"]
        return case, lambda context, rows: conditioning(context[rows], case["pooled"][rows])

    def bare_call(self, network):
        """The network itself at sigma 0.7, without a reference."""
        return network(self.noise, torch.tensor([0.7]), self.case["context"], self.case["pooled"], torch.tensor([3.5]))


class QwenImage(Golden):
    name = "qwen_image"
    file = qwen_golden.BASE
    lora_sites = (
        "transformer_blocks.0.attn.to_q",
        "transformer_blocks.1.attn.to_v",
        "transformer_blocks.1.attn.to_out.0",
        "transformer_blocks.2.img_mlp.net.2",
    )
    last_block = ("double_block", 2)
    room = 0.9
    routed = tuple(f"transformer_blocks.{block}.attn.to_{name}" for block in range(3) for name in "qkv")

    def _case(self):
        """An even grid, on which the host and diffusers agree where tokens stand."""
        kept = {key: tensor for key, tensor in qwen_golden.tensors().items() if key.startswith("case0.")}
        kept = {key.removeprefix("case0."): tensor for key, tensor in kept.items()}
        return {**kept, **{key: qwen_golden.latent(kept[key]) for key in ("noise", "ref", "out")}}

    def base(self):
        return qwen_golden.load_base()

    def adapter(self):
        return qwen_golden.load_adapter(self.pack)

    def load(self, tensors, **options):
        return qwen_golden.load_base({key: tensor.clone() for key, tensor in tensors.items()}, options)

    def plain(self):
        return [[self.case["context"], {}]]

    def pair(self):
        case = {key: qwen_golden.tensors()[f"case5.{key}"] for key in ("noise", "ref", "context")}
        case = {**case, **{key: qwen_golden.latent(case[key]) for key in ("noise", "ref")}}
        return case, lambda context, rows: [[context[rows], {}]]

    def bare_call(self, network):
        return network(self.noise, torch.tensor([0.7]), self.case["context"])


class Flux2(Golden):
    """Nobody has recorded values of X2Edit on FLUX.2: its weights are random, and it shares the guarantees."""

    name = "flux2"
    lora_sites, last_block, routed = Flux1.lora_sites, Flux1.last_block, Flux1.routed

    def _case(self):
        return flux2_tiny.case()

    def base(self):
        return flux2_tiny.load_base(self.pack)

    def adapter(self):
        return flux2_tiny.load_adapter(self.pack)

    def weights(self):
        return flux2_tiny.network().state_dict()

    def load(self, tensors, **options):
        import comfy.sd

        with torch.inference_mode():
            copies = {key: tensor.clone() for key, tensor in tensors.items()}
            return comfy.sd.load_diffusion_model_state_dict(copies, model_options=options)

    def plain(self):
        return [[self.case["context"], {}]]

    def pair(self):
        return flux2_tiny.case(rows=2), lambda context, rows: [[context[rows], {}]]

    def bare_call(self, network):
        filled = self.pack.core("comfy_bridge.families.flux2").filled(self.case["context"])
        return network(self.noise, torch.tensor([0.7]), filled)


GOLDEN_FAMILIES = {kind.name: kind for kind in (Flux1, QwenImage, Flux2)}

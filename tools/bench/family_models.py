"""The whole forward pass of each family's model side by side, bare and with X2Edit's adapter, at small size or its own.

`bench forward --family` calls this. Every model has random weights of its host class and one reference picture; on a CPU
width and depth are cut, which keeps the ratio of the adapter's share roughly, for it too grows with the width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

EXPERTS, RANK = 12, 64


@dataclass(frozen=True)
class Subject:
    """`network(width, whole)` makes a model, `whole` at its own depth; `call(side, width)` gives the arguments of a pass over
    a picture of `side` pixels without its references; `films` are latents [B, C, 1, h, w]; `method` how the bare host shows
    the reference, and `tokens` of text."""

    network: Callable[..., Any]
    context: int
    tokens: int
    films: bool = False
    pooled: int = 0


def _flux1(width: int, whole: bool, **made: Any) -> Any:
    from comfy.ldm.flux.model import Flux

    double, single = (19, 38) if whole else (1, 2)
    return Flux(
        in_channels=16, out_channels=16, vec_in_dim=768, context_in_dim=4096, hidden_size=width, mlp_ratio=4.0,
        num_heads=width // 128, depth=double, depth_single_blocks=single, axes_dim=[16, 56, 56], theta=10000,
        patch_size=2, qkv_bias=True, guidance_embed=True, txt_ids_dims=[], **made,
    )  # fmt: skip


def _flux2(width: int, whole: bool, **made: Any) -> Any:
    from comfy.ldm.flux.model import Flux

    double, single = (5, 20) if whole else (1, 2)
    return Flux(
        in_channels=128, out_channels=128, vec_in_dim=None, context_in_dim=7680, hidden_size=width, mlp_ratio=3.0,
        num_heads=width // 128, depth=double, depth_single_blocks=single, axes_dim=[32, 32, 32, 32], theta=2000,
        patch_size=1, qkv_bias=False, guidance_embed=False, txt_ids_dims=[3], global_modulation=True,
        mlp_silu_act=True, ops_bias=False, default_ref_method="index", ref_index_scale=10.0, **made,
    )  # fmt: skip


def _qwen_image(width: int, whole: bool, **made: Any) -> Any:
    from comfy.ldm.qwen_image.model import QwenImageTransformer2DModel

    return QwenImageTransformer2DModel(
        patch_size=2, in_channels=64, out_channels=16, num_layers=60 if whole else 3, attention_head_dim=128,
        num_attention_heads=width // 128, joint_attention_dim=3584, axes_dims_rope=(16, 56, 56), **made,
    )  # fmt: skip


SUBJECTS = {
    "flux1": Subject(_flux1, 4096, 512, pooled=768),
    "qwen_image": Subject(_qwen_image, 3584, 64, films=True),
    "flux2": Subject(_flux2, 7680, 512),
}
"""By the name of the family; texts as long as each pipeline has them."""


def make(
    name: str, width: int, whole: bool, dtype: torch.dtype, device: torch.device, randomise: Callable[[Any], None]
) -> tuple[Any, Any]:
    """A model of the family and an adapter for it, both random."""
    import comfy.ops

    from x2edit_core.families import family_named
    from x2edit_core.train.adapters import new_adapter, spec_for
    from x2edit_core.train.config import AdapterConfig

    made = {"dtype": dtype, "device": device, "operations": comfy.ops.disable_weight_init}
    network = SUBJECTS[name].network(width, whole, **made)
    family = family_named(name)
    spec = spec_for("x2edit", AdapterConfig(EXPERTS, RANK), family.shape_of(network), family)
    adapter = new_adapter(spec, True, 0).to(device, dtype)
    randomise(network)
    randomise(adapter)
    return network.eval().requires_grad_(False), adapter.requires_grad_(False)


def tokens_of(name: str, side_px: int) -> int:
    return SUBJECTS[name].tokens + 2 * (side_px // 16) ** 2


def passes(name: str, network: Any, adapter: Any, side_px: int) -> dict[str, Callable[[], Any]]:
    """The variants: name → one forward pass; the bare base has the reference's tokens too."""
    from comfy.patcher_extension import WrappersMP

    from x2edit_core.adapters.attach import Attachment
    from x2edit_core.comfy_bridge.stack import KEY, AdapterStack
    from x2edit_core.families import family_named
    from x2edit_core.tasks import Task, TaskBatch, TaskChoice

    subject, family = SUBJECTS[name], family_named(name)
    like = next(network.parameters())
    side = side_px // family.latent_px
    shape = (1, family.channels, *((1,) if subject.films else ()), side, side)
    x, reference = (torch.randn(shape, device=like.device, dtype=like.dtype) for _ in range(2))
    sigma = torch.full((1,), 0.7, device=like.device)
    more: dict[str, Any] = {}
    if subject.pooled:
        more = {
            "y": torch.randn(1, subject.pooled, device=like.device, dtype=like.dtype),
            "guidance": torch.full((1,), 3.5, device=like.device),
        }
    context = torch.randn(1, subject.tokens, subject.context, device=like.device, dtype=like.dtype)

    def run(method: str, stack: AdapterStack | None, **options: Any) -> Any:
        wrappers = {WrappersMP.DIFFUSION_MODEL: {KEY: [stack.diffusion_model]}} if stack else {}
        return network(
            x, sigma, context, ref_latents=[reference], ref_latents_method=method,
            transformer_options={"wrappers": wrappers, "cond_or_uncond": [0], **options}, **more,
        )  # fmt: skip

    stack = AdapterStack((Attachment(adapter, TaskBatch.of(TaskChoice(Task.STYLE))),))
    return {
        "base with reference": lambda: run("index", None),
        "references placed": lambda: run("x2edit", stack, x2edit_active=(False,)),
        "with adapter": lambda: run("x2edit", stack),
    }

"""A tiny FLUX.2 with random weights for the stock loader, which reads its sizes from the tensors, and an adapter for it."""

from __future__ import annotations

import torch

HIDDEN, DOUBLE, SINGLE, CONTEXT = 128, 1, 2, 32
BASE, ADAPTER = "flux2_tiny.safetensors", "flux2 tiny"


def network(double=DOUBLE, single=SINGLE, context=CONTEXT, guidance=False, hidden=HIDDEN):
    """The host's class with FLUX.2's facts, as its loader finds them; weights drawn so that every part of it matters."""
    import comfy.ldm.flux.model
    import comfy.ops

    flux = comfy.ldm.flux.model.Flux(
        in_channels=128, out_channels=128, vec_in_dim=None, context_in_dim=context, hidden_size=hidden, mlp_ratio=3.0,
        num_heads=hidden // 128, depth=double, depth_single_blocks=single, axes_dim=[32, 32, 32, 32], theta=2000,
        patch_size=1, qkv_bias=False, guidance_embed=guidance, txt_ids_dims=[3], global_modulation=True,
        mlp_silu_act=True, ops_bias=False, default_ref_method="index", ref_index_scale=10.0,
        dtype=torch.float32, device="cpu", operations=comfy.ops.disable_weight_init,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in flux.parameters():
            drawn = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + 0.1 * drawn if parameter.ndim == 1 else drawn * parameter.shape[-1] ** -0.5)
    return flux


def load_base(pack, name=BASE, **sizes):
    """Through UNETLoader, from a file of its own."""
    import folder_paths
    from safetensors.torch import save_file

    folder = pack.base / "flux2"
    if not (folder / name).exists():
        folder.mkdir(parents=True, exist_ok=True)
        save_file(network(**sizes).state_dict(), folder / name)
        folder_paths.add_model_folder_path("diffusion_models", str(folder))
        folder_paths.filename_list_cache.pop("diffusion_models", None)
    return pack.run("UNETLoader", unet_name=name, weight_dtype="default")[0]


def new_adapter(pack, task_aware=True, shape=(HIDDEN, DOUBLE, SINGLE), **config):
    """Random experts of every place, as strong as their layers."""
    families, train = pack.core("families"), pack.core("train.adapters")
    config = pack.core("train.config").AdapterConfig(**{"experts": 4, "rank": 4, "top_k": 2, **config})
    spec = train.spec_for("x2edit", config, families.FLUX2.shape(*shape), families.FLUX2)
    adapter = train.new_adapter(spec, task_aware, 3)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for delta in adapter.deltas:
            delta.up.copy_(torch.randn(delta.up.shape, generator=generator) * 0.5)
    return adapter.requires_grad_(False)


def load_adapter(pack, name=ADAPTER, **config):
    """Such an adapter, saved as the trainer does and read back by the loader node."""
    import folder_paths

    path = pack.base / "models" / "x2edit" / f"{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    pack.core("adapters.checkpoint").save_adapter(new_adapter(pack, **config), path)
    folder_paths.filename_list_cache.pop("x2edit", None)
    return pack.run("X2EditAdapterLoader", adapter_name=path.name)[0]


def case(rows=1, height=4, width=6, tokens=12):
    """Noise and reference [rows, 128, h, w] in model space, context [rows, tokens, C]."""
    generator = torch.Generator().manual_seed(17 + rows)
    noise, ref = (torch.randn(rows, 128, height, width, generator=generator) for _ in range(2))
    return {"noise": noise, "ref": ref, "context": torch.randn(rows, tokens, CONTEXT, generator=generator)}

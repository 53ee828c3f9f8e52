"""Small steps that several host tests share: conditioning, one evaluation of a model, fingerprints of its state."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
GOLDEN_FLUX = GOLDEN / "x2edit" / "flux_base_diffusers.safetensors"
GOLDEN_FILL = GOLDEN / "icedit_moe" / "flux_fill_base_diffusers.safetensors"
GOLDEN_MOE = GOLDEN / "icedit_moe" / "pytorch_lora_weights.safetensors"
"""Random models whose outputs the research code recorded beside them."""


def golden_adapter(pack: Any) -> Any:
    """The golden X2Edit adapter through the loader node, from a folder with the released files."""
    import folder_paths

    folder = pack.base / "models" / "x2edit" / "golden"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("lora.safetensors", "task_embeddings.bin"):
        shutil.copyfile(GOLDEN / "x2edit" / name, folder / name)
    folder_paths.filename_list_cache.pop("x2edit", None)
    return pack.run("X2EditAdapterLoader", adapter_name="golden")[0]


def golden_models(pack: Any, base: str = "x2edit") -> tuple[Any, Any, Any]:
    """The golden FLUX (or FLUX Fill) through the loader node, with the embedded text encoder and autoencoder."""
    import folder_paths

    file = GOLDEN_FILL if base == "fill" else GOLDEN_FLUX
    folder_paths.add_model_folder_path("diffusion_models", str(file.parent))
    (model,) = pack.run("UNETLoader", unet_name=file.name, weight_dtype="default")
    return (model, *pack.run("X2EditDemoModels", base=base)[1:])


def golden_cases(name: str) -> list[dict[str, Any]]:
    """The recorded cases of one folder, each with its tensors in float32 under their own names."""
    tensors = load_file(GOLDEN / name / "io.safetensors")
    cases = json.loads((GOLDEN / name / "cases.json").read_text())
    for index, case in enumerate(cases):
        prefix = f"case{index}."
        case["tensors"] = {key.removeprefix(prefix): t.float() for key, t in tensors.items() if key.startswith(prefix)}
    return cases


def conditioning(context: torch.Tensor, pooled: torch.Tensor, guidance: float = 3.5) -> list[Any]:
    return [[context, {"pooled_output": pooled, "guidance": guidance}]]


def fill_conditioning(model: Any, case: dict[str, Any]) -> list[Any]:
    """Conditioning with a case's recorded 80 channels given as the host takes them: an image latent and a pixel mask."""
    tensors = case["tensors"]
    ((context, options),) = conditioning(tensors["context"], tensors["pooled"], case["guidance"])
    image, mask = tensors["concat"].split((16, 64), dim=1)
    batch, _, height, width = mask.shape
    pixels = mask.view(batch, 8, 8, height, width).permute(0, 3, 1, 4, 2).reshape(batch, 1, height * 8, width * 8)
    latent = model.model.process_latent_out(image)
    return [[context, {**options, "concat_latent_image": latent, "concat_mask": pixels}]]


def velocity(
    model: Any, positive: list[Any], x: torch.Tensor, sigma: float, negative: Any = None, cfg: float = 1.0
) -> Any:
    """The model's velocity at x [B, 16, h, w] and sigma, through the host's own guider and Euler sampler.

    One Euler step from sigma to 0 gives x0 = x - sigma · v in the host's latent space, from which v follows.
    """
    import comfy.samplers

    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, negative or positive)
    guider.set_cfg(cfg)
    empty = torch.zeros_like(x)
    sigmas = torch.tensor([sigma, 0.0])
    with torch.inference_mode():
        out = guider.sample(x / sigma, empty, comfy.samplers.sampler_object("euler"), sigmas, disable_pbar=True)
    return (x - model.model.process_latent_in(out)) / sigma


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def state(module: torch.nn.Module) -> dict[str, Any]:
    """Everything that must survive a run untouched: tensors by identity and by value, and who answers `forward`."""
    named = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {
        "identity": {name: id(tensor) for name, tensor in named.items()},
        "value": {name: tensor.detach().clone() for name, tensor in named.items()},
        "forward": {name: part.__dict__.get("forward") for name, part in module.named_modules()},
    }


def assert_untouched(module: torch.nn.Module, before: dict[str, Any]) -> None:
    after = state(module)
    assert after["identity"] == before["identity"]
    assert after["forward"] == before["forward"]
    for name, value in before["value"].items():
        assert torch.equal(after["value"][name], value), name

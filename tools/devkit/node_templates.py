"""The templates with every node in sight: Qwen-Image in 40 steps as its authors do and in 8 with a Lightning LoRA; training."""

from __future__ import annotations

from .graph_builder import GraphBuilder, Json, Node

HF = "https://huggingface.co"
_REPACKAGED = f"{HF}/Comfy-Org/Qwen-Image_ComfyUI/resolve/main/split_files"
_BASE = "qwen_image_fp8_e4m3fn.safetensors"
_TEXT = "qwen_2.5_vl_7b_fp8_scaled.safetensors"
_VAE = "qwen_image_vae.safetensors"
_ADAPTER = "X2Edit-Qwen/lora.safetensors"
_LIGHTNING = "Qwen-Image-Lightning-8steps-V1.0.safetensors"
_LEFT, _SAID, _MIDDLE, _RIGHT = 0, 380, 860, 1240


_LESSON = "channels"
_TAUGHT = f"""save_every = 1000
[data]
lesson = "{_LESSON}"
cases = 240
cache = "lessons"
[adapter]
top_k = 2
[model]
precision = "float32"
[loss]
time_law = "logit_normal"
time_mean = 1.0
time_spread = 1.2
[optim]
warmup = 10
final = 0.05
"""
_TEACH_STEPS = 120


def teach(graph: GraphBuilder) -> None:
    """The embedded models learn an edit that is new to them, then do it on a scene that they never saw."""
    models = graph.node("X2EditDemoModels", (0, 0, 320, 110), base="x2edit")
    scene = graph.node(
        "X2EditDemoScene", (0, 170, 320, 230), "A picture it never saw", task="remove subject", seed=5, lesson=_LESSON
    )
    trained = graph.node(
        "X2EditTrain", (380, 0, 420, 660),
        model=models["model"], clip=models["clip"], vae=models["vae"], dataset="scenes", name="my_first_edit",
        kind="x2edit", steps=_TEACH_STEPS, batch=8, learning_rate=2e-3, rank=16, experts=4, size=128, seed=0, further=_TAUGHT,
        again="new name",
    )  # fmt: skip
    graph.node("PreviewAny", (380, 800, 420, 110), "Its file", source=trained["path"])
    graph.node("PreviewImage", (380, 990, 420, 270), "Its losses", images=trained["loss_plot"])
    text = graph.node("CLIPTextEncode", (860, 0, 320, 60), text=scene["instruction"], clip=models["clip"])
    guided = graph.node("FluxGuidance", (860, 160, 320, 60), conditioning=text["CONDITIONING"], guidance=3.5)
    nothing = graph.node("ConditioningZeroOut", (860, 300, 320, 30), conditioning=text["CONDITIONING"])
    reference = graph.node(
        "X2EditReference", (860, 400, 320, 200),
        conditioning=guided["CONDITIONING"], vae=models["vae"], image=scene["image"], size="keep",
    )  # fmt: skip
    applied = graph.node(
        "X2EditApply", (860, 680, 320, 200), model=models["model"], adapter=trained["adapter"], task=scene["task"]
    )
    sampled = graph.node(
        "KSampler", (860, 960, 320, 262),
        model=applied["model"], positive=reference["conditioning"], negative=nothing["CONDITIONING"],
        latent_image=reference["latent"], seed=1, steps=12, cfg=1.0, sampler_name="euler", scheduler="simple",
    )  # fmt: skip
    picture = graph.node("VAEDecode", (1240, 0, 440, 46), samples=sampled["LATENT"], vae=models["vae"])
    graph.node(
        "X2EditCompare", (1240, 130, 440, 480), before=scene["image"], after=picture["IMAGE"], target=scene["target"]
    )
    graph.node("SaveImage", (1240, 720, 440, 400), images=picture["IMAGE"], filename_prefix="x2edit/taught")


def models_of(name: str, url: str, directory: str) -> list[Json]:
    """What the page's dialog of missing models reads."""
    return [{"name": name, "url": url, "directory": directory}]


def qwen_image(graph: GraphBuilder, lightning: bool) -> None:
    """A picture and a sentence through X2Edit on Qwen-Image; `lightning` takes 8 steps without guidance instead of 40."""
    text_encoder = graph.node(
        "CLIPLoader", (_LEFT, 130, 320, 110), clip_name=_TEXT, type="qwen_image",
        models=models_of(_TEXT, f"{_REPACKAGED}/text_encoders/{_TEXT}", "text_encoders"),
    )  # fmt: skip
    vae = graph.node(
        "VAELoader", (_LEFT, 290, 320, 60), vae_name=_VAE, models=models_of(_VAE, f"{_REPACKAGED}/vae/{_VAE}", "vae")
    )
    picture = graph.node("LoadImage", (_LEFT, 730, 320, 330), image="example.png")
    said = graph.node(
        "X2EditQwenTextEncode", (_SAID, 130, 420, 220), "Instruction",
        clip=text_encoder["CLIP"], image=picture["IMAGE"], instruction="remove the clouds",
    )  # fmt: skip
    task = graph.node("X2EditTask", (_SAID, 410, 420, 110), task="remove subject")
    shown = [
        graph.node(
            "X2EditReference", (_SAID, top, 420, 170), title,
            conditioning=said[name], vae=vae["VAE"], image=picture["IMAGE"],
        )
        for name, title, top in (("positive", "", 730), ("negative", "The same picture for the negative branch", 960))
    ]  # fmt: skip
    model = _model(graph, task, lightning)
    sigmas = graph.node(
        "X2EditSigmas", (_MIDDLE, 450, 320, 110),
        model=model["model"], latent=shown[0]["latent"], steps=8 if lightning else 40,
    )  # fmt: skip
    sampler = graph.node("KSamplerSelect", (_MIDDLE, 610, 320, 60), sampler_name="euler")
    sampled = graph.node(
        "SamplerCustom", (_MIDDLE, 720, 320, 250),
        model=model["model"], positive=shown[0]["conditioning"], negative=shown[1]["conditioning"],
        sampler=sampler["SAMPLER"], sigmas=sigmas["sigmas"], latent_image=shown[0]["latent"],
        noise_seed=0, cfg=1.0 if lightning else 4.0,
    )  # fmt: skip
    decoded = graph.node("VAEDecode", (_MIDDLE, 1020, 320, 46), samples=sampled["output"], vae=vae["VAE"])
    edit = graph.node("X2EditRestore", (_RIGHT, 320, 300, 90), image=decoded["IMAGE"], layout=shown[0]["layout"])
    graph.node("SaveImage", (_RIGHT, 470, 420, 420), images=edit["image"], filename_prefix="x2edit/qwen")
    graph.group("1 · Models", (-20, -60, 360, 700))
    graph.group("2 · What to change", (360, 60, 460, 480))
    graph.group("3 · Source picture", (-20, 660, 840, 500))
    graph.group("4 · Edit", (840, 60, 360, 1030))
    graph.group("5 · Result", (1220, 250, 460, 660))


def _model(graph: GraphBuilder, task: Node, lightning: bool) -> Node:
    """Base, adapter, and what the number of steps asks for: a LoRA before the adapter, or guidance as the authors' own."""
    adapter = graph.node(
        "X2EditAdapterLoader", (_LEFT, 400, 320, 60), adapter_name=_ADAPTER,
        models=models_of(_ADAPTER, f"{HF}/OPPOer/X2Edit/resolve/main/model_qwen_image/lora.safetensors", "x2edit"),
    )  # fmt: skip
    model = graph.node(
        "UNETLoader", (_LEFT, 0, 320, 82), unet_name=_BASE,
        models=models_of(_BASE, f"{_REPACKAGED}/diffusion_models/{_BASE}", "diffusion_models"),
    )["MODEL"]  # fmt: skip
    if lightning:
        model = graph.node(
            "LoraLoaderModelOnly", (_LEFT, 510, 320, 82), model=model, lora_name=_LIGHTNING, strength_model=1.0,
            models=models_of(_LIGHTNING, f"{HF}/lightx2v/Qwen-Image-Lightning/resolve/main/{_LIGHTNING}", "loras"),
        )["MODEL"]  # fmt: skip
    applied = graph.node(
        "X2EditApply", (_MIDDLE, 130, 320, 190), model=model, adapter=adapter["adapter"], task=task["task"]
    )
    if lightning:
        return applied
    return graph.node("X2EditGuidanceRescale", (_MIDDLE, 370, 320, 30), model=applied["model"])

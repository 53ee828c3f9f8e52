"""The template of FLUX.1 with a second picture as a prompt, every node in sight."""

from __future__ import annotations

from .graph_builder import GraphBuilder, Node
from .node_templates import HF, models_of

_BASE = "flux1-dev.safetensors"
_CLIP, _T5 = "clip_l.safetensors", "t5xxl_fp16.safetensors"
_VAE = "ae.safetensors"
_ADAPTER = "X2Edit/lora.safetensors"
_PICTURE, _ENCODER = "ip-adapter.bin", "sigclip_vision_patch14_384.safetensors"
_TEXTS = f"{HF}/comfyanonymous/flux_text_encoders/resolve/main"
_LEFT, _SAID, _MIDDLE, _RIGHT = 0, 380, 860, 1240


def edit_like_a_picture(graph: GraphBuilder) -> None:
    """A source picture, a sentence, and another picture that says what to draw, through X2Edit and InstantX's adapter."""
    texts = graph.node(
        "DualCLIPLoader", (_LEFT, 130, 320, 130), clip_name1=_CLIP, clip_name2=_T5, type="flux",
        models=models_of(_CLIP, f"{_TEXTS}/{_CLIP}", "text_encoders") + models_of(_T5, f"{_TEXTS}/{_T5}", "text_encoders"),
    )  # fmt: skip
    vae = graph.node(
        "VAELoader", (_LEFT, 310, 320, 60), vae_name=_VAE,
        models=models_of(
            _VAE, f"{HF}/Comfy-Org/Lumina_Image_2.0_Repackaged/resolve/main/split_files/vae/{_VAE}", "vae"
        ),
    )  # fmt: skip
    source = graph.node("LoadImage", (_LEFT, 790, 320, 330), "Picture to edit", image="example.png")
    text = graph.node(
        "CLIPTextEncode",
        (_SAID, 130, 420, 140),
        "Instruction",
        clip=texts["CLIP"],
        text="change the material of the jacket",
    )
    guided = graph.node("FluxGuidance", (_SAID, 320, 420, 60), conditioning=text["CONDITIONING"], guidance=3.5)
    task = graph.node("X2EditTask", (_SAID, 430, 420, 110), task="material")
    reference = graph.node(
        "X2EditReference", (_SAID, 790, 420, 180),
        conditioning=guided["CONDITIONING"], vae=vae["VAE"], image=source["IMAGE"],
    )  # fmt: skip
    nothing = graph.node("ConditioningZeroOut", (_SAID, 1030, 420, 30), conditioning=text["CONDITIONING"])
    model = _model(graph, task)
    sampled = graph.node(
        "KSampler", (_MIDDLE, 430, 320, 262),
        model=model["model"], positive=reference["conditioning"], negative=nothing["CONDITIONING"],
        latent_image=reference["latent"], seed=1, steps=28, cfg=1.0, sampler_name="euler", scheduler="simple",
    )  # fmt: skip
    decoded = graph.node("VAEDecode", (_MIDDLE, 750, 320, 46), samples=sampled["LATENT"], vae=vae["VAE"])
    edit = graph.node("X2EditRestore", (_RIGHT, 380, 300, 90), image=decoded["IMAGE"], layout=reference["layout"])
    graph.node("SaveImage", (_RIGHT, 530, 420, 420), images=edit["image"], filename_prefix="x2edit/like_a_picture")
    graph.group("1 · Models", (-20, -60, 360, 780))
    graph.group("2 · What to change", (360, 60, 460, 660))
    graph.group("3 · Source picture", (-20, 740, 840, 400))
    graph.group("4 · Picture that says what to draw", (-20, 1180, 1240, 440))
    graph.group("5 · Edit", (840, 60, 360, 760))
    graph.group("6 · Result", (1220, 310, 460, 660))


def _model(graph: GraphBuilder, task: Node) -> Node:
    """Base and adapter, and the tokens of the second picture."""
    base = graph.node(
        "UNETLoader", (_LEFT, 0, 320, 82), unet_name=_BASE,
        models=models_of(
            _BASE, f"{HF}/black-forest-labs/FLUX.1-dev/resolve/main/{_BASE}", "diffusion_models"
        ),
    )  # fmt: skip
    adapter = graph.node(
        "X2EditAdapterLoader", (_LEFT, 420, 320, 60), adapter_name=_ADAPTER,
        models=models_of(_ADAPTER, f"{HF}/OPPOer/X2Edit/resolve/main/lora.safetensors", "x2edit"),
    )  # fmt: skip
    picture = graph.node("LoadImage", (_LEFT, 1250, 320, 330), "Picture that says what to draw", image="example.png")
    encoder = graph.node(
        "CLIPVisionLoader", (_SAID, 1250, 420, 60), clip_name=_ENCODER,
        models=models_of(_ENCODER, f"{HF}/Comfy-Org/sigclip_vision_384/resolve/main/{_ENCODER}", "clip_vision"),
    )  # fmt: skip
    encoded = graph.node(
        "CLIPVisionEncode", (_SAID, 1370, 420, 80),
        clip_vision=encoder["CLIP_VISION"], image=picture["IMAGE"], crop="none",
    )  # fmt: skip
    loaded = graph.node(
        "X2EditImageAdapterLoader", (_SAID, 1510, 420, 60), "Load X2Edit Image Adapter (non-commercial weights)",
        file=_PICTURE,
        models=models_of(_PICTURE, f"{HF}/InstantX/FLUX.1-dev-IP-Adapter/resolve/main/{_PICTURE}", "x2edit"),
    )  # fmt: skip
    tokens = graph.node(
        "X2EditImageTokens", (_MIDDLE, 1250, 320, 190),
        image_adapter=loaded["image_adapter"], clip_vision_output=encoded["CLIP_VISION_OUTPUT"],
    )  # fmt: skip
    return graph.node(
        "X2EditApply", (_MIDDLE, 130, 320, 240),
        model=base["MODEL"], adapter=adapter["adapter"], task=task["task"],
        image_tokens=tokens["image_tokens"], image_strength=0.7,
    )  # fmt: skip

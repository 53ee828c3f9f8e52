"""Graphs over HTTP that several tests queue."""

from __future__ import annotations

from typing import Any

from PIL import Image


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def edit_graph(
    adapter: str | None = "embedded: x2edit", seed: int = 1, steps: int = 3, side: int = 64
) -> dict[str, Any]:
    """An edit of a flat picture; without an adapter, the bare base on the same inputs. The result is a latent and a PNG."""
    graph = {
        "models": node("X2EditDemoModels", base="x2edit"),
        "text": node("CLIPTextEncode", clip=["models", 1], text="make it red"),
        "source": node("EmptyImage", width=side, height=side, batch_size=1, color=0x806020),
        "latent": node("VAEEncode", pixels=["source", 0], vae=["models", 2]),
        "sampler": node(
            "KSampler", model=["models", 0], positive=["text", 0], negative=["text", 0], latent_image=["latent", 0],
            seed=seed, steps=steps, cfg=1.0, sampler_name="euler", scheduler="simple", denoise=1.0,
        ),
        "decode": node("VAEDecode", samples=["sampler", 0], vae=["models", 2]),
        "save": node("SaveImage", images=["decode", 0], filename_prefix=f"edit-{seed}"),
    }  # fmt: skip
    if adapter is not None:
        graph |= {
            "reference": node(
                "X2EditReference", conditioning=["text", 0], vae=["models", 2], image=["source", 0], size="keep"
            ),
            "adapter": node("X2EditAdapterLoader", adapter_name=adapter),
            "task": node("X2EditTask", task="color"),
            "apply": node("X2EditApply", model=["models", 0], adapter=["adapter", 0], task=["task", 0], strength=1.0),
        }
        graph["sampler"]["inputs"] |= {
            "model": ["apply", 0], "positive": ["reference", 0], "negative": ["reference", 0], "latent_image": ["reference", 1],
        }  # fmt: skip
    return graph


def filter_graph(address: str, seeds: int = 3, steps: int = 4) -> dict[str, Any]:
    """Several seeds of an edit, of which a vision model at `address` chooses one; its seed, picture and report are shown."""
    graph = edit_graph()
    sampling = graph.pop("sampler")["inputs"]
    settings = {"seed": 7, "seeds": seeds, "early_steps": 2, "steps": steps, "cfg": 1.0, "sampler": "euler",
                "scheduler": "simple", "mode": "continue", "order": "champion", "instruction": "make it red"}  # fmt: skip
    graph |= {
        "chat": node("X2EditChatFromEndpoint", base_url=address, model="a-judge", vision=True, timeout=5.0),
        "judge": node("X2EditJudge", chat=["chat", 0], debias=False),
        "filter": node(
            "X2EditEarlyFilter", vae=["models", 2], judge=["judge", 0], source=["source", 0], layout=["reference", 2],
            latent=sampling["latent_image"], **{name: sampling[name] for name in ("model", "positive", "negative")},
            **settings,
        ),
        "seed": node("PreviewAny", source=["filter", 1]),
        "report": node("PreviewAny", source=["filter", 4]),
    }  # fmt: skip
    graph["decode"]["inputs"]["samples"] = ["filter", 0]
    return graph


def saved_picture(result: Any) -> bytes:
    """The pixels; the file's bytes hold the graph too."""
    import io

    return next(Image.open(io.BytesIO(data)).tobytes() for name, data in result.images if name == "save")

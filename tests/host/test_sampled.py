"""Latents that hold no numbers: the run ends at the sampler, and no black picture is saved in the place of an edit."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from x2edit_core.workflow.client import PromptError

from .graphs import conditioning
from .runs import edit_graph, node

NAN = "not-a-number.latent"


@pytest.fixture(scope="module")
def spoilt(server):
    """A latent in the host's input folder without a number in it."""
    tensors = {"latent_tensor": torch.full((1, 16, 8, 8), torch.nan), "latent_format_version_0": torch.tensor([])}
    save_file(tensors, server.base / "input" / NAN)


@pytest.fixture
def shown(pack, monkeypatch):
    texts = []
    monkeypatch.setattr(pack.core("comfy_bridge.sampled"), "say", texts.append)
    return texts


def sampled(pack, model, latent, text=None, seed=0):
    positive = conditioning(torch.ones(1, 4, 192), torch.ones(1, 192)) if text is None else text
    return pack.run(
        "KSampler", model=model, positive=positive, negative=positive, latent_image={"samples": latent}, seed=seed,
        steps=2, cfg=1.0, sampler_name="euler", scheduler="simple", denoise=1.0,
    )[0]["samples"]  # fmt: skip


def adapted(pack, base="x2edit", adapter="embedded: x2edit", **inputs):
    (found,) = pack.run("X2EditAdapterLoader", adapter_name=adapter)
    return pack.run("X2EditApply", model=pack.run("X2EditDemoModels", base=base)[0], adapter=found, **inputs)[0]


@pytest.mark.parametrize("ending", ["the host's", "ours"])
def test_a_graph_that_begins_at_no_numbers_ends_with_an_error(server, spoilt, ending):
    """Behind the host's own decoder and SaveImage there is nobody else who would say so."""
    graph = edit_graph(side=64)
    if ending == "ours":
        graph["restore"] = node("X2EditRestore", image=["decode", 0], layout=["reference", 2], source=["source", 0])
        graph["save"]["inputs"]["images"] = ["restore", 0]
    graph["nan"] = node("LoadLatent", latent=NAN)
    graph["sampler"]["inputs"]["latent_image"] = ["nan", 0]
    before = sorted((server.base / "output").rglob("*.png"))
    with pytest.raises(PromptError, match=r"latent it began with holds such values already") as caught:
        server.run(graph)
    assert "KSampler" in str(caught.value)
    assert sorted((server.base / "output").rglob("*.png")) == before


@pytest.mark.parametrize(
    ("base", "adapter"),
    [("x2edit", "embedded: x2edit"), ("fill", "embedded: icedit"), ("fill", "embedded: icedit plain"),
     ("qwen", "embedded: x2edit qwen")],
)  # fmt: skip
def test_whatever_the_adapter_is_made_of(pack, base, adapter):
    """Merged into weights, beside them, in both families."""
    model = adapted(pack, base, adapter)
    latent = torch.full((1, 16, *((1,) if base == "qwen" else ()), 8, 8), torch.nan)
    with pytest.raises(pack.core("errors").X2EditError, match="no numbers"):
        sampled(pack, model, latent)


def test_a_text_without_numbers_is_told_from_a_latent(pack):
    text = conditioning(torch.full((1, 4, 192), torch.nan), torch.ones(1, 192))
    with pytest.raises(pack.core("errors").X2EditError, match=r"began with is sound"):
        sampled(pack, adapted(pack), torch.zeros(1, 16, 8, 8), text)


def test_of_a_batch_the_sound_pictures_are_kept_and_the_others_named(pack, shown):
    model = adapted(pack)
    latent = torch.zeros(3, 16, 8, 8)
    sound = sampled(pack, model, latent)
    assert not shown
    latent[1, 0, 0, 0] = torch.inf
    found = sampled(pack, model, latent)
    assert len(shown) == 1 and "for 2 of its 3 pictures" in shown[0]
    assert torch.equal(found[::2], sound[::2]) and not found[1].isfinite().all()


def test_results_are_looked_at_once_however_many_adapters_there_are(pack, shown):
    (adapter,) = pack.run("X2EditAdapterLoader", adapter_name="embedded: x2edit")
    model = adapted(pack)
    (twice,) = pack.run("X2EditApply", model=model, adapter=adapter, strength=0.5)
    latent = torch.zeros(2, 16, 8, 8)
    latent[0] = torch.nan
    sampled(pack, twice, latent)
    assert len(shown) == 1 and "for 1 of its 2 pictures" in shown[0]


def test_an_averaged_adapter_too(pack):
    (adapter,) = pack.run("X2EditAdapterLoader", adapter_name="embedded: icedit")
    fill = pack.run("X2EditDemoModels", base="fill")[0]
    (model,) = pack.run("ICEditStaticFallback", model=fill, adapter=adapter)
    with pytest.raises(pack.core("errors").X2EditError, match="no numbers"):
        sampled(pack, model, torch.full((1, 16, 8, 8), torch.nan))

"""X2Edit's Qwen-Image variant: the research code's own numbers through the host's loader, samplers and our nodes."""

from __future__ import annotations

import comfy.samplers
import pytest
import torch

from .graphs import assert_untouched, relative_error, state, velocity
from .qwen_golden import batch_of, latent, load_adapter, load_base, recorded, tensors

CASES = recorded()["cases"]
KEPT = tensors()
FORWARD = [index for index, case in enumerate(CASES) if case["kind"] == "forward"]
SAMPLING = [case for case in CASES if case["kind"] == "sampling"]


@pytest.fixture(scope="module")
def base(pack):
    return load_base()


@pytest.fixture(scope="module")
def adapter(pack):
    return load_adapter(pack)


def tensor(index, name):
    """An input of a case, or of the one whose inputs it shares."""
    while f"case{index}.{name}" not in KEPT:
        index = CASES[index]["same_as"]
    return KEPT[f"case{index}.{name}"]


def edited(pack, base, adapter, tasks):
    return pack.run("X2EditApply", model=base, adapter=adapter, task=batch_of(pack, tasks))[0]


def with_reference(pack, base, context, reference=None):
    positive = [[context, {}]]
    if reference is None:
        return positive
    return pack.core("comfy_bridge.pictures").add_reference(positive, base.model.process_latent_out(latent(reference)))


@pytest.mark.parametrize("index", FORWARD, ids=lambda index: f"{index}-{'x'.join(map(str, CASES[index]['hw']))}")
def test_a_pass_matches_the_research_code(pack, base, adapter, index):
    case = CASES[index]
    noise, context, wanted = (tensor(index, name) for name in ("noise", "context", "out"))
    reference = tensor(index, "ref") if case["references"] else None
    model = edited(pack, base, adapter, case["task"]) if case["adapter"] else base
    before = state(base.model.diffusion_model)
    for row, t in enumerate(case["t"]):  # rows of one batch have different times, which a sampler does not
        if len(case["t"]) > 1:
            model = edited(pack, base, adapter, [case["task"][row]])
        rows = slice(row, row + 1)
        positive = with_reference(pack, base, context[rows], None if reference is None else reference[rows])
        found = velocity(model, positive, latent(noise[rows]), t)[:, :, 0]
        if case["adapter"] or not any(side // 2 % 2 for side in case["hw"]):
            assert relative_error(found, wanted[rows]) <= 1e-5
        else:
            assert relative_error(found, wanted[rows]) > 1e-3, "without an adapter the host's own positions stay"
    assert_untouched(base.model.diffusion_model, before)


@pytest.mark.parametrize("case", SAMPLING, ids=lambda case: "x".join(map(str, case["hw"])))
def test_sampling_matches_the_research_code(pack, base, adapter, case):
    """Four Euler steps of true CFG with the rescaled norm, by the public nodes and the host's sampler."""
    number = SAMPLING.index(case)
    kept = {name: KEPT[f"sample{number}.{name}"] for name in ("noise", "ref", "positive", "negative", "steps", "out")}
    model = edited(pack, base, adapter, [case["task"]])
    (model,) = pack.run("X2EditGuidanceRescale", model=model)
    empty = {"samples": torch.zeros_like(latent(kept["noise"]))}
    (sigmas,) = pack.run("X2EditSigmas", model=model, latent=empty, steps=case["steps"])
    torch.testing.assert_close(sigmas, KEPT[f"sample{number}.sigmas"], rtol=0, atol=1e-6)
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(*(with_reference(pack, base, kept[name], kept["ref"]) for name in ("positive", "negative")))
    guider.set_cfg(case["cfg"])
    steps = []
    with torch.inference_mode():
        out = guider.sample(
            latent(kept["noise"]), empty["samples"], comfy.samplers.sampler_object("euler"), sigmas,
            callback=lambda step, x0, x, total: steps.append(x[:, :, 0].clone()), disable_pbar=True,
        )  # fmt: skip
    assert relative_error(base.model.process_latent_in(out)[:, :, 0], kept["out"]) <= 1e-5
    for found, wanted in zip(steps[1:], kept["steps"], strict=False):
        assert relative_error(found[0], wanted) <= 1e-5


BLOCK = next(case for case in CASES if case["kind"] == "block")


def positions(network, text):
    """Rotary factors of the block case: two frames of one grid, centred as diffusers does, after them the text's own."""
    rows, columns = BLOCK["grid"]
    image = torch.zeros(BLOCK["frames"], rows, columns, 3)
    image[..., 0] = torch.arange(BLOCK["frames"])[:, None, None]
    image[..., 1] = (torch.arange(rows) - (rows - rows // 2))[None, :, None]
    image[..., 2] = (torch.arange(columns) - (columns - columns // 2))[None, None, :]
    words = (torch.arange(text) + max(rows // 2, columns // 2))[:, None].expand(-1, 3)
    return network.pe_embedder(torch.cat((words, image.flatten(0, 2)))[None])


@pytest.mark.parametrize("task", BLOCK["tasks"])
def test_a_blocks_experts_match_the_research_code(pack, base, adapter, task):
    """Deltas and gates of q, k and v, and the output of the attention around them, in one block."""
    attach, network = pack.core("adapters.attach"), base.model.diffusion_model
    attention = network.transformer_blocks[BLOCK["block"]].attn
    x, text, kept = KEPT["block.x"], KEPT["block.txt"], f"block.task{task}"
    attachment = attach.Attachment(adapter.adapter, batch_of(pack, [task]))
    seen = {}
    observe = lambda path, gate: seen.setdefault(path, gate[:, :, 0])  # noqa: E731
    bound = attach.bind(attachment, attachment.task_biases(), torch.zeros(1, dtype=torch.long), observe)
    with torch.inference_mode(), attach.swapped(attach.site_swaps(network, [bound])):
        for name in ("q", "k", "v"):
            layer = getattr(attention, f"to_{name}")
            bare = torch.nn.functional.linear(x, layer.weight.float(), layer.bias.float())
            assert relative_error(layer(x) - bare, KEPT[f"{kept}.{name}"]) <= 1e-5
            gate = seen[f"transformer_blocks.{BLOCK['block']}.attn.to_{name}"]
            torch.testing.assert_close(gate, KEPT[f"{kept}.{name}_gate"], rtol=1e-5, atol=1e-6)
        image, words = attention(x, text, image_rotary_emb=positions(network, text.shape[1]))
    assert relative_error(image, KEPT[f"{kept}.attn_img"]) <= 1e-5
    assert relative_error(words, KEPT[f"{kept}.attn_txt"]) <= 1e-5

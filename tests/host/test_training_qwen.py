"""The host's Qwen-Image in training: values of the research code, gradients of float64, a run whose result edits."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from comfy import model_management
from PIL import Image
from safetensors.torch import load_file

from .graphs import assert_untouched, relative_error, state
from .qwen_golden import BASE, FOLDER, load_base, recorded, tensors
from .test_encode import HIDDEN, host_clip, host_weights, tiny_qwen
from .test_qwen_image import vae  # noqa: F401 - a fixture

CASES = [
    (index, case) for index, case in enumerate(recorded()["cases"]) if case["kind"] == "forward" and case["adapter"]
]
KEPT = tensors()


@pytest.fixture(scope="module")
def golden_pair(pack):
    """The golden network in float32 and its adapter."""
    network = load_base().get_model_object("diffusion_model").to(torch.float32).requires_grad_(False)
    return copy.deepcopy(network), pack.core("adapters.checkpoint").load_adapter(FOLDER).float()


def inputs_of(pack, index, case, dtype=torch.float32):
    def kept(name):
        where = index if f"case{index}.{name}" in KEPT else case["same_as"]
        return KEPT[f"case{where}.{name}"].to(dtype)

    references = (kept("ref"),) if case["references"] else ()
    sigma, nothing = torch.tensor(case["t"], dtype=dtype), torch.zeros(len(case["t"]), 0)
    inputs = pack.core("train.model").Inputs
    return inputs(kept("noise"), sigma, kept("context"), nothing, tuple(case["task"]), references), kept("out")


def trainable(pack, pair, stream=None, **settings):
    settings = pack.core("comfy_bridge.training.trainable").PassSettings(**settings)
    return pack.core("comfy_bridge.training.qwen_image").TrainableQwenImage(*pair, settings, stream)


@pytest.mark.parametrize(("index", "case"), CASES, ids=lambda item: str(item) if isinstance(item, int) else "")
def test_a_training_pass_computes_what_the_research_code_does(pack, golden_pair, index, case):
    """Rows of a batch with times, texts and tasks of their own among them."""
    model, (inputs, wanted) = trainable(pack, golden_pair), inputs_of(pack, index, case)
    before = state(golden_pair[0])
    with model.session(), torch.no_grad(), model.predicting(inputs) as prediction:
        assert relative_error(prediction.velocity, wanted) <= 1e-5
    assert_untouched(golden_pair[0], before)
    assert not model_management.in_training and "process_img" not in golden_pair[0].__dict__


WATCHED = ("deltas.0.up", "deltas.4.down_gate", "deltas.8.task_gate", "task_table")


def total(model, inputs, direction, watch):
    """A scalar of everything that a loss may use."""
    with model.session(), model.predicting(inputs, watch) as prediction:
        value = (prediction.velocity * direction).sum()
        value = value + sum(item.square().mean() for item in prediction.features)
        if value.requires_grad:
            value.backward()
        return float(value.detach())


@pytest.fixture(scope="module")
def wide(golden_pair):
    network, adapter = (copy.deepcopy(part).double() for part in golden_pair)
    return network, adapter.requires_grad_(True)


@pytest.fixture(scope="module")
def problem(pack):
    inputs, wanted = inputs_of(pack, *CASES[3], dtype=torch.float64)
    direction = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return inputs, direction, pack.core("train.model").Watch(features=True)


@pytest.fixture(scope="module")
def gradients(pack, wide, problem):
    total(trainable(pack, wide, dtype=torch.float64), *problem)
    found = {name: parameter.grad.clone() for name, parameter in wide[1].named_parameters()}
    wide[1].zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize("name", WATCHED)
def test_gradients_agree_with_finite_differences(pack, wide, problem, gradients, name):
    parameter = dict(wide[1].named_parameters())[name]
    step = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 1e-5
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            parameter.add_(sign * step)
            values.append(total(trainable(pack, wide, dtype=torch.float64), *problem))
            parameter.sub_(sign * step)
    wide[1].zero_grad(set_to_none=True)
    expected = float((gradients[name] * 2 * step).sum())
    assert values[0] - values[1] == pytest.approx(expected, rel=1e-5)


def test_checkpointed_gradients_are_the_same(pack, wide, problem, gradients):
    total(trainable(pack, wide, dtype=torch.float64, checkpointing=True), *problem)
    for name, parameter in wide[1].named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-12, atol=1e-14)
    wide[1].zero_grad(set_to_none=True)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_blocks_that_come_from_host_memory_give_the_same(pack, wide, problem, gradients, checkpointing):
    blocks = pack.core("comfy_bridge.training.trainable").blocks_of(wide[0])
    stream = pack.core("train.streaming").BlockStream(blocks, torch.device("cpu"))
    total(trainable(pack, wide, stream, dtype=torch.float64, checkpointing=checkpointing), *problem)
    for name, parameter in wide[1].named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-12, atol=1e-14)
    wide[1].zero_grad(set_to_none=True)


@pytest.fixture(scope="module")
def models(pack):
    """A base whose text is as wide as the tiny language model's states."""
    generator = torch.Generator().manual_seed(3)
    weights = load_file(BASE)
    width = weights["txt_in.weight"].shape[0]
    weights["txt_in.weight"] = torch.randn(width, HIDDEN, generator=generator, dtype=torch.bfloat16) / HIDDEN**0.5
    weights["txt_norm.weight"] = torch.ones(HIDDEN, dtype=torch.bfloat16)
    return load_base(weights, joint_attention_dim=HIDDEN), host_clip(host_weights(tiny_qwen()))


@pytest.fixture
def run(pack, models, vae, tmp_path):  # noqa: F811
    """A run of the trainer on folders of pairs in two sizes."""
    data = tmp_path / "data"
    data.mkdir()
    for index in range(4):
        for side in ("source", "target"):
            pixels = np.random.default_rng(index).integers(0, 255, (48, 48, 3), dtype=np.uint8)
            Image.fromarray(255 - pixels if side == "target" else pixels).save(data / f"{index}_{side}.png")
        (data / f"{index}.txt").write_text(f"Invert picture {index} (all:1.5)")

    def start(**values):
        values = {
            "kind": "x2edit", "output": str(tmp_path / "run"), "steps": 3, "batch": 2, "adapter": {"rank": 2, "experts": 4},
            "model": {"base": "connected", "precision": "float32"},
            "data": {"kind": "folder", "path": str(data), "size": 48}, **values,
        }  # fmt: skip
        config = pack.core("train.config").parse_config(values)
        host = pack.core("comfy_bridge.training.models").HostModels(models[0], models[1], vae)
        parts = pack.core("comfy_bridge.training.setup").assemble(config, models=host)
        return config, parts

    return start


def test_a_runs_adapter_edits_and_reads_back_in_the_released_layout(pack, run, models):
    before = state(models[0].model)
    config, parts = run(sample_every=2, sample_steps=2)
    adapter = parts.weights
    start = {name: tensor.clone() for name, tensor in adapter.state_dict().items()}
    pack.core("train.loop").Trainer(config, parts).run()
    assert any(not torch.equal(tensor, start[name]) for name, tensor in adapter.state_dict().items())
    load = pack.core("adapters.checkpoint").load_adapter
    (result,) = config.folder.rglob("adapter.safetensors")
    own, released = load(result), load(result.parent / "released")
    assert own.spec.family == released.spec.family == "qwen_image"
    for one, other in zip(own.deltas, released.deltas, strict=True):
        assert torch.equal((one.up * one.scale).bfloat16(), (other.up * other.scale).bfloat16())
    assert any("proj_moe_lora" in key for key in load_file(result.parent / "released" / "lora.safetensors"))
    managed = pack.core("comfy_bridge.models").manage(own)
    pack.run("X2EditApply", model=models[0], adapter=managed)
    assert_untouched(models[0].model, before)


def test_texts_are_the_prompts_of_editing_with_the_samples_size(pack, run, models):
    _, parts = run()
    words = pack.core("train.forms").said(
        "named", "edit", "Invert picture 1 (all:1.5)", pack.core("geometry").Size(48, 48)
    )
    learnt, _ = parts.text([words])
    (positive, _) = pack.run("X2EditQwenTextEncode", clip=models[1], instruction="Invert picture 1 (all:1.5)", width=48,
                             height=48)  # fmt: skip
    torch.testing.assert_close(learnt, positive[0][0])
    batch = parts.batches.first()
    assert all("size=48x48 at" in instruction and "(all:1.5)" in instruction for instruction in batch.instructions)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"kind": "icedit"}, "'icedit' is not known for Qwen-Image"),
     ({"model": {"base": "connected", "precision": "float32", "alignnet": "new"}}, "AlignNet makes conditioning for FLUX"),
        ({"data": {"kind": "folder", "path": ".", "size": 48, "drop_text": 0.1}}, "would name no size")],
)  # fmt: skip
def test_what_qwen_image_does_not_have_is_refused_before_anything_is_encoded(pack, run, values, message):
    with pytest.raises(pack.core("errors").X2EditError, match=message):
        run(**values)

"""The host's FLUX.2 in training: a pass is that of inference, gradients are those of float64, a run's result edits."""

from __future__ import annotations

import pytest
import torch
from comfy import model_management

from . import flux2_tiny
from .graphs import assert_untouched, relative_error, state, velocity

CASE = flux2_tiny.case(rows=2)
TASKS = ("style", "color")


@pytest.fixture(scope="module", params=["index", pytest.param(
    "index_timestep_zero", marks=pytest.mark.needs("clean references on FLUX.2"))])  # fmt: skip
def references(request):
    return request.param


def inputs_of(pack, dtype=torch.float32):
    task = pack.core("tasks").Task
    chosen = tuple(task.from_name(name).id for name in TASKS)
    noisy, ref, context = (CASE[name].to(dtype) for name in ("noise", "ref", "context"))
    sigma = torch.full((2,), 0.7, dtype=dtype)
    return pack.core("train.model").Inputs(noisy, sigma, context, torch.zeros(2, 0), chosen, (ref,))


def trainable(pack, network, adapter, **settings):
    settings = pack.core("comfy_bridge.training.trainable").PassSettings(**settings)
    return pack.core("comfy_bridge.training.flux2").TrainableFlux2(network, adapter, settings)


def test_a_training_pass_is_one_of_inference(pack, references):
    base = flux2_tiny.load_base(pack)
    managed = flux2_tiny.load_adapter(pack, f"flux2 {references}", references=references)
    chosen = [pack.run("X2EditTask", task=name)[0] for name in TASKS]
    (batch,) = pack.run("X2EditTaskBatch", **{f"tasks.task{index}": task for index, task in enumerate(chosen)})
    (model,) = pack.run("X2EditApply", model=base, adapter=managed, task=batch)
    positive = pack.core("comfy_bridge.pictures").add_reference([[CASE["context"], {}]], CASE["ref"])
    expected = velocity(model, positive, CASE["noise"], 0.7)
    network = flux2_tiny.network().requires_grad_(False)
    before = state(network)
    learner = trainable(pack, network, managed.adapter)
    with learner.session(), torch.no_grad(), learner.predicting(inputs_of(pack)) as prediction:
        assert relative_error(prediction.velocity, expected) < 1e-5
    assert_untouched(network, before)
    assert not model_management.in_training and "process_img" not in network.__dict__


def total(learner, inputs, direction, watch):
    """A scalar of everything that a loss may use."""
    with learner.session(), learner.predicting(inputs, watch) as prediction:
        value = (prediction.velocity * direction).sum()
        value = value + sum(item.square().mean() for item in prediction.features)
        if value.requires_grad:
            value.backward()
        return float(value.detach())


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_agree_with_finite_differences(pack, references, checkpointing):
    network = flux2_tiny.network().double().requires_grad_(False)
    adapter = flux2_tiny.new_adapter(pack, references=references).double().requires_grad_(True)
    problem = inputs_of(pack, torch.float64), torch.randn(CASE["noise"].shape, dtype=torch.float64), pack.core(
        "train.model").Watch(features=True)  # fmt: skip
    learner = trainable(pack, network, adapter, dtype=torch.float64, checkpointing=checkpointing)
    total(learner, *problem)
    parameters = dict(adapter.named_parameters())
    gradients = {name: parameter.grad.clone() for name, parameter in parameters.items()}
    for name in ("deltas.0.up", "deltas.1.down_gate", "deltas.3.task_gate", "task_table"):
        parameter = parameters[name]
        step = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 1e-6
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(sign * step)
                values.append(total(learner, *problem))
                parameter.sub_(sign * step)
        assert values[0] - values[1] == pytest.approx(float((gradients[name] * 2 * step).sum()), rel=1e-4), name


@pytest.fixture
def run(pack, tmp_path):
    """A run of the trainer on scenes, with a base from a file and the embedded text encoder and autoencoder."""
    from safetensors.torch import save_file

    network = flux2_tiny.network(context=pack.core("miniature.qwen").CONTEXT)
    save_file(network.state_dict(), tmp_path / "base.safetensors")

    def start(**values):
        values = {
            "kind": "x2edit", "output": str(tmp_path / "run"), "steps": 3, "batch": 2,
            "adapter": {"rank": 2, "experts": 4}, "data": {"size": 64, "cases": 16, "workers": 0},
            "model": {"base": str(tmp_path / "base.safetensors"), "precision": "float32"}, **values,
        }  # fmt: skip
        config = pack.core("train.config").parse_config(values)
        return config, pack.core("comfy_bridge.training.setup").assemble(config)

    return start


def test_a_runs_adapter_reads_back_and_edits(pack, run, tmp_path):
    config, parts = run(sample_every=2, sample_steps=2, adapter={"rank": 2, "experts": 4, "references": "index"})
    start = {name: tensor.clone() for name, tensor in parts.weights.state_dict().items()}
    trainer = pack.core("train.loop").Trainer(config, parts)
    assert any("64 × 64" in line for line in trainer.summary())
    trainer.run()
    learnt = parts.weights.state_dict()
    assert any(not torch.equal(tensor, start[name]) for name, tensor in learnt.items())
    (result,) = config.folder.rglob("adapter.safetensors")
    read = pack.core("adapters.checkpoint").load_adapter(result)
    assert read.spec == parts.model.adapter.spec and read.spec.family == "flux2"
    for name, tensor in read.state_dict().items():
        assert torch.equal(tensor.to(learnt[name].dtype), learnt[name])
    assert not (result.parent / "released").exists(), "the research code has no layout for FLUX.2"
    managed = pack.core("comfy_bridge.models").manage(read)
    base = pack.core("comfy_bridge.training.models").load_models(config.model).model
    pack.run("X2EditApply", model=base, adapter=managed)


@pytest.mark.parametrize(("values", "message"), [
    ({"kind": "icedit"}, r"'icedit' is not known for FLUX\.2"),
    ({"model": {"alignnet": "new"}}, r"AlignNet makes conditioning for FLUX\.1; a FLUX\.2"),
])  # fmt: skip
def test_what_flux2_does_not_have_is_refused_before_anything_is_encoded(pack, run, tmp_path, values, message):
    values = {**values, "model": {"base": str(tmp_path / "base.safetensors"), **values.get("model", {})}}
    with pytest.raises(pack.core("errors").X2EditError, match=message):
        run(**values)


def test_references_are_chosen_on_flux2_alone(pack, tmp_path):
    values = {"kind": "x2edit", "output": str(tmp_path), "steps": 1, "model": {"base": "demo:x2edit"},
              "adapter": {"references": "index_timestep_zero"}}  # fmt: skip
    config = pack.core("train.config").parse_config(values)
    with pytest.raises(pack.core("errors").X2EditError, match=r"only on FLUX\.2 can they be chosen, a FLUX\.1"):
        pack.core("comfy_bridge.training.setup").assemble(config)


def test_shorter_texts_are_filled_in_front(pack, tmp_path):
    stored = pack.core("comfy_bridge.training.text").StoredText
    lengths = {"a": 2, "b": 4}
    texts = stored(
        lambda text: (torch.ones(lengths[text], 3), torch.zeros(0)), "x", tmp_path, torch.device("cpu"), True
    )
    context, _ = texts(["a", "b"])
    assert context[:, :, 0].tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]


def test_a_base_of_ones_own_goes_through_the_stock_loader(pack, tmp_path):
    values = {"kind": "base", "output": str(tmp_path / "run"), "steps": 1, "batch": 2, "flux2": {"double": 1},
              "data": {"size": 64, "cases": 4, "workers": 0}, "model": {"precision": "float32"}}  # fmt: skip
    config = pack.core("train.config").parse_config(values)
    parts = pack.core("comfy_bridge.training.setup").assemble(config)
    pack.core("train.loop").Trainer(config, parts).run()
    import comfy.sd

    (file,) = config.folder.rglob("base.safetensors")
    loaded = comfy.sd.load_diffusion_model(str(file))
    shape = pack.core("families").FLUX2.shape_of(loaded.model.diffusion_model)
    assert (shape.hidden, shape.double, shape.single) == (128, 1, 1)


def test_the_embedded_autoencoder_in_patches_gives_pictures_back(pack):
    vae = pack.core("comfy_bridge.miniature").demo_patch_vae()
    rows = torch.linspace(0.1, 0.9, 64)[None, :, None, None]
    pictures = ((rows * torch.tensor([1.0, 0.6, 0.3])).expand(2, 64, 96, 3) * 255).round() / 255
    latent = vae.encode(pictures)
    assert latent.shape == (2, 128, 4, 6)
    assert (vae.decode(latent) - pictures).abs().max() < 0.05
    embedded = pack.core("train.embedded").EmbeddedPatches(pack.core("miniature").AUTOENCODER, torch.device("cpu"))
    inside = embedded.encode((pictures * 255).round().byte())
    torch.testing.assert_close(inside, latent, rtol=0, atol=1e-4)

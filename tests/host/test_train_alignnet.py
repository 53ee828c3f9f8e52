"""AlignNet trained along with an adapter, over a tiny Qwen2.5-VL of the true class: it learns, resumes exactly, and its
file is what the pack's loader takes."""

from __future__ import annotations

from pathlib import Path

import folder_paths
import pytest
import torch

from .test_encode import HIDDEN, LAYERS, host_clip, host_weights, tiny_qwen
from .test_train_script import losses_of

FILE = Path("released") / "diffusion_pytorch_model.bin"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("alignnet-scenes")


@pytest.fixture(scope="module")
def models(pack):
    model, _, vae = pack.core("comfy_bridge.miniature").load_demo_models("x2edit")
    return pack.core("comfy_bridge.training.models").HostModels(model, host_clip(host_weights(tiny_qwen())), vae)


def train(pack, models, folder, cache, steps=2, kind="x2edit", **model):
    values = {
        "kind": kind, "output": str(folder), "steps": steps, "batch": 2, "save_every": 100,
        "model": {"base": "connected", "precision": "float32", "alignnet": "new", "train_alignnet": True, **model},
        "adapter": {"experts": 3, "rank": 2}, "optim": {"rate": 0.01, "ema": 0.5},
        "data": {"cache": str(cache), "cases": 6, "pictures": 2, "size": 32, "workers": 0},
    }  # fmt: skip
    config = pack.core("train.config").parse_config(values)
    parts = pack.core("comfy_bridge.training.setup").assemble(config, models=models)
    trainer = pack.core("train.loop").Trainer(config, parts)
    trainer.run()
    return parts


def alignnet_in(folder):
    return torch.load(folder / FILE, weights_only=True)


@pytest.fixture(scope="module")
def trained(pack, models, cache, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    return folder, train(pack, models, folder, cache)


def test_every_weight_learns(pack, models, trained):
    folder, _ = trained
    expected = pack.core("train.aligned").alignnet_for("new", LAYERS + 1, HIDDEN, *widths_of(models), 0).state_dict()
    after = alignnet_in(folder)
    assert list(after) == list(expected), "the released file's keys"
    assert all(not torch.equal(after[name], value) for name, value in expected.items())


def widths_of(models):
    params = models.model.model.diffusion_model.params
    return params.context_in_dim, params.vec_in_dim


def test_a_run_in_two_pieces_is_the_run_in_one(pack, models, cache, trained, tmp_path):
    whole, _ = trained
    for steps in (1, 2):
        train(pack, models, tmp_path, cache, steps=steps)
    assert losses_of(tmp_path) == losses_of(whole)
    one, other = alignnet_in(whole), alignnet_in(tmp_path)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_packs_loader_takes_the_file_and_reads_texts_as_training_did(pack, models, trained):
    folder, parts = trained
    place = Path(folder_paths.get_folder_paths("x2edit")[0]) / "trained_along"
    place.mkdir(parents=True)
    (place / FILE.name).write_bytes((folder / FILE).read_bytes())
    (alignnet,) = pack.run("X2EditAlignNetLoader", file="trained_along")
    ((context, rest),) = pack.run(
        "X2EditTextEncode", clip=models.clip, alignnet=alignnet, instruction="Add rain", prompt_form="train"
    )[0]
    parts.text.net.load_state_dict(alignnet_in(folder))
    with torch.no_grad():
        expected, pooled = parts.text(["Add rain", "Remove it", "Add rain"])
    torch.testing.assert_close(context[0], expected[2])
    torch.testing.assert_close(rest["pooled_output"][0], pooled[0])
    assert not torch.allclose(expected[0], expected[1])


def test_the_node_publishes_both_files(pack, trained, tmp_path):
    folder, _ = trained
    shelf = pack.core("comfy_bridge.publishing").Shelf
    wanted = tmp_path / "mine.safetensors"
    assert shelf(folder, wanted, True).publish() == wanted
    assert pack.core("adapters.checkpoint").load_adapter(wanted).task_aware
    found = pack.core("alignnet").load_alignnet(tmp_path / "mine_alignnet.bin").state_dict()
    assert all(torch.equal(found[name], weight) for name, weight in alignnet_in(folder).items())
    assert shelf(folder, wanted, True).publish() == wanted, "both are the run's own"
    (tmp_path / "mine_alignnet.bin").write_bytes(b"somebody else's")
    other = shelf(folder, wanted, True)
    assert other.publish() == tmp_path / "mine_2.safetensors" and "mine_2" in other.told
    assert (tmp_path / "mine_alignnet.bin").read_bytes() == b"somebody else's"
    assert (tmp_path / "mine_2_alignnet.bin").exists()


def test_an_alignnet_that_stays_gives_the_same_texts_from_files(pack, models, cache, trained, tmp_path):
    """The second stage of X2Edit's recipe: its first loss is that of a run which would train the same AlignNet."""
    folder, _ = trained
    file = str(folder / FILE)
    for name, learns in (("stays", False), ("learns", True)):
        train(pack, models, tmp_path / name, cache, steps=1, kind="moe", alignnet=file, train_alignnet=learns)
    one, other = (float(losses_of(tmp_path / name)[0][1]) for name in ("stays", "learns"))
    assert one == pytest.approx(other, rel=1e-5)
    assert list((cache / "text").rglob("*.safetensors"))
    assert not (tmp_path / "stays" / FILE).exists()


def test_an_alignnet_of_another_model_is_refused(pack, models, cache, tmp_path):
    net = pack.core("alignnet").AlignNet(LAYERS, HIDDEN, 24, 10)
    pack.core("alignnet").save_alignnet(net, tmp_path / "other.bin")
    with pytest.raises(pack.core("errors").ModelMismatchError, match="of 3 states"):
        train(pack, models, tmp_path / "run", cache, alignnet=str(tmp_path / "other.bin"))

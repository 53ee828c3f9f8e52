"""X2Edit Score's CLIP and DINO in the host's memory: read once, kept between runs, and let go when the host is asked to."""

from __future__ import annotations

import gc
import os
import types
import weakref

import execution
import pytest
import torch
from comfy import model_management

transformers = pytest.importorskip("transformers")

NAME = "clip_vision/tiny-dino"
SIZE = 28


def save_dino(folder, seed=0):
    torch.manual_seed(seed)
    config = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=SIZE, patch_size=14
    )
    transformers.Dinov2Model(config).save_pretrained(folder)
    size = {"height": SIZE, "width": SIZE}
    transformers.BitImageProcessor(size={"shortest_edge": SIZE}, crop_size=size).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(pack):
    return save_dino(pack.base / "models" / "clip_vision" / "tiny-dino")


@pytest.fixture
def encoders(pack, folder):
    found = pack.core("comfy_bridge.encoders")
    yield found
    found._kept.clear()


@pytest.fixture
def reads(monkeypatch):
    """How often weights are read from a folder, counted at transformers' own function."""
    count, read = [], transformers.AutoModel.from_pretrained

    def counted(*args, **kwargs):
        count.append(args[0])
        return read(*args, **kwargs)

    monkeypatch.setattr(transformers.AutoModel, "from_pretrained", counted)
    return count


def pictures():
    generator = torch.Generator().manual_seed(1)
    return torch.rand(1, SIZE, SIZE, 3, generator=generator), torch.rand(1, SIZE, SIZE, 3, generator=generator)


def score(pack):
    source, image = pictures()
    return pack.run("X2EditScore", source=source, image=image, instruction="", metric="dino_source", encoder=NAME)[0]


def module_of(encoders, folder):
    return encoders._kept[folder][1]._model()[0]


def test_a_second_run_reads_nothing(pack, encoders, folder, reads):
    features = pack.core("chat.features").FolderFeatures(folder)
    vectors = [features.of_pictures([picture[0]])[0] for picture in pictures()]
    expected = float(torch.nn.functional.cosine_similarity(*vectors, dim=0))
    reads.clear()
    assert [score(pack) for _ in range(3)] == [pytest.approx(expected, abs=1e-5)] * 3
    assert len(reads) == 1
    loaded = [entry.model.model for entry in model_management.current_loaded_models]
    module = module_of(encoders, folder)
    assert any(getattr(holder, "model", None) is module for holder in loaded), "the host counts it"


def test_what_the_host_unloads_between_prompts_is_gone(pack, encoders, folder, reads):
    before = score(pack)
    module = weakref.ref(module_of(encoders, folder))
    model_management.unload_all_models()
    gc.collect()
    assert module() is None
    assert score(pack) == before and len(reads) == 2


def test_what_makes_room_within_a_prompt_comes_back_unread(pack, encoders, folder, reads, monkeypatch):
    """As another model's nodes do; the host's own queue says that a prompt is running."""
    queue = execution.PromptQueue(types.SimpleNamespace(queue_updated=lambda: None))
    queue.put((0, "id", {}, {}, [], {}))
    _, number = queue.get()
    monkeypatch.setattr(encoders, "server", lambda: types.SimpleNamespace(prompt_queue=queue))
    before = score(pack)
    model_management.unload_all_models()
    assert score(pack) == before and len(reads) == 1
    queue.task_done(number, {}, None)
    model_management.unload_all_models()
    assert score(pack) == before and len(reads) == 2


def test_another_encoder_in_the_folder_is_read(pack, encoders, folder, reads):
    before = score(pack)
    try:
        save_dino(folder, seed=1)
        assert score(pack) != pytest.approx(before, abs=1e-4) and len(reads) == 2
    finally:
        save_dino(folder)
    assert score(pack) == before
    path = next(folder.glob("*.safetensors"))
    os.utime(path, ns=(1, 1))
    score(pack)
    assert len(reads) == 4


def test_without_room_it_works_on_the_cpu_and_is_not_kept(pack, encoders, folder, reads, monkeypatch):
    before = score(pack)
    encoders._kept.clear()
    monkeypatch.setattr(model_management, "get_total_memory", lambda *_: 100)
    count = len(model_management.current_loaded_models)
    assert [score(pack), score(pack)] == [before] * 2 and len(reads) == 3
    assert not encoders._kept
    assert len(model_management.current_loaded_models) <= count


def test_free_lets_it_go_over_http(server, tmp_path):
    from PIL import Image

    save_dino(server.base / "models" / "clip_vision" / "tiny-dino")
    Image.new("RGB", (SIZE, SIZE), (200, 30, 10)).save(tmp_path / "flat.png")
    name = server.upload_image(tmp_path / "flat.png")

    def run(words):
        inputs = {"source": ["load", 0], "image": ["load", 0], "instruction": words, "encoder": NAME}
        server.run(
            {
                "load": {"class_type": "LoadImage", "inputs": {"image": name}},
                "score": {"class_type": "X2EditScore", "inputs": {**inputs, "metric": "dino_source"}},
            }
        )
        return server.log.count("Loading tiny-dino")

    assert [run("one"), run("two")] == [1, 1]
    server.free()
    assert run("three") == 2

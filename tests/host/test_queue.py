"""What a queue does to the models it runs on: interrupts anywhere, graphs in turn, two servers on one folder of models."""

from __future__ import annotations

import gc
import os
import random
import sys

import comfy.model_management
import psutil
import pytest
import torch
from devkit.host import Host
from devkit.running import Running, wait_for
from devkit.server import Server

from x2edit_core.workflow.client import PromptInterrupted

from .graphs import assert_untouched, state
from .runs import edit_graph, saved_picture

SECOND = "second.safetensors"
FEW = 6
MANY = pytest.param(200, marks=[pytest.mark.full, pytest.mark.timeout(3600)])


def second_adapter(pack, folder):
    """The embedded adapter with its experts in another order: the same size, another edit."""
    checkpoint = pack.core("adapters.checkpoint")
    adapter = checkpoint.load_adapter(pack.core("miniature").EMBEDDED["embedded: x2edit"])
    with torch.no_grad():
        for delta in adapter.deltas:
            delta.up.mul_(-3.0)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.save_adapter(adapter, folder / SECOND)


@pytest.fixture(scope="module")
def two_adapters(server, pack):
    second_adapter(pack, server.base / "models" / "x2edit")
    return "embedded: x2edit", SECOND


def finished(server, prompt_id):
    record = wait_for(lambda: server.history(prompt_id))
    assert record["status"]["status_str"] == "success"
    (image,) = record["outputs"]["save"]["images"]
    return server.view(image)


def pixels(png):
    import io

    from PIL import Image

    return Image.open(io.BytesIO(png)).tobytes()


def test_prompts_with_different_adapters_in_one_queue_are_their_own_single_runs(server, two_adapters):
    single = []
    for adapter in two_adapters:
        server.free()
        single.append(saved_picture(server.run(edit_graph(adapter))))
    assert single[0] != single[1]
    server.free()
    order = [0, 1, 1, 0, 1]
    queued = [server.queue(edit_graph(two_adapters[which], seed=1)) for which in order]
    assert [pixels(finished(server, prompt)) for prompt in queued] == [single[which] for which in order]


def test_two_servers_on_one_folder_of_models(server, two_adapters, tmp_path):
    """The second one's folder is a link to the first one's, as people share models."""
    (tmp_path / "models").mkdir()
    try:
        (tmp_path / "models" / "x2edit").symlink_to(server.base / "models" / "x2edit", target_is_directory=True)
    except OSError:
        pytest.skip("this system makes no links for this user")
    expected = [saved_picture(server.run(edit_graph(adapter))) for adapter in two_adapters]
    with Server(Host(os.environ["COMFYUI_PATH"], sys.executable, ""), base=tmp_path) as other:
        for steps in (3, 4):
            runs = [
                Running(running, edit_graph(adapter, steps=steps))
                for adapter in two_adapters
                for running in (server, other)
            ]
            for run in runs:
                run.join(600)
            assert [run.error for run in runs] == [None] * 4
            found = [saved_picture(run.result) for run in runs]
            assert found[0] == found[1] and found[2] == found[3]
            if steps == 3:
                assert found[::2] == expected


class Depth:
    """Interrupts the host within the `call`-th use of one module."""

    def __init__(self, module, call):
        self._left, self._handle = call, module.register_forward_pre_hook(self._count)

    def _count(self, *_):
        self._left -= 1
        if self._left == 0:
            comfy.model_management.interrupt_current_processing()
            comfy.model_management.throw_exception_if_processing_interrupted()

    def remove(self):
        self._handle.remove()


def tensors_alive():
    gc.collect()
    return sum(isinstance(item, torch.Tensor) for item in gc.get_objects())


@pytest.fixture
def edit(pack):
    """The bare base, and a function that samples an edit on it."""
    model, clip, vae = pack.run("X2EditDemoModels", base="x2edit")
    (text,) = pack.run("CLIPTextEncode", clip=clip, text="make it red")
    source = torch.full((1, 64, 64, 3), 0.4)
    positive, latent, _ = pack.run("X2EditReference", conditioning=text, vae=vae, image=source, size="keep")
    (adapter,) = pack.run("X2EditAdapterLoader", adapter_name="embedded: x2edit")
    (task,) = pack.run("X2EditTask", task="color")
    (applied,) = pack.run("X2EditApply", model=model, adapter=adapter, task=task)
    settings = {"seed": 1, "steps": 3, "cfg": 2.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}

    def sample(sampled=applied):
        (result,) = pack.run(
            "KSampler", model=sampled, positive=positive, negative=text, latent_image=latent, **settings
        )
        return result["samples"]

    return model, sample


@pytest.mark.parametrize("count", [FEW, MANY])
def test_interrupts_at_any_depth_leave_the_base_and_the_memory_as_they_were(edit, count):
    """In this process, where every weight, every forward and every live tensor can be looked at."""
    base, sample = edit
    diffusion = base.model.diffusion_model
    alone, edited = sample(base), sample()
    before = state(base.model)
    modules = [module for module in diffusion.modules() if not isinstance(module, torch.nn.ModuleList)]
    draw, hit, alive = random.Random(0), 0, None
    while hit < count:
        depth = Depth(draw.choice(modules), draw.randrange(1, 7))
        try:
            sample()
        except comfy.model_management.InterruptProcessingException:
            hit += 1
        finally:
            depth.remove()
        if hit == 2 and alive is None:
            alive = tensors_alive()
    assert tensors_alive() <= alive
    assert_untouched(base.model, before)
    assert torch.equal(sample(base), alone) and torch.equal(sample(), edited)


@pytest.mark.parametrize("count", [FEW, MANY])
def test_a_queue_interrupted_at_random_goes_on_as_before(server, count, record_property):
    """Over HTTP: the bare base and the edit give the same pixels before and after, and the server does not grow."""
    alone, edited = (saved_picture(server.run(edit_graph(adapter))) for adapter in (None, "embedded: x2edit"))
    process, draw, sizes = psutil.Process(server.pid), random.Random(0), []
    for number in range(count):
        steps_left = draw.randrange(1, 12)

        def interrupt(progress, left=[steps_left]):  # noqa: B006
            left[0] -= progress.node_id == "sampler" and progress.total > 0
            if left[0] == 0:
                server.interrupt()

        with pytest.raises(PromptInterrupted):
            server.run(edit_graph(seed=100 + number, steps=5000), interrupt)
        sizes.append(process.memory_info().rss)
    record_property("server_mib", [size >> 20 for size in sizes])
    if count > FEW:
        # A copy of the adapter or of the base that stays behind each time would be gibibytes by now.
        assert max(sizes[count // 2 :]) <= max(sizes[: count // 2]) + (count // 2 << 18), [size >> 20 for size in sizes]
    assert saved_picture(server.run(edit_graph(None, seed=1))) == alone
    server.free()
    assert saved_picture(server.run(edit_graph(None))) == alone
    assert saved_picture(server.run(edit_graph())) == edited

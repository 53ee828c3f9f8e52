"""The table of memory against runs of the real modules: what autograd keeps, and what was allocated at once."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import save_file

from .test_train_script import config_text, losses_of, run_script


@pytest.fixture(scope="module")
def memory(pack):
    return pack.core("comfy_bridge.training.memory")


def config_of(pack, kind="x2edit", **changes):
    values = {"kind": kind, "output": "run", "steps": 1, "model": {"base": "x", "precision": "float32"},
              "adapter": {"experts": 3, "rank": 4}}  # fmt: skip
    for name, value in changes.items():
        table, _, key = name.rpartition("__")
        (values.setdefault(table, {}) if table else values)[key] = value
    return pack.core("train.config").parse_config(values)


def base_for(pack, family, depth):
    """A small base of a depth that the table never runs."""
    bases, config = pack.core("comfy_bridge.training.bases"), pack.core("train.config")
    if family == "flux":
        made = bases.new_flux(config.FluxConfig(128, *depth, context=48, pooled=32), 0)
    else:
        made = bases.new_qwen(config.QwenConfig(blocks=depth[0], hidden=64), 0)
    return made.requires_grad_(False)


def real_pass(pack, config, network, work):
    """A trainable on a CPU with an adapter of its own, and one batch of the same work."""
    families, adapters = pack.core("families"), pack.core("train.adapters")
    family = families.family_of(network)
    spec = adapters.spec_for(config.kind, config.adapter, family.shape_of(network), family)
    adapter = adapters.new_adapter(spec, config.kind == "x2edit", 0)
    if config.optim.state == "bfloat16":
        adapter.to(torch.bfloat16)
    module = "flux" if family is families.FLUX1 else "qwen_image"
    make = getattr(
        pack.core(f"comfy_bridge.training.{module}"), "TrainableFlux" if module == "flux" else "TrainableQwenImage"
    )
    settings = pack.core("comfy_bridge.training.trainable").PassSettings(
        checkpointing=config.model.gradient_checkpointing is True
    )
    empty = pack.core("comfy_bridge.training.hollow").hollow(network)
    shapes = pack.core("comfy_bridge.training.memory").Counting(config, empty, work)._inputs()
    made = {
        name: torch.rand_like(value, device="cpu")
        for name, value in vars(shapes).items()
        if isinstance(value, torch.Tensor)
    }
    references = tuple(torch.rand_like(item, device="cpu") for item in shapes.references)
    inputs = pack.core("train.model").Inputs(**made, tasks=shapes.tasks, references=references)
    return make(network, adapter, settings), inputs, adapter


def allocated_at_once(call):
    """Bytes that torch's profiler saw allocated at once above what there was before."""
    with torch.profiler.profile(profile_memory=True, record_shapes=False) as profiler:
        call()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    level, most = 0, 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        level += event.nbytes()
        most = max(most, level)
    return most


CASES = [
    ("flux", (4, 5), 96, 2, True),
    ("flux", (3, 6), 64, 3, False),
    ("qwen", (5,), 96, 2, True),
    ("qwen", (4,), 64, 3, False),
]


@pytest.mark.parametrize(("family", "depth", "pixels", "rows", "checkpointing"), CASES)
def test_the_table_says_what_a_real_pass_allocates(pack, memory, family, depth, pixels, rows, checkpointing):
    """Depths, sizes and batches other than are counted; the profiler knows nothing of the table."""
    config = config_of(pack, model__gradient_checkpointing=checkpointing)
    network = base_for(pack, family, depth)
    work = memory.Work(rows, pixels, pixels, 24)
    counted = memory.Counting.of(config, network, work).footprint()
    model, inputs, adapter = real_pass(pack, config, network, work)

    def step():
        with model.session(), model.predicting(inputs, pack.core("train.model").Watch(gates=True)) as prediction:
            prediction.velocity.square().mean().backward()

    step()
    adapter.zero_grad(set_to_none=True)
    measured = allocated_at_once(step)
    assert counted.held.total == pytest.approx(measured, rel=0.05)
    assert counted.base == sum(weight.nbytes for weight in network.parameters())
    assert counted.trained == sum(weight.nbytes for weight in adapter.parameters())
    assert counted.optimiser == pytest.approx(2 * counted.trained, rel=0.01)


@pytest.mark.parametrize(("family", "depth"), [("flux", (3, 5)), ("qwen", (4,))])
def test_what_is_kept_is_what_autograd_is_given_to_keep(pack, memory, family, depth):
    config = config_of(pack, model__gradient_checkpointing=False)
    network = base_for(pack, family, depth)
    work = memory.Work(2, 80, 80, 24)
    model, inputs, adapter = real_pass(pack, config, network, work)
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with model.session(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        opened = model.predicting(inputs)
        prediction = opened.__enter__()
        weights = [*network.parameters(), *adapter.parameters()]
        held = [tensor.untyped_storage().data_ptr() for tensor in weights]
        opened.__exit__(None, None, None)
    del prediction
    total = sum(size for address, size in kept.items() if address not in held)
    assert memory.Counting.of(config, network, work).footprint().held.kept == pytest.approx(total, rel=0.1)


def at_once(pack, memory, network, work, **changes):
    return memory.Counting.of(config_of(pack, **changes), network, work).footprint()


def test_each_switch_saves_what_it_is_for(pack, memory):
    network = base_for(pack, "flux", (3, 6))
    work = memory.Work(2, 128, 128, 24)
    plain = at_once(pack, memory, network, work, model__gradient_checkpointing=False)
    checkpointed = at_once(pack, memory, network, work, model__gradient_checkpointing=True)
    away = at_once(pack, memory, network, work, model__gradient_checkpointing=True, model__offload_checkpoints=True)
    assert plain.held.kept > 3 * checkpointed.held.kept > 0 and away.held.kept < 0.5 * checkpointed.held.kept
    offloaded = at_once(pack, memory, network, work, model__offload=True)
    blocks = pack.core("comfy_bridge.training.trainable").blocks_of(network)
    sizes = sorted(sum(weight.nbytes for weight in block.parameters()) for block in blocks)
    assert plain.base - offloaded.base == sum(sizes[:-2]) and offloaded.elsewhere == sum(sizes)
    fused = at_once(pack, memory, network, work, optim__fused_backward=True, optim__clip=0.0)
    assert fused.held.gradients < 0.5 * plain.trained
    several = at_once(pack, memory, network, work, accumulate=2)
    assert several.held.gradients >= several.trained
    averaged = at_once(pack, memory, network, work, optim__ema=0.9)
    assert averaged.average == averaged.trained


def test_few_bits_are_counted_as_they_are_held(pack, memory):
    pytest.importorskip("torchao")
    hollow, network = pack.core("comfy_bridge.training.hollow"), base_for(pack, "flux", (2, 2)).to(torch.bfloat16)
    whole = hollow.base_bytes(network, False)[0]
    for kind, share in (("fp8", 0.5), ("int8", 0.52), ("nf4", 0.3)):
        real = hollow.pack_blocks(network, kind, torch.bfloat16, torch.device("cpu"))
        empty = hollow.pack_blocks(hollow.hollow(network), kind, torch.bfloat16, torch.device("meta"))
        found = hollow.base_bytes(real, False)[0]
        assert found == hollow.base_bytes(empty, False)[0]
        # A hollow copy has NF4's table of sixteen levels once, its layers each have one.
        assert hollow.base_bytes(hollow.hollow(real), False)[0] == pytest.approx(found, rel=0.005)
        assert found < (share + 0.12) * whole, "what stands outside of the blocks is whole"


def test_a_base_that_keeps_whole_copies_for_backward_is_told(pack, memory):
    """As the host's own product in 8-bit floats does, where the leaner one cannot stand in."""
    network = base_for(pack, "flux", (2, 4)).to(torch.bfloat16)
    linears = [module for module in network.modules() if isinstance(module, torch.nn.Linear)]
    config = config_of(pack, model__gradient_checkpointing=False, model__precision="bfloat16")
    network = pack.core("comfy_bridge.training.hollow").pack_blocks(network, "fp8", torch.bfloat16, torch.device("cpu"))
    linears = [module for module in network.modules() if isinstance(module, torch.nn.Linear)]
    work = memory.Work(1, 64, 64, 24)
    assert not memory.Counting.of(config, network, work).footprint().held.copies
    for linear in linears:
        linear.comfy_cast_weights = True
        linear.scale_weight = None  # as a scaled file has it: the host's own forward
    plan = memory.planned(config, network, work)
    layers = sum(2 * linear.weight.numel() for linear in linears if linear.weight.dtype == torch.float8_e4m3fn)
    # What leads to no weight that is trained needs no copy: the first block's way in, and its text.
    assert 0.5 * layers < plan.needed.held.copies < layers
    assert any("keeps whole copies of its layers" in line for line in plan.lines())


def header_file(folder, **changes):
    """A FLUX file of the released one's proportions in small, whose tensors are never read."""
    import comfy.ldm.flux.model
    import comfy.ops

    sizes = {"in_channels": 16, "out_channels": 16, "vec_in_dim": 768, "context_in_dim": 4096, "hidden_size": 256,
             "mlp_ratio": 4.0, "num_heads": 2, "depth": 2, "depth_single_blocks": 3, "axes_dim": [16, 56, 56],
             "theta": 10000, "patch_size": 2, "qkv_bias": True, "guidance_embed": True, "txt_ids_dims": []}  # fmt: skip
    flux = comfy.ldm.flux.model.Flux(
        **sizes, dtype=torch.bfloat16, device="cpu", operations=comfy.ops.disable_weight_init
    )
    path = folder / "flux.safetensors"
    save_file({name: torch.zeros_like(tensor) for name, tensor in flux.state_dict().items()}, path)
    return path, sum(math.prod(tensor.shape) for tensor in flux.state_dict().values())


@pytest.mark.parametrize("weights", ["default", "fp8", "int8"])
def test_a_dry_run_reads_no_weights_and_shows_the_table(pack, tmp_path, cache, caplog, weights):
    if weights == "int8":
        pytest.importorskip("torchao")
    caplog.set_level("INFO")
    path, parameters = header_file(tmp_path)
    changes = {"model__base": str(path), "model__weights": weights, "model__precision": "bfloat16", "data__size": 512}
    text = config_text(tmp_path / "run", cache, "x2edit", **changes)
    assert run_script(pack, tmp_path, text, "--dry-run") == 0
    (line,) = [line for line in caplog.text.splitlines() if "memory for 4 samples of 512 × 512" in line]
    assert "at its fullest in" in line and "most would be saved by" in caplog.text
    base = next(float(line.split()[0]) for line in caplog.text.splitlines() if line.endswith("  base"))
    assert base == pytest.approx(parameters * {"default": 2, "fp8": 1, "int8": 1.2}[weights] / (1 << 20), rel=0.12)
    assert not (tmp_path / "run").exists()


def test_a_dry_run_on_a_file_that_says_nothing_says_so(pack, tmp_path, cache, caplog):
    caplog.set_level("INFO")
    text = config_text(tmp_path / "run", cache, "x2edit", model__base=str(tmp_path / "none.safetensors"))
    assert run_script(pack, tmp_path, text, "--dry-run") == 0
    assert "memory: not counted" in caplog.text and "does not exist" in caplog.text


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("memory-scenes")


@pytest.fixture(scope="module")
def plain(pack, cache, tmp_path_factory):
    """Losses of the run that no switch is on in."""
    folder = tmp_path_factory.mktemp("plain")
    assert run_script(pack, folder, config_text(folder, cache, "x2edit", optim__clip=0.0)) == 0
    return losses_of(folder)


SAME = 1e-5
"""Products on a CPU depend on where a matrix lies in memory: the same run differs by 3e-7 after four steps."""


def numbers(losses):
    return [float(loss) for _, loss in losses]


EXACT = {
    "fused": {"optim__fused_backward": True},
    "away": {"model__gradient_checkpointing": True, "model__offload_checkpoints": True},
    "offload": {"model__offload": True},
    "auto": {"model__gradient_checkpointing": "auto"},
}


@pytest.mark.parametrize("name", EXACT)
def test_switches_that_save_memory_change_no_loss(pack, plain, cache, tmp_path, caplog, name):
    caplog.set_level("INFO")
    text = config_text(tmp_path, cache, "x2edit", optim__clip=0.0, **EXACT[name])
    assert run_script(pack, tmp_path, text) == 0
    assert numbers(losses_of(tmp_path)) == pytest.approx(numbers(plain), rel=SAME)
    assert "memory for 4 samples of 32 × 32 pixels" in caplog.text


NEAR = {
    "int8": {"model__weights": "int8"},
    "nf4": {"model__weights": "nf4"},
    "moments": {"optim__moments": "8bit"},
    "all": {"model__weights": "int8", "optim__moments": "8bit", "optim__fused_backward": True,
            "model__gradient_checkpointing": True},
}  # fmt: skip


@pytest.mark.parametrize("name", NEAR)
def test_few_bits_learn_nearly_alike(pack, plain, cache, tmp_path, name):
    pytest.importorskip("torchao")
    assert run_script(pack, tmp_path, config_text(tmp_path, cache, "x2edit", optim__clip=0.0, **NEAR[name])) == 0
    assert numbers(losses_of(tmp_path)) == pytest.approx(numbers(plain), rel=0.2 if name == "nf4" else 0.06)


def test_a_run_with_every_switch_in_two_pieces_is_the_run_in_one(pack, cache, tmp_path):
    pytest.importorskip("torchao")
    changes = {**NEAR["all"], "optim__clip": 0.0, "optim__state": "bfloat16"}
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    assert run_script(pack, whole, config_text(whole, cache, "x2edit", steps=4, **changes)) == 0
    for steps in (2, 4):
        assert run_script(pack, pieces, config_text(pieces, cache, "x2edit", steps=steps, **changes)) == 0
    assert losses_of(pieces) == losses_of(whole)
    load = pack.core("adapters.checkpoint").load_adapter
    one, other = (load(folder / "adapter.safetensors").state_dict() for folder in (whole, pieces))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_waits_in_host_memory_comes_back_as_it_was(pack, monkeypatch):
    """On a CPU, where nothing needs to move, all of it is moved."""
    module = pack.core("comfy_bridge.training.checkpointing")
    moved = []
    monkeypatch.setattr(
        module, "_to_host", lambda tensor: (moved.append(tensor.shape), module._Away(tensor.detach()))[1]
    )
    torch.manual_seed(0)
    layer = torch.nn.Linear(48, 48)
    results = []
    for in_host in (False, True):
        x = torch.randn(64, 48, generator=torch.Generator().manual_seed(1)).requires_grad_()
        module.checkpointed(
            lambda x, y, note: torch.tanh(layer(x)) * y, {"x": x, "y": x * 2, "note": "n"}, in_host
        ).sum().backward()
        results.append((x.grad, layer.weight.grad.clone()))
        layer.zero_grad()
    assert moved.count(x.shape) == 2
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))


def test_8_bit_floats_and_offloading_go_together_with_and_without_checkpoints(pack, cache, tmp_path):
    """Products, whether blocks visit the device and what is kept change no loss."""
    load = pack.core("comfy_bridge.miniature").load_demo_models
    network = load("x2edit")[0].model.diffusion_model
    path = tmp_path / "base.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)
    runs = []
    for number, (offload, checkpointing) in enumerate([(False, False), (True, False), (True, True)]):
        folder = tmp_path / str(number)
        changes = {"model__base": str(path), "model__weights": "fp8", "model__offload": offload,
                   "model__gradient_checkpointing": checkpointing}  # fmt: skip
        assert run_script(pack, folder, config_text(folder, cache, "x2edit", **changes)) == 0
        runs.append(losses_of(folder))
    assert all(numbers(run) == pytest.approx(numbers(runs[0]), rel=SAME) for run in runs)


def test_a_base_that_cannot_be_counted_is_told_and_trains(pack, memory):
    def fails():
        raise KeyError("a host of another kind")

    (line,) = memory.lines_of(fails)
    assert "cannot be counted (KeyError" in line

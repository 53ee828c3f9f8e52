"""ICEdit's adapters on the host's FLUX Fill: the research code's own numbers, and nothing left behind."""

from __future__ import annotations

import copy

import comfy.lora
import comfy.model_management
import comfy.patcher_extension
import comfy.sd
import folder_paths
import pytest
import torch
from safetensors.torch import load_file, save_file

from . import golden_embedding, wrong_ports
from .graphs import (
    GOLDEN,
    GOLDEN_FILL,
    GOLDEN_FLUX,
    GOLDEN_MOE,
    fill_conditioning,
    golden_cases,
    relative_error,
    state,
    velocity,
)

CASES = golden_cases("icedit_moe")
CASE = CASES[1]
BOUND = 1e-5
WATCH = comfy.patcher_extension.WrappersMP.SAMPLER_SAMPLE
"""Where the finished result is looked at for what is no number."""


def load(path, **options):
    """A model as the loader node makes it."""
    with torch.inference_mode():
        return comfy.sd.load_diffusion_model_state_dict(load_file(path), model_options=options)


@pytest.fixture(scope="module")
def text_to_image(pack):
    return load(GOLDEN_FLUX)


@pytest.fixture(scope="module")
def x2edit_adapter(pack):
    return pack.core("comfy_bridge.models").load_managed(GOLDEN / "x2edit")


@pytest.fixture(scope="module")
def golden_base(pack):
    """The golden FLUX Fill through the standard loader node, which recognises diffusers names."""
    folder_paths.add_model_folder_path("diffusion_models", str(GOLDEN_FILL.parent))
    return pack.run("UNETLoader", unet_name=GOLDEN_FILL.name, weight_dtype="default")[0]


@pytest.fixture(scope="module")
def adapter_file(pack):
    return GOLDEN_MOE


@pytest.fixture(scope="module")
def adapter(pack, adapter_file):
    return pack.core("comfy_bridge.models").load_managed(adapter_file)


@pytest.fixture(scope="module")
def plain_file(adapter_file, tmp_path_factory):
    """The plain layout: as the golden file, with its first expert in the place of the experts."""
    tensors = {
        key.replace(".expert_0", ""): tensor
        for key, tensor in load_file(adapter_file).items()
        if "lora_route" not in key and ("expert" not in key or ".expert_0" in key)
    }
    path = tmp_path_factory.mktemp("plain") / "pytorch_lora_weights.safetensors"
    save_file(tensors, path)
    return path


@pytest.fixture(scope="module")
def plain(pack, plain_file):
    return pack.core("comfy_bridge.models").load_managed(plain_file)


def run(model, case=CASE):
    return velocity(model, fill_conditioning(model, case), case["tensors"]["noise"], case["t"])


def apply(pack, model, adapter, **inputs):
    return pack.run("X2EditApply", model=model, adapter=adapter, **inputs)[0]


@pytest.mark.parametrize("case", CASES, ids=["one", "batch"])
def test_routed_adapter_matches_the_research_code(pack, golden_base, adapter, case, recorded):
    assert relative_error(run(apply(pack, golden_base, adapter), case), case["tensors"]["out"]) <= BOUND
    assert relative_error(run(golden_base, case), case["tensors"]["out"]) > 1e-3, "the case tells it from the base"


def test_an_embedding_off_by_a_thousandth_would_matter_and_is_not_met(pack, golden_base, adapter, monkeypatch):
    """The last bit of the host's own frequencies decides by processor whether the bound holds; the recorded ones do not."""
    model, far = apply(pack, golden_base, adapter), []
    guidance = torch.tensor([CASE["guidance"]])
    other = golden_embedding.other_processor(guidance) - golden_embedding.embedding(guidance)
    assert float(other.abs().max()) >= 1e-3
    for case in CASES:
        golden_embedding.feed(monkeypatch, golden_embedding.other_processor)
        far.append(relative_error(run(model, case), case["tensors"]["out"]))
        golden_embedding.feed(monkeypatch)
        assert relative_error(run(model, case), case["tensors"]["out"]) <= BOUND
    assert max(far) > BOUND, "the host's own embedding, rounded otherwise"


WRONG_CASES = {
    "shift": lambda case: {**case, "t": wrong_ports.shifted(case["t"])},
    "guidance": lambda case: {**case, "guidance": case["guidance"] - 0.5},
}
WRONG_ADAPTERS = {
    "dropped expert": wrong_ports.without_expert,
    "number of experts": wrong_ports.another_count,
    "order of softmax and top k": wrong_ports.reordered,
}


@pytest.mark.parametrize("wrong", [*WRONG_CASES, *WRONG_ADAPTERS])
def test_a_wrong_port_lies_far_above_the_bound(pack, golden_base, adapter, recorded, wrong):
    if wrong in WRONG_ADAPTERS:
        adapter = wrong_ports.changed(pack, adapter, WRONG_ADAPTERS[wrong])
    model = apply(pack, golden_base, adapter)
    for case in CASES:
        found = run(model, WRONG_CASES[wrong](case) if wrong in WRONG_CASES else case)
        assert relative_error(found, case["tensors"]["out"]) >= 10 * BOUND


def test_embedded_entry_fits_the_embedded_base(pack):
    (adapter,) = pack.run("X2EditAdapterLoader", adapter_name="embedded: icedit")
    assert adapter.adapter.spec.kind == "icedit_moe"
    model = pack.run("X2EditDemoModels", base="fill")[0]
    pack.core("comfy_bridge.models").require_base(model, adapter.adapter)


def test_attached_by_scope_it_is_the_same(pack, golden_base, adapter, plain):
    """A range that leaves out only the very end cannot be merged; within it both forms agree."""
    for each in (adapter, plain):
        merged, scoped = apply(pack, golden_base, each), apply(pack, golden_base, each, end_percent=0.999)
        assert len(scoped.patches) == len(golden_base.patches) == 0 < len(merged.patches)
        assert relative_error(run(scoped), run(merged)) < 1e-5


def test_outside_its_range_nothing_acts(pack, golden_base, adapter, plain):
    for each in (adapter, plain):
        late = apply(pack, golden_base, each, start_percent=0.9, strength=1.0)
        assert torch.equal(run(late), run(golden_base)), "the case lies before that"
        assert not torch.equal(run(late, {**CASE, "t": 0.1}), run(golden_base, {**CASE, "t": 0.1}))


def test_strength_zero_is_the_base_bit_for_bit(pack, golden_base, adapter, plain):
    expected = run(golden_base)
    for each in (adapter, plain):
        assert torch.equal(run(apply(pack, golden_base, each, strength=0.0)), expected)


def test_strength_scales_routed_and_plain_parts_alike(pack, golden_base, adapter):
    """Half the strength equals an adapter whose every up-projection is halved."""
    halved = copy.deepcopy(adapter.adapter)
    with torch.no_grad():
        for delta in halved.deltas:
            delta.up.mul_(0.5)
    managed = pack.core("comfy_bridge.models").manage(halved)
    found = run(apply(pack, golden_base, adapter, strength=0.5))
    assert relative_error(found, run(apply(pack, golden_base, managed))) < 1e-6
    assert relative_error(found, run(apply(pack, golden_base, adapter))) > 1e-4


def test_the_plain_file_equals_the_hosts_own_lora_loader(pack, golden_base, plain, plain_file):
    folder_paths.add_model_folder_path("loras", str(plain_file.parent))
    (expected,) = pack.run("LoraLoaderModelOnly", model=golden_base, lora_name=plain_file.name, strength_model=0.7)
    found = apply(pack, golden_base, plain, strength=0.7)
    assert set(found.patches) == set(expected.patches)
    assert plain.routed is None and set(found.wrappers) == {WATCH}, (
        "nothing is left to do while sampling but to look at its end"
    )
    assert torch.equal(run(found), run(expected))


def test_undone_after_use(pack, golden_base, adapter):
    golden_base.detach()
    alone, before = run(golden_base), state(golden_base.model)
    for inputs in ({}, {"end_percent": 0.9}):
        model = apply(pack, golden_base, adapter, **inputs)
        assert not torch.equal(run(model), alone)
        model.detach()
        after = state(golden_base.model)
        assert after["forward"] == before["forward"]
        assert all(torch.equal(after["value"][name], value) for name, value in before["value"].items())
        assert torch.equal(run(golden_base), alone)


def test_the_host_counts_only_what_is_not_merged(pack, golden_base, adapter):
    run(apply(pack, golden_base, adapter))
    managed = [entry.model for entry in comfy.model_management.current_loaded_models if entry.model is not None]
    (patcher,) = [entry for entry in managed if entry.model is adapter.routed.adapter]
    whole = sum(tensor.nbytes for tensor in adapter.adapter.parameters())
    assert patcher.model_size() < whole
    assert {site.module.split(".", 2)[2] for site in patcher.model.sites} == {"img_mlp.2", "linear2"}


def naive_static(adapter_file, strength=1.0):
    """Module key → delta weight: each plain product, and the average of the experts' products."""
    tensors = {key.removeprefix("transformer."): t.float() for key, t in load_file(adapter_file).items()}
    modules = {key.split(".lora_")[0] for key in tensors}
    deltas = {}
    for module in modules:
        experts = [f".expert_{index}" for index in range(4)] if f"{module}.lora_route.weight" in tensors else [""]
        products = [
            tensors[f"{module}.lora_B{name}.weight"] @ tensors[f"{module}.lora_A{name}.weight"] for name in experts
        ]
        deltas[module] = strength * sum(products) / len(products)
    return deltas


def test_static_fallback_is_the_exact_mean_of_the_experts(pack, golden_base, adapter, adapter_file):
    (model,) = pack.run("ICEditStaticFallback", model=golden_base, adapter=adapter, strength=0.6)
    assert set(model.wrappers) == {WATCH} and not model.get_additional_models()
    key_map = comfy.lora.model_lora_keys_unet(golden_base.model, {})
    expected = golden_base.clone()
    deltas = naive_static(adapter_file)
    patches = {key_map[f"transformer.{module}"]: ("diff", (delta,)) for module, delta in deltas.items()}
    assert len(expected.add_patches(patches, 0.6)) == len(patches)
    assert relative_error(run(model), run(expected)) < 1e-5
    assert relative_error(run(model), run(apply(pack, golden_base, adapter, strength=0.6))) > 1e-4, "not the same thing"
    (same,) = pack.run("ICEditStaticFallback", model=golden_base, adapter=adapter, strength=0.0)
    assert same is golden_base


@pytest.fixture
def loras(tmp_path, monkeypatch):
    """models/loras, empty."""
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "loras", ([str(tmp_path)], {".safetensors"}))
    folder_paths.filename_list_cache.pop("loras", None)
    yield tmp_path
    folder_paths.filename_list_cache.pop("loras", None)


def test_static_form_as_a_lora_file_is_the_same_in_the_hosts_own_loader(pack, golden_base, adapter, loras):
    inputs = {"model": golden_base, "adapter": adapter, "strength": 0.6, "save_as": "icedit/static"}
    (expected,) = pack.run("ICEditStaticFallback", **inputs)
    (found,) = pack.run(
        "LoraLoaderModelOnly", model=golden_base, lora_name="icedit/static.safetensors", strength_model=0.6
    )
    assert set(found.patches) == set(expected.patches)
    assert torch.equal(run(found), run(expected))
    pack.run("ICEditStaticFallback", **inputs)
    assert [file.name for file in loras.rglob("*.*")] == ["static.safetensors"], "its own file is replaced"


def test_a_fused_model_passes_through_once_the_file_is_saved(pack, golden_base, adapter, loras, caplog):
    fused = golden_base.clone()
    fused.add_object_patch("diffusion_model", FusedTransformer())
    bare = load(GOLDEN_FILL)
    for block in bare.model.diffusion_model.single_blocks:
        block.linear1 = Closed(block.linear1)
    for number, model in enumerate((fused, bare)):
        (same,) = pack.run("ICEditStaticFallback", model=model, adapter=adapter, save_as=f"static{number}")
        assert same is model and (loras / f"static{number}.safetensors").exists()
    assert sum("LoRA node" in record.getMessage() for record in caplog.records) == 2


@pytest.mark.parametrize(
    ("name", "message"), [("../up", "plain one"), ("/root/up", "plain one"), ("theirs", "was not written by this node")]
)
def test_other_files_are_safe_from_save_as(pack, golden_base, adapter, loras, name, message):
    save_file({"weight": torch.zeros(1)}, loras / "theirs.safetensors")
    with pytest.raises(ValueError, match=message):
        pack.run("ICEditStaticFallback", model=golden_base, adapter=adapter, save_as=name)
    assert set(load_file(loras / "theirs.safetensors")) == {"weight"} and len(list(loras.iterdir())) == 1


def test_nothing_is_saved_for_a_model_that_does_not_fit(pack, text_to_image, adapter, loras):
    with pytest.raises(ValueError, match=r"FLUX.1 Fill"):
        pack.run("ICEditStaticFallback", model=text_to_image, adapter=adapter, save_as="static")
    assert not list(loras.iterdir())


def test_static_fallback_refuses_what_has_no_static_form(pack, text_to_image, x2edit_adapter):
    with pytest.raises(ValueError, match="no static form"):
        pack.run("ICEditStaticFallback", model=text_to_image, adapter=x2edit_adapter)


def test_a_base_that_is_not_fill_is_refused(pack, text_to_image, adapter):
    with pytest.raises(ValueError, match=r"FLUX.1 Fill.*384.*64"):
        apply(pack, text_to_image, adapter)


class FusedTransformer(torch.nn.Module):
    """What a loader that fuses a whole model into its own kernels hands over."""

    def __init__(self):
        super().__init__()
        self.model = torch.nn.Linear(2, 2)


@pytest.mark.parametrize("node", ["X2EditApply", "ICEditStaticFallback"])
def test_a_fused_model_is_refused_by_name(pack, golden_base, adapter, node):
    fused = golden_base.clone()
    fused.add_object_patch("diffusion_model", FusedTransformer())
    with pytest.raises(ValueError, match=r"FusedTransformer.*[Ff]used"):
        pack.run(node, model=fused, adapter=adapter)


def test_stacks_with_a_lora_in_either_order(pack, golden_base, adapter, tmp_path):
    """A community-format LoRA over a plain and over a routed site, merged by the host."""
    modules = dict(golden_base.model.diffusion_model.named_modules())
    tensors, deltas = {}, {}
    for path in ("double_blocks.0.img_attn.qkv", "single_blocks.1.linear2"):
        out_width, in_width = modules[path].weight.shape
        down, up = torch.randn(4, in_width) / in_width**0.5, torch.randn(out_width, 4) / 8
        tensors[f"diffusion_model.{path}.lora_A.weight"], tensors[f"diffusion_model.{path}.lora_B.weight"] = down, up
        deltas[f"diffusion_model.{path}.weight"] = ("diff", (up @ down,))
    save_file(tensors, tmp_path / "community.safetensors")
    folder_paths.add_model_folder_path("loras", str(tmp_path))

    def lora(model):
        return pack.run("LoraLoaderModelOnly", model=model, lora_name="community.safetensors", strength_model=1.0)[0]

    by_hand = golden_base.clone()
    by_hand.add_patches(deltas)
    expected = run(apply(pack, by_hand, adapter))
    for _ in range(2):
        assert relative_error(run(apply(pack, lora(golden_base), adapter)), expected) < 1e-5
        assert relative_error(run(lora(apply(pack, golden_base, adapter))), expected) < 1e-5
    assert relative_error(run(apply(pack, golden_base, adapter)), expected) > 1e-3


def test_stacks_with_an_x2edit_adapter_whatever_its_offset(pack, golden_base, adapter, plain, x2edit_adapter):
    """X2Edit's experts fit FLUX Fill too; its reference offset is no business of ICEdit's.

    A range that leaves out only the very end keeps everything beside the layers: there the core's own sum is computed.
    """
    (task,) = pack.run("X2EditTask", task="style")

    def stacked(order, **inputs):
        model = golden_base
        for part in order:
            options = {"task": task, "reference_offset": 32} if part is x2edit_adapter else {}
            model = apply(pack, model, part, **options, **inputs)
        return run(model)

    for kind in (adapter, plain):
        expected = stacked((kind, x2edit_adapter), end_percent=0.999)
        for order in ((kind, x2edit_adapter), (x2edit_adapter, kind)):
            assert relative_error(stacked(order), expected) < 1e-5
        for alone in (kind, x2edit_adapter):
            assert relative_error(stacked((alone,)), expected) > 1e-3


def test_only_layers_whose_output_is_read_lose_their_merged_parts(pack, golden_base, adapter, x2edit_adapter):
    """Here one of the 11 weights that ICEdit patches; what others patched there stays."""
    (task,) = pack.run("X2EditTask", task="style")
    read = "diffusion_model.double_blocks.0.img_attn.proj.weight"
    foreign = golden_base.clone()
    foreign.add_patches({read: ("diff", (torch.zeros(golden_base.model.state_dict()[read].shape),))})
    once = apply(pack, foreign, adapter)
    twice = apply(pack, apply(pack, once, adapter, strength=0.5), x2edit_adapter, task=task)
    assert set(twice.patches) == set(once.patches) and twice.patches_uuid != once.patches_uuid
    assert [len(model.patches[read]) for model in (once, twice)] == [2, 1]
    strengths = [item.strength for item in twice.get_attachment("x2edit").attachments]
    assert sorted(strengths) == [0.5, 0.5, 1.0, 1.0, 1.0], "two of experts, two of plain parts, and X2Edit"
    (static,) = pack.run(
        "ICEditStaticFallback", model=apply(pack, golden_base, x2edit_adapter, task=task), adapter=adapter
    )
    assert read not in static.patches and static.patches


def test_merged_parts_lie_in_main_memory(pack, golden_base, plain):
    """Whatever device the adapter is on: a patch there would keep memory that the host counts as free."""

    class OnDevice(torch.Tensor):
        def cpu(self):
            return self.as_subclass(torch.Tensor)

    models = pack.core("comfy_bridge.models")
    parts = [(*place, down.data.as_subclass(OnDevice), up.data.as_subclass(OnDevice))
             for *place, down, up in models._plain_parts(plain.adapter)]  # fmt: skip
    merged = models._merged(golden_base, plain, parts, 1.0)
    weights = [tensor for entries in merged.patches.values() for entry in entries for tensor in entry[1].weights[:2]]
    assert {type(tensor) for tensor in weights} == {torch.Tensor}


def test_applied_twice_is_its_strengths_sum(pack, golden_base, adapter):
    split = apply(pack, apply(pack, golden_base, adapter, strength=0.25), adapter, strength=0.75)
    assert relative_error(run(split), run(apply(pack, golden_base, adapter))) < 1e-5


def test_both_halves_of_guidance_are_routed(pack, golden_base, adapter):
    model = apply(pack, golden_base, adapter)
    conds, noise = fill_conditioning(model, CASE), CASE["tensors"]["noise"]
    other = [[torch.roll(conds[0][0], 1, 0), conds[0][1]]]
    together = velocity(model, conds, noise, 0.6, other, cfg=2.0)
    one, two = (velocity(model, each, noise, 0.6) for each in (conds, other))
    assert relative_error(together, two + 2.0 * (one - two)) < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn])
def test_low_precision_bases(pack, golden_base, adapter, dtype):
    """The patched quantised base stays as close to the exact result as the quantised base alone does to its own."""
    low = load(GOLDEN_FILL, dtype=dtype)
    assert low.model.diffusion_model.double_blocks[0].img_attn.qkv.weight.dtype == dtype
    low.set_model_compute_dtype(torch.bfloat16)
    rounding = relative_error(run(low), run(golden_base))
    expected = run(apply(pack, golden_base, adapter))
    found = run(apply(pack, low, adapter))
    assert relative_error(found, expected) < 1.5 * rounding
    if dtype == torch.bfloat16:
        assert relative_error(found, expected) < 0.5 * relative_error(run(low), expected)


def test_layers_without_weights_take_the_plain_parts_by_scope(pack, golden_base, adapter):
    """As some quantised loaders leave them: a Python forward of their own and nothing that a patch could change."""
    bare = load(GOLDEN_FILL)
    expected = run(apply(pack, golden_base, adapter))
    for block in bare.model.diffusion_model.single_blocks:
        block.linear1 = Closed(block.linear1)
    model = apply(pack, bare, adapter)
    assert not model.patches
    assert relative_error(run(model), expected) < 1e-5
    with pytest.raises(ValueError, match=r"cannot be patched.*linear1"):
        pack.run("ICEditStaticFallback", model=bare, adapter=adapter)


class Closed(torch.nn.Module):
    """A Linear whose weight is nobody else's business."""

    def __init__(self, linear):
        super().__init__()
        self._linear = [linear]

    def forward(self, x):
        return self._linear[0](x)


def test_a_onetrainer_file_with_alphas_equals_the_hosts_own_lora_loader(pack, golden_base, plain_file, tmp_path):
    tensors = {}
    for key, tensor in load_file(plain_file).items():
        module, side = key.removeprefix("transformer.").removesuffix(".weight").split(".lora_")
        name = f"lora_transformer_{module.replace('.', '_')}"
        tensors[f"{name}.lora_{'down' if side == 'A' else 'up'}.weight"] = tensor
        tensors[f"{name}.alpha"] = torch.tensor(1.7)
    save_file(tensors, tmp_path / "onetrainer.safetensors")
    folder_paths.add_model_folder_path("loras", str(tmp_path))
    (expected,) = pack.run(
        "LoraLoaderModelOnly", model=golden_base, lora_name="onetrainer.safetensors", strength_model=0.7
    )
    adapter = pack.core("comfy_bridge.models").load_managed(tmp_path / "onetrainer.safetensors")
    found = run(apply(pack, golden_base, adapter, strength=0.7))
    assert relative_error(found, run(expected)) < 1e-6
    assert relative_error(found, run(golden_base)) > 1e-3


@pytest.mark.parametrize("router", [torch.float32, torch.float8_e4m3fn])
def test_an_eight_bit_file_merges_routes_and_averages(pack, golden_base, tmp_path, router):
    """Against the same numbers in float32."""
    models, runs = pack.core("comfy_bridge.models"), []
    small = {
        key: tensor.to(router if "lora_route" in key else torch.float8_e4m3fn)
        for key, tensor in load_file(GOLDEN_MOE).items()
    }
    for name, content in (("small", small), ("wide", {key: tensor.float() for key, tensor in small.items()})):
        save_file(content, tmp_path / f"{name}.safetensors")
        adapter = models.load_managed(tmp_path / f"{name}.safetensors")
        (static,) = pack.run("ICEditStaticFallback", model=golden_base, adapter=adapter)
        runs.append((run(apply(pack, golden_base, adapter)), run(static)))
    for found, expected in zip(*runs, strict=True):
        assert relative_error(found, expected) < 1e-5

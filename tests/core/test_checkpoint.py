"""Files are untrusted: every way one can be wrong ends in one error that lists what is wrong, and none runs code."""

from __future__ import annotations

import json
import pickle

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from x2edit_core.adapters.adapter import AdapterSpec
from x2edit_core.adapters.checkpoint import holds_adapter, load_adapter, save_adapter
from x2edit_core.adapters.formats import own, released_x2edit
from x2edit_core.errors import CheckpointError
from x2edit_core.families import QWEN_IMAGE
from x2edit_core.families.flux1 import FluxShape
from x2edit_core.families.qwen_image import QwenShape, stored_slots

from .models import SHAPE, random_adapter, released_tensors, write_released

GATE = "transformer_blocks.0.attn.processor.q_moe_lora.gate.weight"


def problems_of(path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_adapter(path)
    return str(caught.value)


def same(one, two) -> bool:
    first, second = dict(one.named_parameters()), dict(two.named_parameters())
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_released_folder_is_read_by_shapes_alone(tmp_path):
    adapter = load_adapter(write_released(tmp_path / "released"))
    spec = adapter.spec
    assert (spec.shape, spec.experts, spec.rank, spec.top_k, spec.scale) == (SHAPE, 5, 3, 2, 1.0)
    assert spec.shared and adapter.task_aware
    assert holds_adapter(tmp_path / "released") and not holds_adapter(tmp_path)


def test_reading_and_exporting_are_inverse(tmp_path):
    tensors = released_tensors()
    adapter = load_adapter(write_released(tmp_path, tensors))
    exported = dict(released_x2edit.unpack(adapter))
    assert exported.keys() == tensors.keys()
    assert all(torch.equal(exported[key], tensors[key]) for key in tensors)


@pytest.mark.parametrize("prefix", ["module.", "module.module.", "base_model.model."])
def test_wrapper_prefixes_are_stripped(tmp_path, prefix):
    plain = write_released(tmp_path / "plain")
    table = torch.load(plain / "task_embeddings.bin")["weight"]
    wrapped = tmp_path / "wrapped"
    write_released(
        wrapped, {prefix + key: tensor for key, tensor in load_file(plain / "lora.safetensors").items()}, table
    )
    torch.save({prefix + "weight": table}, wrapped / "task_embeddings.bin")
    assert same(load_adapter(plain), load_adapter(wrapped))


def test_alignnet_beside_the_adapter_is_noted(tmp_path):
    write_released(tmp_path)
    (tmp_path / "diffusion_pytorch_model.bin").write_bytes(b"")
    assert load_adapter(tmp_path).spec.notes == {"alignnet": "diffusion_pytorch_model.bin"}


def test_a_gate_without_task_needs_no_table(tmp_path):
    tensors = {key: t[:, :16] if key.endswith("gate.weight") else t for key, t in released_tensors().items()}
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, tmp_path / "lora.safetensors")
    assert not load_adapter(tmp_path / "lora.safetensors").task_aware


def test_own_file_says_everything_about_itself(tmp_path):
    adapter = random_adapter()
    save_adapter(adapter, tmp_path / "deep" / "own.safetensors")
    back = load_adapter(tmp_path / "deep" / "own.safetensors")
    assert back.spec == adapter.spec and same(adapter, back)


def test_missing_unexpected_and_misshaped_are_reported_together(tmp_path):
    tensors = released_tensors()
    del tensors["single_transformer_blocks.1.attn.processor.v_moe_lora.experts.3.up.weight"]
    tensors["transformer_blocks.0.attn.processor.q_moe_lora.extra.weight"] = torch.zeros(1)
    tensors["transformer_blocks.0.attn.processor.k_moe_lora.experts.1.down.weight"] = torch.zeros(3, 17)
    text = problems_of(write_released(tmp_path, tensors, torch.zeros(16, 16)))
    assert "1 missing" in text and "v_moe_lora.experts.3.up" in text
    assert "1 unexpected" in text and "extra" in text
    assert "1 of wrong shape" in text and "[3, 17], [3, 16] expected" in text


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_not_a_number_is_found_and_named(tmp_path, bad):
    tensors = released_tensors()
    tensors[GATE][1, 2] = bad
    assert GATE in problems_of(write_released(tmp_path, tensors))
    adapter = random_adapter()
    with torch.no_grad():
        adapter.delta(0).up[0, 0, 0] = bad
    save_adapter(adapter, tmp_path / "own.safetensors")
    assert "double_blocks.0.img_attn.qkv.up" in problems_of(tmp_path / "own.safetensors")


@pytest.mark.parametrize("table", [torch.tensor(1.0), torch.zeros(16)])
def test_a_table_of_our_own_without_columns_is_described(tmp_path, table):
    adapter = random_adapter()
    save_file({**own.tensors(adapter), "task_table": table}, tmp_path / "own.safetensors", own.metadata(adapter.spec))
    assert f"task_table is {list(table.shape)}; two dimensions" in problems_of(tmp_path / "own.safetensors")


@pytest.mark.parametrize("gate", [torch.tensor(1.0), torch.zeros(5)])
def test_a_gate_without_columns_is_described(tmp_path, gate):
    tensors = {key: gate.clone() if key.endswith("gate.weight") else t for key, t in released_tensors().items()}
    save_file(tensors, tmp_path / "lora.safetensors")
    assert f"is {list(gate.shape)}; two dimensions" in problems_of(tmp_path)


def test_a_file_that_names_no_family_is_of_flux(tmp_path):
    """As every file was before there were others."""
    adapter = random_adapter()
    metadata = own.metadata(adapter.spec)
    assert metadata.pop("x2edit_family") == "flux1" and "family" not in json.loads(metadata["x2edit"])
    save_file(own.tensors(adapter), tmp_path / "old.safetensors", metadata)
    assert load_adapter(tmp_path / "old.safetensors").spec == adapter.spec
    save_file(own.tensors(adapter), tmp_path / "new.safetensors", {**metadata, "x2edit_family": "sdxl"})
    assert "'sdxl' is not known" in problems_of(tmp_path / "new.safetensors")


def test_a_truncated_download_is_said_to_be_one(tmp_path):
    path = write_released(tmp_path) / "lora.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    text = problems_of(path)
    assert "not a complete safetensors file" in text and "Download it again" in text


def qwen_tensors(stored=True, zero=True):
    """The released layout for Qwen-Image: double blocks alone; `stored` with the experts that are never applied."""
    tensors = {key: tensor for key, tensor in released_tensors().items() if not key.startswith("single")}
    proj = [key for key in tensors if "proj_moe_lora" in key]
    for key in proj:
        if not stored:
            del tensors[key]
        elif zero:
            tensors[key] = torch.zeros_like(tensors[key])
    return tensors


@pytest.mark.parametrize("stored", [True, False])
def test_a_file_without_single_blocks_is_of_qwen_image(tmp_path, stored):
    tensors = qwen_tensors(stored)
    adapter = load_adapter(write_released(tmp_path, tensors))
    assert adapter.spec.made_for is QWEN_IMAGE and adapter.spec.shape == QwenShape(16, 1)
    assert [site.module for site in adapter.sites] == [f"transformer_blocks.0.attn.to_{name}" for name in "qkv"]
    assert adapter.spec.notes == {} and adapter.spec.offsets == (0, 0)
    exported = dict(released_x2edit.unpack(adapter))
    assert exported.keys() == qwen_tensors().keys()
    assert all(torch.equal(exported[key], tensors.get(key, torch.zeros_like(exported[key]))) for key in exported)
    save_adapter(adapter, tmp_path / "own.safetensors")
    assert load_adapter(tmp_path / "own.safetensors").spec == adapter.spec


def test_experts_that_nobody_applies_are_told_if_they_would_do_something(tmp_path):
    adapter = load_adapter(write_released(tmp_path, qwen_tensors(zero=False)))
    assert adapter.spec.notes == {released_x2edit.UNAPPLIED: "proj"}


def test_half_of_what_is_stored_is_missing_and_said_to_be(tmp_path):
    tensors = qwen_tensors()
    del tensors["transformer_blocks.0.attn.processor.proj_moe_lora.gate.weight"]
    assert "1 missing: transformer_blocks.0.attn.processor.proj_moe_lora.gate" in problems_of(
        write_released(tmp_path, tensors)
    )


def test_a_released_qwen_image_file_has_6480_tensors():
    """60 blocks x 4 projections x 27, 1,244.5 million values with what is stored only, 933.4 without."""
    spec = AdapterSpec("x2edit", QwenShape(3072, 60), 12, 64, 2, 64.0, True, offsets=(0, 0), family="qwen_image")
    acting = sum(len(site.slots) for site in spec.sites)
    assert acting == 180 and len(stored_slots(spec.shape)) == 60
    each = 13 * 2 * 64 * 3072 + 12 * 2 * 3072
    assert acting * each == pytest.approx(933.4e6, rel=1e-4) and 240 * each == pytest.approx(1244.5e6, rel=1e-4)


def test_a_foreign_lora_is_pointed_to_the_lora_loader(tmp_path):
    save_file({"lora_unet_x.lora_up.weight": torch.zeros(2, 2)}, tmp_path / "style.safetensors")
    text = problems_of(tmp_path / "style.safetensors")
    assert "lora_unet_x.lora_up.weight" in text and "LoRA loader" in text


def test_a_missing_table_is_asked_for(tmp_path):
    path = write_released(tmp_path)
    (path / "task_embeddings.bin").unlink()
    assert "task_embeddings.bin does not lie beside it" in problems_of(path)


@pytest.mark.parametrize("table", [torch.zeros(15, 16), torch.zeros(16, 17), {"rows": 3}])
def test_a_wrong_table_is_described(tmp_path, table):
    path = write_released(tmp_path)
    torch.save({"weight": table}, path / "task_embeddings.bin")
    assert "[16, 16] was expected" in problems_of(path)


class Payload:
    """Unpickling this would create a file."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return open, (self.marker, "w")


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path):
    path, marker = write_released(tmp_path / "adapter"), tmp_path / "executed"
    with open(path / "task_embeddings.bin", "wb") as file:
        pickle.dump({"weight": Payload(marker)}, file)
    problems_of(path)
    torch.save({"weight": Payload(marker)}, path / "task_embeddings.bin")
    assert "more than tensors" in problems_of(path)
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b"\x80", b"not a pickle", b"PK\x03\x04"])
def test_a_damaged_table_is_an_error_of_ours(tmp_path, content):
    path = write_released(tmp_path)
    (path / "task_embeddings.bin").write_bytes(content)
    problems_of(path)


def test_absent_files(tmp_path):
    assert "does not exist" in problems_of(tmp_path / "nothing.safetensors")
    assert "does not exist" in problems_of(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "qwen"},
        {"rank": 0},
        {"experts": "12"},
        {"top_k": 0},
        {"order": "random"},
        {"shape": {"hidden": 16, "double": 10**9, "single": 2}},
        {"shape": None},
        {"surprise": 1},
    ],
)
def test_untrue_metadata_is_an_error_of_ours(tmp_path, change):
    adapter = random_adapter()
    fields = {**json.loads(own.metadata(adapter.spec)["x2edit"]), **change}
    save_file(own.tensors(adapter), tmp_path / "own.safetensors", {"x2edit_format": "1", "x2edit": json.dumps(fields)})
    assert "metadata does not describe" in problems_of(tmp_path / "own.safetensors")


def test_a_newer_format_asks_for_an_update(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "own.safetensors", {"x2edit_format": "99", "x2edit": "{}"})
    assert "Update" in problems_of(tmp_path / "own.safetensors")


def test_own_file_with_other_tensors_than_it_says(tmp_path):
    adapter = random_adapter()
    tensors = own.tensors(adapter)
    tensors["more"] = torch.zeros(1)
    del tensors["double_blocks.0.img_attn.proj.up"]
    save_file(tensors, tmp_path / "own.safetensors", own.metadata(adapter.spec))
    text = problems_of(tmp_path / "own.safetensors")
    assert "1 missing: double_blocks.0.img_attn.proj.up" in text and "1 unexpected: more" in text


names = st.sampled_from(
    [
        "transformer_blocks.999999999.attn.processor.q_moe_lora.gate.weight",
        "single_transformer_blocks.0.attn.processor.q_moe_lora.experts.0.down.weight",
        "single_transformer_blocks.0.attn.processor.q_moe_lora.experts.99999999.up.weight",
        "transformer_blocks.0.attn.processor.proj_moe_lora.shared_experts.down.weight",
        "transformer_blocks.0.attn.processor.q_moe_lora.gate.weight",
        "task_table",
        "module.",
        "",
    ]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(names, st.lists(st.integers(0, 4), max_size=3), min_size=1))
def test_any_collection_of_tensors_is_read_or_refused(tmp_path, shapes):
    path = tmp_path / "any.safetensors"
    save_file({key: torch.zeros(shape) for key, shape in shapes.items()}, path)
    problems_of(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_any_bytes_are_refused(tmp_path, content):
    path = tmp_path / "any.safetensors"
    path.write_bytes(content)
    problems_of(path)


def test_shape_of_the_released_file():
    """The published checkpoint: 5,130 tensors, 985,251,840 parameters (counted from shapes, nothing is allocated)."""

    spec = AdapterSpec("x2edit", FluxShape(3072, 19, 38), 12, 64, 2, 64.0, True)
    shapes = [
        s for site in spec.sites for slot in site.slots for s in released_x2edit._slot_shapes(slot, spec, 3072).values()
    ]
    assert len(shapes) == 5130
    assert sum(height * width for height, width in shapes) == 985_251_840

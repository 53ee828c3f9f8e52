"""Published picture-prompt adapters: every tensor accounted for, what is damaged refused by name, tokens as recorded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from x2edit_core.adapters.formats.ip_adapter_flux import load_image_adapter
from x2edit_core.adapters.image_adapter import ImageAdapter, ImageAdapterSpec
from x2edit_core.adapters.pooling import has_head, load_head
from x2edit_core.errors import CheckpointError, ModelMismatchError
from x2edit_core.families import FLUX1, QWEN_IMAGE
from x2edit_core.families.flux1 import FluxShape
from x2edit_core.families.qwen_image import QwenShape

from .image_adapters import flat, instantx, plain_tokens, xlabs

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "decoupled"
SHAPE = FluxShape(256, 1, 2)


def written(folder, tables, name="ip-adapter.bin"):
    path = folder / name
    if name.endswith(".bin"):
        torch.save(tables, path)
    else:
        save_file({key: value.contiguous() for key, value in tables.items()}, path)
    return path


def test_the_projector_equals_ipadapter_fluxs(tmp_path):
    io = load_file(GOLDEN / "io.safetensors")
    tables = instantx(features=24, tokens=5, width=48)
    tables["image_proj"] = {key.removeprefix("proj.weights."): io[key] for key in io if key.startswith("proj.weights.")}
    adapter = load_image_adapter(written(tmp_path, tables))
    assert float((adapter.tokens(io["proj.in"]) - io["proj.out"]).abs().max()) <= 1e-6
    torch.testing.assert_close(plain_tokens(tables, io["proj.in"]), io["proj.out"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("form", ["ip-adapter.bin", "ip-adapter.safetensors"])
def test_instantx_keys_and_values(tmp_path, form):
    tables = instantx()
    adapter = load_image_adapter(written(tmp_path, tables if form.endswith("bin") else flat(tables), form))
    assert adapter.spec == ImageAdapterSpec("instantx", 24, 5, 48, 256, 3)
    held = sum(tensor.numel() for tensor in adapter.parameters())
    assert held == sum(tensor.numel() for part in tables.values() for tensor in part.values())
    tokens = torch.randn(2, 5, 48)
    for index, (keys, values) in enumerate(adapter.states(tokens)):
        for letter, found in (("k", keys), ("v", values)):
            weight = tables["ip_adapter"][f"{index}.to_{letter}_ip.weight"]
            heads = (tokens @ weight.T).view(2, 5, 2, 128).transpose(1, 2)
            expected = functional.rms_norm(heads, (128,), eps=1e-5)
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_xlabs_keys_and_values_have_biases_and_no_norm(tmp_path):
    tables = xlabs()
    adapter = load_image_adapter(written(tmp_path, tables, "ip_adapter.safetensors"))
    assert adapter.spec == ImageAdapterSpec("xlabs", 24, 4, 48, 256, 1)
    assert sum(tensor.numel() for tensor in adapter.parameters()) == sum(tensor.numel() for tensor in tables.values())
    vector = torch.randn(2, 24)
    proj = "ip_adapter_proj_model"
    expected = (vector @ tables[f"{proj}.proj.weight"].T + tables[f"{proj}.proj.bias"]).view(2, 4, 48)
    expected = functional.layer_norm(expected, (48,), tables[f"{proj}.norm.weight"], tables[f"{proj}.norm.bias"])
    tokens = adapter.tokens(vector)
    torch.testing.assert_close(tokens, expected)
    ((keys, values),) = adapter.states(tokens)
    for letter, found in (("k", keys), ("v", values)):
        name = f"double_blocks.0.processor.ip_adapter_double_stream_{letter}_proj"
        projected = tokens @ tables[f"{name}.weight"].T + tables[f"{name}.bias"]
        torch.testing.assert_close(found, projected.view(2, 4, 2, 128).transpose(1, 2), rtol=1e-5, atol=1e-5)


def test_both_go_where_their_authors_put_them(tmp_path):
    one = load_image_adapter(written(tmp_path, instantx())).spec
    two = load_image_adapter(written(tmp_path, xlabs(), "x.safetensors")).spec
    assert [site.block for site in one.sites(SHAPE)] == ["double_blocks.0", "single_blocks.0", "single_blocks.1"]
    assert [site.block for site in two.sites(SHAPE)] == ["double_blocks.0"]
    assert (one.acts.sink, one.acts.text, two.acts.sink, two.acts.text) == ("attention", True, "block", False)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_weights_of_other_kinds(tmp_path, dtype):
    tables = {group: {name: tensor.to(dtype) for name, tensor in part.items()} for group, part in instantx().items()}
    adapter = load_image_adapter(written(tmp_path, tables))
    (keys, _), *_ = adapter.states(adapter.tokens(torch.randn(1, 24)))
    assert keys.dtype == (dtype if dtype.itemsize > 1 else torch.bfloat16)
    assert bool(keys.float().isfinite().all())


def without(tables, name):
    group, key = name.split(".", 1)
    return {**tables, group: {other: value for other, value in tables[group].items() if other != key}}


@pytest.mark.parametrize("missing", sorted(flat(instantx())))
def test_a_file_that_lacks_any_tensor_is_refused_by_its_name(tmp_path, missing):
    if missing.startswith("ip_adapter.2"):  # the last of three may be another model's, see below
        missing = missing.replace("2", "1")
    with pytest.raises(CheckpointError, match=missing.replace(".", r"\.")):
        load_image_adapter(written(tmp_path, without(instantx(), missing)))


@pytest.mark.parametrize("missing", sorted(xlabs(blocks=2)))
def test_likewise_of_xlabs(tmp_path, missing):
    tensors = {name: tensor for name, tensor in xlabs(blocks=2).items() if name != missing}
    letter = missing.rsplit("_proj", 1)[0][-1]
    known = missing.replace("ip_adapter_proj_model", "image_proj")
    if missing.startswith("double"):
        known = f"ip_adapter.{missing.split('.')[1]}.to_{letter}_ip.{missing.rsplit('.', 1)[1]}"
    with pytest.raises(CheckpointError, match=known.replace(".", r"\.")):
        load_image_adapter(written(tmp_path, tensors, "x.safetensors"))


def test_fluxs_own_width_has_fifty_seven_attentions(tmp_path):
    """A file cut off behind a whole block is told by what the published one has."""
    tables = instantx(features=2, tokens=1, width=1, hidden=3072, blocks=56)
    with pytest.raises(CheckpointError, match=r"ip_adapter\.56\.to_k_ip\.weight"):
        load_image_adapter(written(tmp_path, tables))
    assert load_image_adapter(written(tmp_path, instantx(2, 1, 1, 3072, 57))).spec.blocks == 57


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda t: t["ip_adapter"].update({"1.to_k_ip.weight": torch.randn(256, 47)}), r"1\.to_k_ip\.weight is \[256, 47\]"),
        (lambda t: t["ip_adapter"].update({"stray": torch.zeros(1)}), r"unexpected: ip_adapter\.stray"),
        (lambda t: t["ip_adapter"].update({"1.to_v_ip.weight": torch.full((256, 48), float("nan"))}), "NaN"),
        (lambda t: t["ip_adapter"].update({"99999999.to_k_ip.weight": torch.zeros(256, 48)}), "block 99999999"),
        (lambda t: t["image_proj"].update({"norm.weight": torch.zeros(7)}), "whole tokens"),
        (lambda t: t["image_proj"].update({"proj.0.weight": torch.zeros(7)}), "a matrix expected"),
        (lambda t: t.update({"note": "hello"}), "no tensors of numbers: note"),
    ],
)  # fmt: skip
def test_damage_is_named(tmp_path, change, word):
    tables = instantx()
    change(tables)
    with pytest.raises(CheckpointError, match=word):
        load_image_adapter(written(tmp_path, tables))


def test_other_files_are_told_what_was_expected(tmp_path):
    with pytest.raises(CheckpointError, match=r"(?s)no known picture-prompt adapter: lora.*InstantX"):
        load_image_adapter(written(tmp_path, {"lora": torch.zeros(2)}, "lora.safetensors"))
    with pytest.raises(CheckpointError, match="no known picture-prompt adapter"):
        load_image_adapter(written(tmp_path, {"lora": torch.zeros(2)}))
    with pytest.raises(CheckpointError, match="whole heads"):  # IP-Adapter for SD 1.5
        odd = {
            "image_proj": {
                "proj.weight": torch.zeros(12, 4),
                "norm.weight": torch.zeros(3),
                "norm.bias": torch.zeros(3),
            }
        }
        load_image_adapter(written(tmp_path, {**odd, "ip_adapter": {"1.to_k_ip.weight": torch.zeros(320, 3)}}))


def test_a_model_of_another_depth_is_refused_with_both(tmp_path):
    adapter = load_image_adapter(written(tmp_path, instantx(blocks=3)))
    adapter.spec.require_fit(FLUX1, SHAPE, "file")
    with pytest.raises(ModelMismatchError, match=r"hidden 256 with 3 double and single blocks.*1 double and 1 single"):
        adapter.spec.require_fit(FLUX1, FluxShape(256, 1, 1), "file")
    with pytest.raises(ModelMismatchError, match="Qwen-Image"):
        adapter.spec.require_fit(QWEN_IMAGE, QwenShape(256, 3), "file")


def head_file(folder, width=64, inner=80):
    generator = torch.Generator().manual_seed(1)
    random = lambda *size: torch.randn(*size, generator=generator) / size[-1] ** 0.5  # noqa: E731
    tensors = {
        "probe": random(1, 1, width), "attention.in_proj_weight": random(3 * width, width),
        "attention.in_proj_bias": random(3 * width), "attention.out_proj.weight": random(width, width),
        "attention.out_proj.bias": random(width), "layernorm.weight": 1 + random(width), "layernorm.bias": random(width),
        "mlp.fc1.weight": random(inner, width), "mlp.fc1.bias": random(inner),
        "mlp.fc2.weight": random(width, inner), "mlp.fc2.bias": random(width),
    }  # fmt: skip
    named = {f"vision_model.head.{name}": tensor for name, tensor in tensors.items()}
    path = folder / "sigclip.safetensors"
    save_file({**named, "vision_model.post_layernorm.weight": torch.ones(width)}, path)
    return path, named


def test_a_head_is_found_by_its_width(tmp_path):
    path, named = head_file(tmp_path)
    assert has_head(path, 64) and not has_head(path, 63)
    (tmp_path / "text.safetensors").write_text("no tensors")
    assert not has_head(tmp_path / "text.safetensors", 64)
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"no vision_model\.head\.probe"):
        load_head(tmp_path / "other.safetensors")
    del named["vision_model.head.mlp.fc2.weight"]
    save_file(named, tmp_path / "cut.safetensors")
    with pytest.raises(CheckpointError, match=r"missing: vision_model\.head\.mlp\.fc2\.weight"):
        load_head(tmp_path / "cut.safetensors")


def test_an_adapter_is_a_module_of_its_weights_alone(tmp_path):
    adapter = load_image_adapter(written(tmp_path, instantx()))
    assert isinstance(adapter, ImageAdapter) and not list(adapter.buffers())
    assert not any(parameter.requires_grad for parameter in adapter.parameters())

"""ICEdit's released layouts: counted at full size, read and written back, and wrong files told apart."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from x2edit_core.adapters.adapter import AdapterSpec
from x2edit_core.adapters.attach import Attachment, attached
from x2edit_core.adapters.checkpoint import load_adapter, save_adapter
from x2edit_core.adapters.formats import released_icedit
from x2edit_core.errors import CheckpointError, X2EditError
from x2edit_core.families.flux1 import FluxShape, icedit_moe_sites, icedit_sites

SHAPE = FluxShape(hidden=16, double=1, single=2)
FLUX = FluxShape(hidden=3072, double=19, single=38)


def spec(kind, shape=SHAPE, experts=4, rank=3, plain_rank=2) -> AdapterSpec:
    experts = experts if kind == "icedit_moe" else 0
    return AdapterSpec(kind, shape, experts, rank, 1, float(rank), False, "topk_first", (0, 0), plain_rank=plain_rank)


def expected_shapes(of) -> dict[str, tuple[int, int]]:
    return {
        key: shape
        for site in of.sites
        for slot in site.slots
        for key, shape in released_icedit._shapes(slot, site, of)
    }  # fmt: skip


def tensors(kind, **sizes) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = expected_shapes(spec(kind, **sizes))
    return {key: torch.randn(shape, generator=generator) / shape[1] ** 0.5 for key, shape in shapes.items()}


def write(path, content):
    path.mkdir(parents=True, exist_ok=True)
    save_file(content, path / "pytorch_lora_weights.safetensors")
    return path / "pytorch_lora_weights.safetensors"


def problems_of(path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_adapter(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("kind", "rank", "modules", "routed", "files_tensors", "parameters"),
    [("icedit", 32, 343, 0, 686, 115_912_704), ("icedit_moe", 32, 343, 57, 1085, 214_437_888)],
)
def test_the_published_files_are_counted_at_full_size(kind, rank, modules, routed, files_tensors, parameters):
    of = spec(kind, FLUX, rank=rank, plain_rank=rank)
    slots = [(site, slot) for site in of.sites for slot in site.slots]
    assert len(slots) == len({slot.key for _, slot in slots}) == modules
    assert len({site.name for site in of.sites}) == len(of.sites)
    assert sum(site.routed for site, _ in slots) == routed
    shapes = expected_shapes(of)
    assert len(shapes) == files_tensors
    assert sum(height * width for height, width in shapes.values()) == parameters
    routers = {shape for key, shape in shapes.items() if "lora_route" in key}
    assert routers == ({(4, 12288), (4, 15360)} if routed else set())


class Block(torch.nn.Module):
    """The Linears of a full-size FLUX block on the meta device: widths without memory."""

    def __init__(self, sizes):
        super().__init__()
        for path, (out_width, in_width) in sizes.items():
            parent = self
            *folders, name = path.split(".")
            for folder in folders:
                if not hasattr(parent, folder):
                    parent.add_module(folder, torch.nn.Module())
                parent = getattr(parent, folder)
            parent.add_module(name, torch.nn.Linear(in_width, out_width, device="meta"))


def full_size_linears() -> dict[str, tuple[int, int]]:
    """Module path → (out, in) of the host's FLUX Fill, image stream and single blocks, written down by hand."""
    found = {"img_in": (3072, 384)}
    for index in range(19):
        found |= {
            f"double_blocks.{index}.img_mod.lin": (18432, 3072),
            f"double_blocks.{index}.img_attn.qkv": (9216, 3072),
            f"double_blocks.{index}.img_attn.proj": (3072, 3072),
            f"double_blocks.{index}.img_mlp.0": (12288, 3072),
            f"double_blocks.{index}.img_mlp.2": (3072, 12288),
        }
    for index in range(38):
        found |= {
            f"single_blocks.{index}.modulation.lin": (9216, 3072),
            f"single_blocks.{index}.linear1": (21504, 3072),
            f"single_blocks.{index}.linear2": (3072, 15360),
        }
    return found


@pytest.mark.parametrize("table", [icedit_sites, icedit_moe_sites])
def test_every_site_lies_within_its_linear(table):
    """On modules of the full size: each site reads the Linear's inputs, and its slots tile columns without overlap."""
    model = Block(full_size_linears())
    columns: dict[str, list[tuple[int, int]]] = {}
    for site in table(FLUX):
        linear = model.get_submodule(site.module)
        assert linear.weight.is_meta and linear.in_features == site.in_width, site.module
        columns.setdefault(site.module, []).extend((slot.start, slot.start + slot.width) for slot in site.slots)
        assert all(slot.width == site.width for slot in site.slots)
    assert columns.keys() == {path for path in full_size_linears() if not path.endswith("img_mlp.0")}
    for path, spans in columns.items():
        ends = [0, *(end for _, end in sorted(spans))]
        assert [start for start, _ in sorted(spans)] == ends[:-1], path
        assert ends[-1] == model.get_submodule(path).out_features, path


@pytest.mark.parametrize("kind", ["icedit", "icedit_moe"])
def test_kind_experts_and_ranks_come_from_the_keys(tmp_path, kind):
    adapter = load_adapter(write(tmp_path, tensors(kind)))
    assert adapter.spec == (spec(kind) if kind == "icedit_moe" else spec(kind, rank=2))
    assert adapter.spec.scale == 1.0 and not adapter.task_aware


@pytest.mark.parametrize("kind", ["icedit", "icedit_moe"])
def test_reading_and_exporting_are_inverse(tmp_path, kind):
    content = tensors(kind)
    exported = dict(released_icedit.unpack(load_adapter(write(tmp_path, content))))
    assert exported.keys() == content.keys()
    assert all(torch.equal(exported[key], content[key]) for key in content)


@pytest.mark.parametrize("kind", ["icedit", "icedit_moe"])
def test_our_own_file_carries_the_kind(tmp_path, kind):
    adapter = load_adapter(write(tmp_path, tensors(kind)))
    save_adapter(adapter, tmp_path / "own.safetensors")
    back = load_adapter(tmp_path / "own.safetensors")
    assert back.spec == adapter.spec
    saved = load_file(tmp_path / "own.safetensors")
    for (name, one), (other, two) in zip(adapter.named_parameters(), back.named_parameters(), strict=True):
        assert name == other and torch.equal(one, two)
    assert sum(tensor.numel() for tensor in saved.values()) == sum(t.numel() for t in adapter.parameters())


def test_our_own_file_may_route_softly(tmp_path):
    """Other gate orders and top-k come with the metadata; the released files mean arg-max with weight 1."""
    adapter = load_adapter(write(tmp_path, tensors("icedit_moe")))
    of = AdapterSpec("icedit_moe", SHAPE, 4, 3, 2, 6.0, False, "softmax_first", (0, 0), plain_rank=2)
    soft = type(adapter)(
        of,
        [of.pack(site, d.down_gate, None, d.up) for site, d in zip(adapter.sites, adapter.deltas, strict=True)],
        None,
        "",
    )
    save_adapter(soft, tmp_path / "soft.safetensors")
    back = load_adapter(tmp_path / "soft.safetensors")
    assert back.spec == of
    routed = next(index for index, site in enumerate(back.sites) if site.routed)
    gate = back.delta(routed).hidden(torch.randn(9, back.sites[routed].in_width), None)[1]
    assert ((gate > 0).sum(-1) == 2).all() and (gate.sum(-1) < 1).all()


class Skeleton(torch.nn.Module):
    """The modules that the table names, for a FLUX of any shape."""

    def __init__(self, shape=SHAPE):
        super().__init__()
        sizes: dict[str, int] = {}
        for site in icedit_moe_sites(shape):
            end = max(slot.start + slot.width for slot in site.slots)
            sizes[site.module] = max(end, sizes.get(site.module, 0))
        widths = {site.module: site.in_width for site in icedit_moe_sites(shape)}
        for path, out_width in sizes.items():
            parent = self
            *folders, name = path.split(".")
            for folder in folders:
                if not hasattr(parent, folder):
                    parent.add_module(folder, torch.nn.Module())
                parent = getattr(parent, folder)
            parent.add_module(name, torch.nn.Linear(widths[path], out_width).double())


def naive(content, site, x):
    """Per token and slot: the plain product, or that of the expert with the largest router value."""
    total = torch.zeros(*x.shape[:-1], max(slot.start + slot.width for slot in site.slots), dtype=x.dtype)
    for slot in site.slots:
        key = f"transformer.{slot.key}"
        for index in torch.cartesian_prod(*(torch.arange(size) for size in x.shape[:-1])).tolist():
            token, name = x[tuple(index)], ""
            if f"{key}.lora_route.weight" in content:
                name = f".expert_{int((content[f'{key}.lora_route.weight'] @ token).argmax())}"
            delta = content[f"{key}.lora_B{name}.weight"] @ (content[f"{key}.lora_A{name}.weight"] @ token)
            total[(*index, slice(slot.start, slot.start + slot.width))] += delta
    return total


@torch.no_grad()
@pytest.mark.parametrize("kind", ["icedit", "icedit_moe"])
def test_every_linear_computes_what_the_research_code_writes_down(tmp_path, kind):
    content = {key: tensor.double() for key, tensor in tensors(kind).items()}
    adapter, model = load_adapter(write(tmp_path, content)), Skeleton()
    by_module: dict[str, list] = {}
    for site in adapter.sites:
        by_module.setdefault(site.module, []).append(site)
    assert len(by_module["single_blocks.0.linear1"]) == 2
    for path, sites in by_module.items():
        linear = model.get_submodule(path)
        x = torch.randn(2, 3, sites[0].in_width, dtype=torch.float64)
        expected = linear(x)
        for site in sites:
            part = naive(content, site, x)
            expected[..., : part.shape[-1]] += 0.5 * part
        with attached(model, [Attachment(adapter, None, 0.5)], rows=2):
            found = linear(x)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_the_routed_part_is_the_experts_alone(tmp_path):
    adapter = load_adapter(write(tmp_path / "moe", tensors("icedit_moe")))
    part = adapter.routed_part()
    assert [site.module for site in part.sites] == [
        "double_blocks.0.img_mlp.2", "single_blocks.0.linear2", "single_blocks.1.linear2"
    ]  # fmt: skip
    assert all(any(part.delta(i) is delta for delta in adapter.deltas) for i in range(3))
    assert load_adapter(write(tmp_path / "plain", tensors("icedit"))).routed_part() is None


def test_static_mean_is_the_mean_of_products_and_not_the_product_of_means(tmp_path):
    content = tensors("icedit_moe")
    adapter = load_adapter(write(tmp_path, content))
    found = {slot.key: up @ down for _, slot, down, up in released_icedit.static_mean(adapter)}
    assert len(found) == len({key.rsplit(".lora_", 1)[0] for key in content})
    key = "transformer_blocks.0.ff.net.2"
    downs, ups = (
        [content[f"transformer.{key}.lora_{side}.expert_{index}.weight"] for index in range(4)] for side in "AB"
    )
    exact = sum(up @ down for up, down in zip(ups, downs, strict=True)) / 4
    torch.testing.assert_close(found[key], exact)
    apart = (sum(ups) / 4) @ (sum(downs) / 4)
    assert (apart - exact).norm() > 0.3 * exact.norm()


def test_missing_unexpected_and_misshaped_are_reported_together(tmp_path):
    content = tensors("icedit_moe")
    del content["transformer.single_transformer_blocks.1.proj_out.lora_B.expert_2.weight"]
    content["transformer.transformer_blocks.0.attn.add_q_proj.lora_A.weight"] = torch.zeros(2, 16)
    content["transformer.transformer_blocks.0.ff.net.2.lora_route.weight"] = torch.zeros(4, 17)
    text = problems_of(write(tmp_path, content))
    assert "1 missing" in text and "proj_out.lora_B.expert_2" in text
    assert "1 unexpected" in text and "add_q_proj" in text
    assert "1 of wrong shape" in text and "[4, 17], [4, 64] expected" in text


def test_not_a_number_is_found_and_named(tmp_path):
    content = tensors("icedit_moe")
    content["transformer.x_embedder.lora_A.weight"][0, 3] = float("nan")
    assert "transformer.x_embedder.lora_A.weight holds 1 NaN" in problems_of(write(tmp_path, content))


def test_an_ordinary_lora_in_diffusers_names_goes_to_the_lora_loader(tmp_path):
    content = {key: tensor for key, tensor in tensors("icedit").items() if ".attn." in key}
    text = problems_of(write(tmp_path, content))
    assert "no known adapter" in text and "LoRA loader" in text


@pytest.mark.parametrize(
    "content",
    [
        {"transformer.transformer_blocks.0.ff.net.2.lora_route.weight": torch.zeros(4, 64)},
        {"transformer.single_transformer_blocks.99999999.proj_out.lora_route.weight": torch.zeros(4, 80)},
        {
            "transformer.transformer_blocks.0.ff.net.2.lora_A.expert_999999999.weight": torch.zeros(4),
            "transformer.transformer_blocks.0.ff.net.2.lora_route.weight": torch.zeros(4, 64),
        },
        {"transformer.x_embedder.lora_A.weight": torch.zeros(2, 384)},
        {
            "transformer.x_embedder.lora_A.weight": torch.zeros(2, 384),
            "transformer.x_embedder.lora_B.weight": torch.zeros(0, 0),
        },
    ],
)  # fmt: skip
def test_fragments_are_refused(tmp_path, content):
    problems_of(write(tmp_path, content))


def test_a_static_file_replaces_its_own_kind_alone(tmp_path):
    path = tmp_path / "static.safetensors"
    write(tmp_path / "moe.safetensors", tensors("icedit_moe"))
    adapter = load_adapter(tmp_path / "moe.safetensors")
    released_icedit.save_static(adapter, path)
    released_icedit.save_static(adapter, path)
    save_file(tensors("icedit"), path)
    before = path.read_bytes()
    with pytest.raises(X2EditError, match="was not written by this node"):
        released_icedit.save_static(adapter, path)
    assert path.read_bytes() == before

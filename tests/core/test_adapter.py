"""An adapter in memory: what its file may say of it, and what becomes of a part of it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from x2edit_core.adapters.adapter import Adapter, AdapterSpec
from x2edit_core.errors import ModelMismatchError, X2EditError
from x2edit_core.families import FLUX1, QWEN_IMAGE
from x2edit_core.families.flux1 import FluxShape
from x2edit_core.tasks import Task, TaskChoice
from x2edit_core.train.adapters import new_adapter, spec_for
from x2edit_core.train.config import AdapterConfig

SHAPE = FluxShape(64, 1, 1)
SPEC = AdapterSpec("x2edit", SHAPE, 8, 4, 2, 6.0, shared=True)
BOUNDS = {"experts": (0, 1024), "rank": (1, 16384), "top_k": (1, 1024), "plain_rank": (0, 16384)}


@pytest.mark.parametrize(("name", "least", "most"), [(name, *bounds) for name, bounds in BOUNDS.items()])
def test_whole_numbers_of_a_file_have_bounds(name, least, most):
    """A file is a stranger's: what it says of sizes decides how much memory is asked for."""
    for value in (least, most):
        assert getattr(replace(SPEC, **{name: value}), name) == value
    for value in (least - 1, most + 1, 2.0, "2", None):
        with pytest.raises(X2EditError, match=f"{name} = {re.escape(repr(value))}"):
            replace(SPEC, **{name: value})


@pytest.mark.parametrize(
    "wrong",
    [{"alpha": "6"}, {"alpha": float("nan")}, {"alpha": float("inf")}, {"offsets": (64,)}, {"offsets": (64, 128, 256)},
     {"offsets": (64.0, 128)}, {"offsets": ("64", "128")}, {"order": "SOFTMAX_FIRST"}, {"family": "qwen_image"}],
)  # fmt: skip
def test_other_wrong_entries_are_refused(wrong):
    with pytest.raises(X2EditError):
        replace(SPEC, **wrong)


def adapter(kind="moe", aware=False, **settings) -> Adapter:
    return new_adapter(spec_for(kind, AdapterConfig(**{"experts": 8, "rank": 4, **settings}), SHAPE), aware, 0)


def test_alpha_over_rank_scales_what_is_packed():
    spec = replace(SPEC, alpha=6.0, rank=4)
    site = spec.sites[0]
    shapes = spec.shapes_at(site, 0)
    delta = spec.pack(site, torch.ones(shapes["down_gate"]), None, torch.ones(shapes["up"]))
    assert delta.scale == 1.5


def test_a_part_is_of_the_same_adapter_on_the_same_modules():
    whole = adapter(aware=True)
    wanted = {site.module for site in whole.sites[1:3]}
    part = whole.part(lambda site: site.module in wanted)
    assert part is not None and part.spec is whole.spec and part.source == whole.source
    assert [site.module for site in part.sites] == [site.module for site in whole.sites if site.module in wanted]
    assert all(any(delta is other for other in whole.deltas) for delta in part.deltas)
    assert part.task_table is not None and torch.equal(part.task_table, whole.task_table)
    assert whole.part(lambda site: True) is whole and whole.part(lambda site: False) is None


def test_the_task_table_is_a_constant_and_is_mixed_in_float32_at_least():
    made = adapter(aware=True)
    table = made.task_table.detach()
    for dtype, found in (
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ):
        kept = Adapter(made.spec, list(made.deltas), table.to(dtype), "x", made.sites)
        assert not kept.task_table.requires_grad
        rows = kept.task_embeddings([TaskChoice(Task.STYLE), TaskChoice(Task.COLOR, Task.STYLE, 0.25)])
        assert rows.dtype == found
        exact = table.to(dtype).double()
        mixed = torch.stack((exact[Task.STYLE.id], 0.75 * exact[Task.COLOR.id] + 0.25 * exact[Task.STYLE.id]))
        torch.testing.assert_close(rows.double(), mixed, rtol=1e-5, atol=1e-6)


def test_an_adapter_fits_models_of_its_family_and_shape_alone():
    made = adapter()
    made.require_fit(FLUX1, SHAPE)
    with pytest.raises(ModelMismatchError, match=re.escape(str(SHAPE))):
        made.require_fit(FLUX1, FluxShape(64, 2, 1))
    with pytest.raises(ModelMismatchError):
        made.require_fit(QWEN_IMAGE, SHAPE)


def numbers(text):
    return [int(number) for number in re.findall(r"\d+", text)]


def described(spec: AdapterSpec, aware=False) -> str:
    """Up to the model, which has words of its own."""
    sites = [spec.pack(site, *_packed(spec, site)) for site in spec.sites]
    words, _, model = Adapter(spec, sites, torch.zeros(16, 4) if aware else None, "x").describe().partition("; ")
    assert model == spec.model
    return words


def _packed(spec, site):
    shapes = spec.shapes_at(site, 0)
    return torch.zeros(shapes["down_gate"]), None, torch.zeros(shapes["up"])


def test_an_adapter_is_described_by_what_it_has():
    routed = described(SPEC)
    assert routed.startswith("x2edit: ") and numbers(routed) == [2, 8, 4, 2]
    assert "shared" in routed and "task" not in routed and "task" in described(SPEC, aware=True)
    assert "shared" not in described(replace(SPEC, shared=False))
    mixed = replace(SPEC, kind="icedit_moe", shared=False)
    assert numbers(described(mixed)) == [8, 4, 2, 4], (
        "plain parts have the rank of the experts unless they have their own"
    )
    both = described(replace(mixed, plain_rank=3, shared=True))
    assert numbers(both) == [8, 4, 2, 3] and "shared" in both
    plain = described(replace(SPEC, kind="icedit", experts=0, top_k=1))
    assert numbers(plain) == [4] and "expert" not in plain

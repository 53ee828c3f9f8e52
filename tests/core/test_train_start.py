"""Beginning from an earlier adapter: it does at first exactly what that did, and what cannot be exact is refused by name."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from x2edit_core.adapters.adapter import Adapter
from x2edit_core.adapters.checkpoint import load_adapter
from x2edit_core.errors import X2EditError
from x2edit_core.families.flux1 import FluxShape
from x2edit_core.train.adapters import new_adapter, spec_for
from x2edit_core.train.config import AdapterConfig
from x2edit_core.train.start import begun_from, fingerprint

from .models import SHAPE as RELEASED
from .models import write_released
from .test_released_icedit import tensors as icedit_tensors
from .test_released_icedit import write as write_icedit

SHAPE = FluxShape(hidden=64, double=1, single=1)
CONFIG = AdapterConfig(experts=5, rank=3, top_k=2, plain_rank=4, alpha=6.0)
KINDS = ["x2edit", "moe", "lora", "icedit", "icedit_moe"]


def trained(kind, config=CONFIG, seed=4):
    """An adapter with something in every part."""
    adapter = new_adapter(spec_for(kind, config, SHAPE), kind == "x2edit", seed)
    torch.manual_seed(seed)
    with torch.no_grad():
        for delta in adapter.deltas:
            delta.up.normal_()
    return adapter


def begun(earlier, kind, **changes):
    config = dataclasses.replace(CONFIG, alpha=0.0, **changes)
    return begun_from(earlier, spec_for(kind, config, SHAPE), config, kind == "x2edit", 9)


def outputs(adapter: Adapter, tasks=(3, 11)):
    """What every site adds to random tokens, one row a task."""
    found = []
    for index, site in enumerate(adapter.sites):
        delta = adapter.delta(index)
        x = torch.randn(8, site.in_width, generator=torch.Generator().manual_seed(index)).to(delta.up)
        bias = None
        if adapter.task_table is not None and delta.task_gate is not None:
            bias = delta.task_bias(adapter.task_table[list(tasks)]).repeat_interleave(4, 0)
        out = torch.zeros(8, site.starts[-1] + site.width).to(delta.up)
        with torch.no_grad():
            delta.add_to(out, delta.hidden(x, bias)[0], site.starts, 1.0)
        found.append(out)
    return torch.cat([part.flatten() for part in found])


def require_equal(now, earlier):
    """But for the order in which a sum's terms are added, which zeros among them may change: so in float64."""
    torch.testing.assert_close(outputs(now.double()), outputs(earlier.double()), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_of_the_same_size_it_is_the_earlier_one_bit_by_bit(kind):
    earlier = trained(kind)
    now = begun(earlier, kind)
    assert outputs(earlier).abs().max() > 0.1 and torch.equal(outputs(now), outputs(earlier))
    ours, theirs = now.state_dict(), earlier.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert all(weight.requires_grad for weight in now.parameters()) and now.spec.scale == earlier.spec.scale
    assert fingerprint(now) == fingerprint(earlier) != fingerprint(trained(kind, seed=5))


@pytest.mark.parametrize("kind", KINDS)
def test_further_ranks_change_nothing_and_can_learn(kind):
    earlier = trained(kind)
    now = begun(earlier, kind, rank=8, plain_rank=9)
    assert now.spec.rank == 8 and now.spec.scale == earlier.spec.scale
    require_equal(now, earlier)
    up, down = now.delta(0).parts(0)[0][1], now.delta(0).parts(0)[0][0]
    had = 3 if now.sites[0].routed else 4
    assert not up[:, had:].any() and up[:, :had].any() and down[had:].any()


def test_experts_beside_a_plain_lora_change_nothing():
    earlier = trained("lora")
    for kind in ("moe", "x2edit"):
        now = begun(earlier, kind)
        assert now.spec.experts == 5 and now.task_aware == (kind == "x2edit")
        require_equal(now, earlier)
        assert now.delta(0).gate(0).any(), "gates that choose can be learnt"


def test_a_task_and_an_always_on_part_can_be_added():
    earlier = trained("moe", dataclasses.replace(CONFIG, shared=False))
    now = begun(earlier, "x2edit")
    assert now.task_aware and now.spec.shared and not now.delta(0).task_gate.any()
    require_equal(now, earlier)


@pytest.mark.parametrize(
    ("kind", "wanted", "changes", "told"),
    [
        ("x2edit", "x2edit", {"rank": 2}, "rank 2 is smaller: set rank = 3"),
        ("x2edit", "x2edit", {"experts": 8}, "8 experts: further ones would take part.*set experts = 5"),
        ("x2edit", "x2edit", {"experts": 4}, "set experts = 5"),
        ("x2edit", "x2edit", {"top_k": 3}, "set top_k = 2"),
        ("x2edit", "x2edit", {"shared": False}, "set shared = true"),
        ("x2edit", "x2edit", {"offset_512": 32}, r"offset_512 = 64"),
        ("x2edit", "moe", {}, "train kind x2edit"),
        ("x2edit", "lora", {}, "set experts = 5"),
        ("x2edit", "icedit_moe", {}, "train that kind"),
        ("icedit", "icedit_moe", {}, "train that kind"),
        ("icedit_moe", "icedit_moe", {"plain_rank": 3}, "set plain_rank = 4"),
    ],
)
def test_what_cannot_be_exact_is_refused_by_name(kind, wanted, changes, told):
    with pytest.raises(X2EditError, match=told):
        begun(trained(kind), wanted, **changes)


def test_all_differences_are_told_at_once_and_an_alpha_of_ones_own_must_fit():
    with pytest.raises(X2EditError, match=r"rank 2 is smaller.*set experts = 5"):
        begun(trained("x2edit"), "x2edit", rank=2, experts=4)
    own = dataclasses.replace(CONFIG, alpha=3.0)
    with pytest.raises(X2EditError, match=r"alpha = 3: set alpha = 6, or 0 to take its scale"):
        begun_from(trained("x2edit"), spec_for("x2edit", own, SHAPE), own, True, 0)


def test_an_adapter_for_another_base_is_refused():
    spec = spec_for("x2edit", CONFIG, FluxShape(hidden=64, double=2, single=1))
    with pytest.raises(X2EditError, match=r"was made for a FLUX\.1 with .* this run trains on a"):
        begun_from(trained("x2edit"), spec, CONFIG, True, 0)


def test_a_released_x2edit_is_begun_from_exactly(tmp_path):
    earlier = load_adapter(write_released(tmp_path / "released"))
    old = earlier.spec
    config = AdapterConfig(old.experts, old.rank, old.top_k, offset_512=old.offsets[0], offset_1024=old.offsets[1])
    now = begun_from(earlier, spec_for("x2edit", config, RELEASED), config, True, 0)
    theirs = earlier.state_dict()
    assert all(torch.equal(tensor, theirs[name].float()) for name, tensor in now.state_dict().items())


@pytest.mark.parametrize("kind", ["icedit", "icedit_moe"])
def test_a_released_icedit_is_begun_from_exactly_and_can_be_widened(tmp_path, kind):
    earlier = load_adapter(write_icedit(tmp_path, icedit_tensors(kind)))
    old = earlier.spec
    for rank in (old.rank, old.rank + 2):
        config = AdapterConfig(max(1, old.experts), rank, 1, plain_rank=(old.plain_rank or old.rank) + rank - old.rank)
        now = begun_from(earlier, spec_for(kind, config, old.shape), config, False, 0)
        require_equal(now, earlier)
    with pytest.raises(X2EditError, match="set top_k = 1" if old.experts else "rank 1 is smaller"):
        config = AdapterConfig(max(1, old.experts), 1, 2)
        begun_from(earlier, spec_for(kind, config, old.shape), config, False, 0)

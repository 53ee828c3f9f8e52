from __future__ import annotations

import pytest

from x2edit_core.errors import X2EditError
from x2edit_core.families import FLUX1, family_named
from x2edit_core.families.flux1 import FluxShape, x2edit_sites

FLUX = FluxShape(hidden=3072, double=19, single=38)


def test_full_size_flux_has_upstreams_190_places():
    sites = x2edit_sites(FLUX)
    slots = [slot for site in sites for slot in site.slots]
    assert len(slots) == 190
    assert len({slot.key for slot in slots}) == 190
    assert len({site.module for site in sites}) == len(sites) == 19 * 2 + 38


def test_fused_columns_are_q_k_v_in_order():
    first = x2edit_sites(FLUX)[0]
    assert first.module == "double_blocks.0.img_attn.qkv"
    assert [(slot.key.rsplit(".", 1)[1], slot.start, slot.width) for slot in first.slots] == [
        ("q_moe_lora", 0, 3072),
        ("k_moe_lora", 3072, 3072),
        ("v_moe_lora", 6144, 3072),
    ]


def test_only_the_attention_output_is_serial_and_only_single_blocks_route_text():
    for site in x2edit_sites(FLUX):
        assert (site.side == "output") == site.module.endswith("img_attn.proj")
        assert (site.stream == "all") == site.module.startswith("single_blocks")


def test_any_depth_and_width():
    assert x2edit_sites(FluxShape(64, 0, 3))[2].module == "single_blocks.2.linear1"


@pytest.mark.parametrize("shape", [(0, 1, 1), (64, -1, 1), (64, 1, 10**9), ("64", 1, 1)])
def test_impossible_shapes_are_refused(shape):
    with pytest.raises(X2EditError, match="whole number"):
        FluxShape(*shape)


def test_unknown_kind_is_named():
    with pytest.raises(X2EditError, match="'qwen'"):
        FLUX1.sites("qwen", FLUX)
    with pytest.raises(X2EditError, match="'sdxl'"):
        family_named("sdxl")

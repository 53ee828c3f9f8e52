from __future__ import annotations

import pytest
import torch

from x2edit_core.reference import (
    METHOD,
    ReferenceMethod,
    automatic_offset,
    double_block_forward,
    foreign_method,
    host_method,
    ours,
    place_references,
    plan_references,
    reference_grid,
    single_block_forward,
)


def test_grid_moves_rows_only():
    grid = reference_grid(2, 3, 64, 3, torch.device("cpu"))
    assert grid.tolist() == [[0, 64, 0], [0, 64, 1], [0, 64, 2], [0, 65, 0], [0, 65, 1], [0, 65, 2]]


@pytest.mark.parametrize(("tokens", "offset"), [(1, 64), (1024, 64), (1025, 128), (4096, 128)])
def test_automatic_offset_follows_the_two_training_stages(tokens, offset):
    assert automatic_offset(tokens) == offset


def test_method_is_a_plain_name_to_the_host_and_remembers_whose_latents_are_whose():
    method = ReferenceMethod((False, True))
    assert method == METHOD and isinstance(method, str)
    assert ours(method, 2) == (False, True)
    assert ours(method, 3) == (False, True, False), "a latent added later by another node is not ours"
    assert ours(METHOD, 2) == (True, True)
    assert ours("index", 2) == ours(None, 2) == (False, False)


def plan_of(flags, target=4):
    grids = [reference_grid(1, 2 + k, 10 * (k + 1), 3, torch.device("cpu")) for k in range(len(flags))]
    return plan_references(target, grids, flags)


def test_only_our_references_move():
    plan = plan_of((False, True))
    ids = torch.full((2, 4 + 2 + 3, 3), 7.0)
    placed = place_references(ids, plan)
    assert torch.equal(placed[:, :6], ids[:, :6])
    assert placed[1, 6:].tolist() == [[0, 20, 0], [0, 20, 1], [0, 20, 2]]
    assert (ids == 7.0).all(), "the host's tensor is not written to"
    assert plan.spans == ((0, 4, 0), (4, 6, 0), (6, 9, 1)) and plan.image_tokens == 9


def test_positions_are_made_where_they_are_needed():
    grid = reference_grid(2, 3, 64, 4, torch.device("meta"))
    assert grid.device.type == "meta" and grid.shape == (6, 4) and grid.dtype == torch.float32


def test_each_reference_needs_its_flag():
    grids = [reference_grid(1, 2, 64, 3, torch.device("cpu"))]
    for flags in ((), (True, False)):
        with pytest.raises(ValueError, match="zip"):
            plan_references(4, grids, flags)


@pytest.mark.parametrize(
    ("method", "foreign", "host"),
    [
        (None, None, (METHOD, False)),
        ("index", "index", ("index", False)),
        ("index_timestep_zero", "index_timestep_zero", ("index", True)),
        (METHOD, None, (METHOD, False)),
        (ReferenceMethod((True,)), None, (METHOD, False)),
        (ReferenceMethod((False, True), "uxo"), "uxo", ("uxo", False)),
        (ReferenceMethod((False, True), "index_timestep_zero"), "index_timestep_zero", ("index", True)),
    ],
)
def test_references_of_other_nodes_keep_the_method_they_were_given(method, foreign, host):
    """Those that the host would modulate as clean are placed by its index, since ours modulates them."""
    assert foreign_method(method) == foreign
    assert host_method(method) == host


def test_what_a_block_is_given_reaches_it_by_place_and_by_name():
    plan, clean = plan_of((True,)), torch.ones(2, 8)
    img, txt, x, vec = (torch.randn(2, count, 8) for count in (6, 5, 11, 1))
    vec = vec[:, 0]
    double, single = (
        make(lambda *args, **kwargs: (args, kwargs), clean, plan)
        for make in (double_block_forward, single_block_forward)
    )
    args, kwargs = double(img, txt, vec, "pe", mask="mask")
    assert args[0] is img and args[1] is txt and args[3:] == ("pe",) and kwargs["mask"] == "mask"
    assert args[2].shape == (2, 2, 8) and torch.equal(args[2][:, 0], vec) and torch.equal(args[2][:, 1], clean)
    args, kwargs = single(x, vec, "pe", mask="mask")
    assert args[0] is x and args[2:] == ("pe",) and kwargs["mask"] == "mask"
    assert args[1].shape == (2, 2, 8) and torch.equal(args[1][:, 0], vec) and torch.equal(args[1][:, 1], clean)


def test_double_blocks_get_both_modulations():
    seen = {}

    def block(img, txt, vec, pe=None, **kwargs):
        seen.update(kwargs, vec=vec)
        return img, txt

    vec, clean = torch.zeros(2, 8), torch.ones(2, 8)
    forward = double_block_forward(block, clean, plan_of((True,)))
    forward(img=torch.zeros(2, 6, 8), txt=torch.zeros(2, 5, 8), vec=vec, pe=None, attn_mask=None)
    assert seen["modulation_dims_img"] == [(0, 4, 0), (4, 6, 1)]
    assert seen["modulation_dims_txt"] == [(0, 5, 0)]
    assert torch.equal(seen["vec"], torch.stack((vec, clean), 1))


def test_single_blocks_count_text_first():
    seen = {}

    def block(x, vec, pe=None, **kwargs):
        seen.update(kwargs)
        return x

    forward = single_block_forward(block, torch.ones(2, 8), plan_of((True, False)))
    forward(torch.zeros(2, 5 + 9, 8), vec=torch.zeros(2, 8), pe=None)
    assert seen["modulation_dims"] == [(0, 9, 0), (9, 11, 1), (11, 14, 0)]

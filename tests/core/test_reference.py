from __future__ import annotations

import pytest
import torch

from x2edit_core.reference import (
    METHOD,
    ReferenceMethod,
    automatic_offset,
    double_block_forward,
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

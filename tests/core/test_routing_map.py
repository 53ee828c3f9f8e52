from __future__ import annotations

import numpy as np
import torch

from x2edit_core.adapters.routing_map import describe_routing, draw_routing, expert_colours


def test_each_patch_has_its_experts_colour():
    gate = torch.zeros(6 + 4, 3)
    leaders = [0, 1, 2, 2, 1, 0, 1, 1, 0, 0]
    gate[range(10), leaders] = 1.0
    sheet = np.asarray(draw_routing(gate, [(2, 3), (2, 2)]))
    colours = expert_colours(3)
    for token, leader in enumerate(leaders[:6]):
        row, column = divmod(token, 3)
        assert np.array_equal(sheet[row * 16 + 8, column * 16 + 8], colours[leader])
    for token, leader in enumerate(leaders[6:]):
        row, column = divmod(token, 2)
        assert np.array_equal(sheet[row * 16 + 8, 3 * 16 + 8 + column * 16 + 8], colours[leader])


def test_colours_differ():
    assert len({tuple(colour) for colour in expert_colours(12)}) == 12


def test_report_counts_leaders():
    gate = torch.zeros(4, 2)
    gate[:3, 0], gate[3:, 1] = 0.5, 0.25
    report = describe_routing(gate, "block")
    assert "75.0%" in report and "25.0%" in report and "0.500" in report

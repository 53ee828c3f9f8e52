"""Which expert serves which patch, as a picture and in words."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

_CELL_PX = 16
_LEGEND_PX = 26
_GAP_PX = 8


def expert_colours(experts: int) -> np.ndarray:
    """One clearly different colour per expert, uint8 [E, 3]."""
    hues = (np.arange(experts) * 0.618034) % 1.0
    rgb = [colorsys.hls_to_rgb(hue, 0.45 + 0.15 * (index % 3), 0.75) for index, hue in enumerate(hues)]
    return (np.array(rgb) * 255).round().astype(np.uint8)


def draw_routing(gate: Tensor, grids: Sequence[tuple[int, int]]) -> Image.Image:
    """The strongest expert of every token as coloured patches, brighter where its weight is larger, with a legend.

    gate [T, E]: weights of one row's tokens, of which the first sum(h·w) belong to `grids` [(h, w), …]: target first, then
    references, drawn side by side.
    """
    weight, expert = gate.max(dim=-1)
    colours = expert_colours(gate.shape[-1])
    panels, start = [], 0
    for height, width in grids:
        end = start + height * width
        share = (weight[start:end] / gate.max().clamp_min(1e-6)).numpy()[:, None]
        shade = colours[expert[start:end].numpy()] * (0.35 + 0.65 * share)
        cell = Image.fromarray(shade.reshape(height, width, 3).astype(np.uint8))
        panels.append(cell.resize((width * _CELL_PX, height * _CELL_PX), Image.Resampling.NEAREST))
        start = end
    return _with_legend(panels, colours)


def _with_legend(panels: Sequence[Image.Image], colours: np.ndarray) -> Image.Image:
    experts = len(colours)
    wide = sum(panel.width for panel in panels) + _GAP_PX * (len(panels) - 1)
    columns = max(min(experts, wide // 48), 1)
    rows = -(-experts // columns)
    sheet = Image.new("RGB", (max(wide, 48 * columns), max(p.height for p in panels) + rows * _LEGEND_PX), "white")
    left = 0
    for panel in panels:
        sheet.paste(panel, (left, 0))
        left += panel.width + _GAP_PX
    draw = ImageDraw.Draw(sheet)
    top = max(panel.height for panel in panels)
    for index in range(experts):
        x, y = index % columns * 48 + 4, top + index // columns * _LEGEND_PX + 5
        draw.rectangle((x, y, x + 16, y + 16), fill=tuple(int(part) for part in colours[index]))
        draw.text((x + 21, y + 2), str(index), fill="black")
    return sheet


def describe_routing(gate: Tensor, title: str) -> str:
    """Per expert the share of tokens it leads, the share it serves at all, and its mean weight there; gate [T, E]."""
    led = torch.bincount(gate.argmax(-1), minlength=gate.shape[-1]).float() / gate.shape[0]
    served = (gate > 0).float().mean(0)
    mean = gate.sum(0) / (gate > 0).sum(0).clamp_min(1)
    lines = [title, "expert   leads  serves  mean weight"]
    lines += [
        f"{index:>6}  {led[index]:6.1%} {served[index]:7.1%}  {mean[index]:.3f}" for index in range(gate.shape[-1])
    ]
    busy = led[led > 0]
    balance = float(-(busy * busy.log()).sum() / torch.tensor(float(max(gate.shape[-1], 2))).log())
    return "\n".join([*lines, f"balance {balance:.2f} (1 = all experts lead equally often)"])

#!/usr/bin/env python3
"""What comes back of a picture after an editor that moves, zooms, warps, tones, softens and compresses it.

    python3 tools/dev.py bench restore
    python3 tools/dev.py bench restore --json docs/bench/restore-cpu.json
    python3 tools/dev.py bench restore --cases 20 --photos FOLDER

Local edits of scenes and of made-up photographs, with drifts drawn by seed (`planted.py`); of photographs in a folder too,
if one is given. Beside it: the edit pasted where it plainly differs, and the same after a plain affine fit.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.measure import machine, write_json
from bench.planted import Drift, case, drawn, drifted, global_case, photo, true_places
from x2edit_core.diptych import changed_area, feathered
from x2edit_core.geometry import Size
from x2edit_core.pixels import paste, resize, size_of
from x2edit_core.restore.colour import delta_e00
from x2edit_core.restore.find import find, given_back
from x2edit_core.restore.registration import TERMS, Alignment, grid, identity
from x2edit_core.restore.smooth import luma, slope, smooth

SIDE = 512
HELD_OUT = 90_000
"""The first seed of what is measured; the thresholds were set on seeds near 0."""
Restored = tuple[Tensor, Tensor, Alignment, str]
"""The picture, the mask, where the edit was thought to lie, and why it was left alone, if it was."""


@dataclass(frozen=True)
class Row:
    """One edit by one way: pixels of displacement left, ΔE00 outside the edit, and the mask's overlap with the edit."""

    kind: str
    left_px: float
    outside: float
    overlap: float
    kept: str


def naive(source: Tensor, edit: Tensor) -> Restored:
    """The edit where it differs plainly from the source, as it is."""
    return _pasted(source, resize(edit, size_of(source)), Alignment(identity()))


def affine(source: Tensor, edit: Tensor) -> Restored:
    """The same after an affine map fitted to all pixels by least squares, coarse to fine."""
    terms = identity()
    for side in (64, 128, 256, 512):
        one, other = (smooth(luma(resize(picture, Size(side, side))), 1.0) for picture in (source, edit))
        for _ in range(8):
            terms = _least_squares(one, other, terms)
    alignment = Alignment(terms)
    x, y = grid(size_of(source), source)
    places = alignment.places(x, y)[None]
    moved = torch.nn.functional.grid_sample(edit.movedim(-1, 1), places, "bicubic", "border", False)
    return _pasted(source, moved.movedim(1, -1).clamp(0, 1), alignment)


def _least_squares(one: Tensor, other: Tensor, terms: Tensor) -> Tensor:
    x, y = grid(Size(*one.shape[-2:]), one)
    places = Alignment(terms).places(x, y)
    moved = torch.nn.functional.grid_sample(other, places[None], "bilinear", "border", False)[0, 0]
    down, across = torch.gradient(moved)
    at = torch.stack((torch.ones_like(x), x, y), -1)
    half = one.shape[-1] / 2
    jacobian = torch.cat((across[..., None] * at * half, down[..., None] * at * half), -1).flatten(0, 1).double()
    normal = jacobian.T @ jacobian + 1e-6 * torch.eye(6, dtype=torch.float64)
    step = torch.linalg.solve(normal, jacobian.T @ (one[0, 0] - moved).flatten().double())
    return terms + torch.cat((step.reshape(2, 3), torch.zeros(2, TERMS - 3, dtype=torch.float64)), 1)


def _pasted(source: Tensor, edit: Tensor, alignment: Alignment) -> Restored:
    area = feathered(changed_area(source, edit))
    return paste(edit, source, area), area, alignment, ""


def ours(source: Tensor, edit: Tensor) -> Restored:
    picture, mask, found = given_back(source, edit)
    return picture, mask, found.alignment, found.kept


WAYS: dict[str, Callable[[Tensor, Tensor], Restored]] = {
    "naive paste": naive,
    "plain affine fit": affine,
    "unchanged: find": ours,
}


def measured(kind: str, source: Tensor, target: Tensor, drift: Drift, way: str, seed: int) -> Row:
    """Displacement counts where it can be seen: on texture that the edit left alone."""
    region = ((source - target).abs().amax(-1) > 6 / 255)[0]
    edit = drifted(target, drift, seed)
    picture, mask, alignment, kept = WAYS[way](source, edit)
    size = size_of(source)
    x, y = grid(size, torch.zeros(1, dtype=torch.float64))
    half = torch.tensor((size.width / 2, size.height / 2), dtype=torch.float64)
    left = ((alignment.places(x, y) - true_places(drift, size, size)) * half).norm(dim=-1)
    seen = (slope(source.movedim(-1, 1)).amax(1)[0] > 0.02) & ~region
    marked = mask[0] > 0.5
    overlap = float((marked & region).sum() / (marked | region).sum().clamp_min(1))
    return Row(kind, float(left[seen].mean()), float(delta_e00(picture, target)[0][~region].mean()), overlap, kept)


def summary(rows: list[Row]) -> dict[str, float | int]:
    def at(share: float, values: list[float]) -> float:
        return float(np.quantile(values, share))

    left, outside, overlap = ([getattr(row, name) for row in rows] for name in ("left_px", "outside", "overlap"))
    return {
        "cases": len(rows),
        "left_px": statistics.median(left),
        "left_px_95": at(0.95, left),
        "outside": statistics.median(outside),
        "outside_95": at(0.95, outside),
        "overlap": statistics.median(overlap),
        "overlap_10": at(0.1, overlap),
        "left_alone": sum(bool(row.kept) for row in rows),
    }


def of_large(rounds: int = 3) -> dict[str, float]:
    """Seconds that a picture of 24 megapixels takes, edited at one megapixel."""
    size, small = (4000, 6000), Size(832, 1248)
    stretched = torch.nn.functional.interpolate(photo(3).movedim(-1, 1), size, mode="bicubic")
    source = stretched.movedim(1, -1).clamp(0, 1).contiguous()
    target = resize(source, small).clone()
    target[:, 200:500, 300:600] = target[:, 200:500, 300:600].flip(1)
    edit, seconds = drifted(target, drawn(np.random.default_rng(3))), []
    for _ in range(rounds):
        start = time.perf_counter()
        given_back(source, edit)
        seconds.append(time.perf_counter() - start)
    return {"megapixels": 24, "median_s": statistics.median(seconds), "least_s": min(seconds)}


def of_photos(folder: Path, count: int) -> list[tuple[str, Tensor, Tensor]]:
    """Photographs with a patch of another in them, as local edits."""
    from PIL import Image, ImageOps

    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    opened = [ImageOps.fit(Image.open(path).convert("RGB"), (SIDE, SIDE)) for path in files]
    pictures = [torch.from_numpy(np.asarray(item).astype(np.float32) / 255)[None] for item in opened]
    return [case(HELD_OUT + seed, SIDE, pictures) for seed in range(count)] if len(pictures) > 1 else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100, help="local edits, half of them of scenes")
    parser.add_argument("--whole", type=int, default=100, help="edits of the whole picture")
    parser.add_argument("--photos", type=Path, help="a folder with photographs to edit as well")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    threads = torch.get_num_threads()
    cases = [case(HELD_OUT + seed, SIDE) for seed in range(args.cases)]
    cases += of_photos(args.photos, args.cases // 2) if args.photos else []
    torch.set_num_threads(1)  # pictures of this size gain nothing from more
    rows = local_edits(cases)
    kinds = list(dict.fromkeys(row.kind for row in rows[next(iter(WAYS))]))
    ways = {
        way: {kind: summary([row for row in found if row.kind == kind]) for kind in kinds}
        for way, found in rows.items()
    }
    whole = whole_edits(args.whole)
    torch.set_num_threads(threads)
    figures = {"machine": machine(torch.device("cpu")), "side": SIDE, "ways": ways, "whole": whole, "large": of_large()}
    print(figures)
    write_json(args.json, figures)


def local_edits(cases: list[tuple[str, Tensor, Tensor]]) -> dict[str, list[Row]]:
    rows: dict[str, list[Row]] = {way: [] for way in WAYS}
    for seed, (kind, source, target) in enumerate(cases, HELD_OUT):
        drift = drawn(np.random.default_rng(seed))
        for way in WAYS:
            rows[way].append(measured(kind, source, target, drift, way, seed))
        print(seed, asdict(rows["unchanged: find"][-1]), flush=True)
    return rows


def whole_edits(count: int) -> dict[str, dict[str, int]]:
    """Task → how many of how many were left alone."""
    found: dict[str, dict[str, int]] = {}
    for seed in range(HELD_OUT, HELD_OUT + count):
        name, source, edit = global_case(seed, SIDE)
        kept = find(source, edit).kept
        row = found.setdefault(name, {"left_alone": 0, "cases": 0})
        row["left_alone"] += kept not in ("", "nothing")
        row["cases"] += 1
        if kept in ("", "nothing"):
            print(f"whole edit {seed}, {name}: not left alone ({kept or 'taken for a local one'})", flush=True)
    return found


if __name__ == "__main__":
    main()

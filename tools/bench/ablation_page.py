"""The tables of docs/ablation.md, made from the figures that `bench ablation --collect` left in docs/bench.

python3 tools/bench/ablation_page.py   write them
"""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

_DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE, FIGURES = _DOCS / "ablation.md", _DOCS / "bench" / "ablation-cpu.json"
_STARTS, _ENDS = "<!-- made by tools/bench/ablation_page.py -->\n", "<!-- end -->"

Figures = Mapping[str, Any]
Row = Mapping[str, float]


def page(text: str) -> str:
    """The page with its tables made anew; what is said of them is written by hand."""
    before, rest = text.split(_STARTS)
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    return f"{before}{_STARTS}{ablation_tables(figures)}\n{_ENDS}{rest.split(_ENDS, 1)[1]}"


def ablation_tables(figures: Figures) -> str:
    """Means with their spread, each edit by itself, and which experts serve which edit."""
    machine = figures["machine"]
    head = (
        f"{figures['steps']} steps of {figures['batch']} at {figures['side']} px on {figures['pairs']} pairs, "
        f"{figures['scored']} edits scored; {machine['device']}, torch {machine['torch']}."
    )
    sections = [head, _means(figures)]
    for said, arms in figures["said"].items():
        if arms:
            sections += [f"Edit by edit, {_title(said)} (PSNR in dB, mean of the seeds):", _edits(figures, said)]
    return "\n\n".join([*sections, "Experts:", _experts(figures)])


def _title(said: str) -> str:
    return {"named": "with sentences that name the edit"}.get(said, "with one sentence for all")


def _means(figures: Figures) -> str:
    said = figures["said"]
    head = ["", "trained", "rate", *(title for name in said for title in (_title(name), "told a wrong task"))]
    rows = [[name, "", "", *_of_base(by_edit, said)] for name, by_edit in _reference_rows(figures).items()]
    for arm in dict.fromkeys(arm for arms in said.values() for arm in arms):
        known = next(arms[arm] for arms in said.values() if arm in arms)
        cells = [arm, f"{known['runs'][0]['parameters'] / 1e6:.2f} M", f"{known['rate']:g}"]
        for arms in said.values():
            runs = arms.get(arm, {}).get("runs", [])
            cells += [_spread([mean(run["edits_db"]) for run in runs]), _spread(_wrong(runs))]
        rows.append(cells)
    return table(head, rows)


def _reference_rows(figures: Figures) -> dict[str, dict[str, Row]]:
    """What no adapter learnt, by title; of the bases one entry for each way of saying."""
    found: dict[str, dict[str, Row]] = {}
    for name, by_edit in figures["references"].items():
        title, _, said = name.partition(", ")
        found.setdefault(title, {})[said] = by_edit
    return found


def _of_base(by_said: Mapping[str, Row], said: Mapping[str, Any]) -> list[str]:
    shown = [by_said.get(way) or by_said.get("") for way in said]
    return [cell for by_edit in shown for cell in (f"{mean(by_edit):.1f} dB" if by_edit else "", "")]


def _wrong(runs: Sequence[Figures]) -> list[float]:
    return [mean(run["wrong_task_db"]) for run in runs if "wrong_task_db" in run]


def _spread(values: Sequence[float]) -> str:
    """The mean with its lowest and highest, or how few there are."""
    if not values:
        return ""
    shown = f"{statistics.mean(values):.1f} dB"
    seeds = f" ({min(values):.1f} … {max(values):.1f}, {len(values)} seeds)" if len(values) > 1 else " (1 seed)"
    return shown + seeds


def _edits(figures: Figures, said: str) -> str:
    arms = figures["said"][said]
    edits = list(next(iter(arms.values()))["runs"][0]["edits_db"])
    rows = [
        [title, *(f"{(by_said.get(said) or by_said.get('') or {})[edit]:.1f}" for edit in edits)]
        for title, by_said in _reference_rows(figures).items()
        if by_said.get(said) or by_said.get("")
    ]
    for arm, found in arms.items():
        rows.append([arm, *_column(found["runs"], lambda run: run["edits_db"], edits)])
        if any("wrong_task_db" in run for run in found["runs"]):
            told = [run for run in found["runs"] if "wrong_task_db" in run]
            rows.append([f"{arm}, told a wrong task", *_column(told, lambda run: run["wrong_task_db"], edits)])
    return table(["", *edits], rows)


def _column(runs: Sequence[Figures], of: Callable[[Figures], Row], edits: Sequence[str]) -> list[str]:
    return [f"{statistics.mean(of(run)[edit] for run in runs):.1f}" for edit in edits]


def _experts(figures: Figures) -> str:
    """How far the selections of two edits lie apart (0: the same experts for both, 1: none in common), and the busiest
    expert's share."""
    rows = []
    for said, arms in figures["said"].items():
        for arm, found in arms.items():
            usage = [run["usage"] for run in found["runs"] if "usage" in run]
            if usage:
                apart = [
                    statistics.mean(_apart(*pair) for pair in itertools.combinations(by.values(), 2)) for by in usage
                ]
                most = [max(max(shares) for shares in by.values()) for by in usage]
                cells = [f"{statistics.mean(apart):.2f}", f"{statistics.mean(most):.0%}"]
                rows.append([arm, _title(said), *cells])
    return table(["", "", "distance between two edits", "busiest expert of an edit"], rows)


def _apart(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / 2


def mean(by_edit: Row) -> float:
    return statistics.mean(by_edit.values())


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
    print(PAGE)

"""`docs/benchmarks.md`, made from the figures that the benchmarks left in docs/bench: `python3 tools/bench/page.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = _DOCS / "benchmarks.md"

_HEAD = """# Benchmarks

Made from the figures in [docs/bench](bench) by `python3 tools/bench/page.py`; do not edit. Variants take turns within one
process; ratios are medians over rounds, so a drift of the machine moves them little. Absolute times are those of the machine
named. No GPU was at hand; the same commands take `--device cuda`."""

_TARGETS = """Targets: at most 30 kernels and no synchronisation per site (asserted in `tests/core/test_moe.py` and
`tests/core/test_selected.py`); at least 2.5 × the loop at the small size. That ratio moves with the machine, for the loop is
mostly small launches; [LOG.md](LOG.md) has the range of runs. At most 1.12 × base for a whole pass of 8,704 tokens on a GPU
is a target still to be measured."""


def page() -> str:
    return "\n\n".join([_HEAD, *_moe(_figures("moe-cpu")), _TARGETS]) + "\n"


def _figures(name: str) -> dict[str, Any]:
    return json.loads((_DOCS / "bench" / f"{name}.json").read_text(encoding="utf-8"))


def _command(name: str, figures: dict[str, Any], options: str = "") -> str:
    machine = figures["machine"]
    command = f"`python3 tools/dev.py bench {name} {options}--json docs/bench/{name}-cpu.json`"
    return f"{command}: {machine['device']}, {machine['threads']} threads, torch {machine['torch']}."


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _moe(figures: dict[str, Any]) -> list[str]:
    sections = ["## One q, k, v site", _command("moe", figures, "--size fp32 ")]
    for shape in figures["shapes"].values():
        rows = [
            [
                name,
                f"{row['over_base']:.2f}",
                f"{row['adapter_ms']:.2f}",
                str(row["kernels"]),
                str(row["syncs"]),
                f"{row['allocated_bytes_per_token'] / 1000:.1f}",
            ]
            for name, row in shape["variants"].items()
        ]
        flips = shape["gate_flips_against_fp32"]
        sections += [
            f"{shape['shape']}; the bare Linear takes {shape['base_ms']:.2f} ms.",
            _table(["", "× base", "adapter ms", "kernels", "syncs", "kB/token"], rows),
            f"Ours is {shape['speedup_over_loop']:.2f} × as fast as the loop and differs from it by "
            f"{shape['relative_difference_from_loop']:.1e}; gates that choose other experts than in float32: ours "
            f"{flips['ours']:.2%}, the loop {flips['loop']:.2%}.",
        ]
    return sections


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
    print(PAGE)

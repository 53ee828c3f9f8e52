"""`docs/benchmarks.md` and the table of docs/miniature.md, made from the figures that the benchmarks left in docs/bench.

python3 tools/bench/page.py   write both
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = _DOCS / "benchmarks.md"
MINIATURE = _DOCS / "miniature.md"
_TABLE_STARTS, _TABLE_ENDS = "<!-- made by tools/bench/page.py -->\n", "<!-- end -->"
_SCENES = {
    "X2Edit": "x2edit",
    "its base alone": "base",
    "X2Edit told a wrong task": "wrong-task",
    "ICEdit, MoE": "icedit-moe",
    "ICEdit, plain": "icedit",
}
"""Column → the figures' name in docs/bench after `scenes-`."""

_HEAD = """# Benchmarks

Made from the figures in [docs/bench](bench) by `python3 tools/bench/page.py`; do not edit. Variants take turns within one
process; ratios are medians over rounds, so a drift of the machine moves them little. Absolute times are those of the machine
named. No GPU was at hand; the same commands take `--device cuda`."""

_TARGETS = """Targets: at most 30 kernels and no synchronisation per site (asserted in `tests/core/test_moe.py` and
`tests/core/test_selected.py`); at least 2.5 × the loop at the small size. That ratio moves with the machine, for the loop is
mostly small launches; [LOG.md](LOG.md) has the range of runs. At FLUX's width in float32 a CPU is bound by arithmetic: there
all experts for every token cost about what the loop's launches do, 0.7 to 1.4 × by the run."""

_WHOLE = """## A whole pass

At FLUX's width, with fewer blocks. On a GPU, at full depth and 8,704 tokens, the target is 1.12 × base; not measured yet."""
_PASSES = {
    "x2edit": "X2Edit, one reference; the bare base has the reference's tokens too.",
    "icedit-moe": "ICEdit's MoE adapter, on a diptych of two panels.",
}


_FAMILIES = """X2Edit on each family in one run: random weights of its host class, cut to 1 double and 2 single blocks,
Qwen-Image to 3 blocks, with one reference. At this width the experts' rank is a quarter of a layer's, so that they cost a far
larger share than at full width. One run on a machine busy with other work: read the ratios to about a tenth."""


def page() -> str:
    forward = [_passes(kind, _figures(f"forward-{kind}-cpu")) for kind in ("x2edit", "icedit-moe")]
    families = _families(_figures("forward-families-cpu"))
    sections = [*_moe(_figures("moe-cpu")), _TARGETS, _WHOLE, *forward, *families, *_train(_figures("train-cpu"))]
    sections += _load(_figures("load-cpu"))
    sections += _restore(_figures("restore-cpu"))
    sections += _everyday(_figures("everyday-cpu"))
    return "\n\n".join([_HEAD, *sections]) + "\n"


def miniature(text: str) -> str:
    """The page of the miniature with its table made anew."""
    before, rest = text.split(_TABLE_STARTS)
    return f"{before}{_TABLE_STARTS}{_scenes()}\n{_TABLE_ENDS}{rest.split(_TABLE_ENDS, 1)[1]}"


def _scenes() -> str:
    found = {title: _figures(f"scenes-{name}") for title, name in _SCENES.items()}
    tasks = next(iter(found.values()))["tasks"]
    rows = [[task.replace("_", " "), *(_edits(each["tasks"].get(task)) for each in found.values())] for task in tasks]
    rows.append(["average", *(_edits(each["average"]) for each in found.values())])
    rows.append(["six best", *(f"{_best(each):.0%}" for each in found.values())])
    rows.append(["edits scored", *(str(each["average"]["count"]) for each in found.values())])
    return _table(["task", *found], rows)


def _edits(row: dict[str, Any] | None) -> str:
    """Success, PSNR to the target and of what is to stay."""
    if row is None:
        return ""
    kept = "" if row["preservation_db"] is None else f", {row['preservation_db']:.0f} dB"
    return f"{row['success']:.0%}, {row['psnr_db']:.1f} dB{kept}"


def _best(figures: dict[str, Any]) -> float:
    return sum(sorted(row["success"] for row in figures["tasks"].values())[-6:]) / 6


def _figures(name: str) -> dict[str, Any]:
    return json.loads((_DOCS / "bench" / f"{name}.json").read_text(encoding="utf-8"))


def _command(name: str, figures: dict[str, Any], options: str = "", file: str = "") -> str:
    machine = figures["machine"]
    command = f"`python3 tools/dev.py bench {name} {options}--json docs/bench/{file or name}-cpu.json`"
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


def _passes(kind: str, figures: dict[str, Any]) -> str:
    double, single = figures["blocks"]
    options = f"--kind {kind.replace('-', '_')} --dtype {figures['dtype']} "
    sections = [_PASSES[kind], _command("forward", figures, options, f"forward-{kind}")]
    for side, found in figures["sides"].items():
        rows = [[name, f"{row['over_base']:.2f}", f"{row['ms']:.0f}"] for name, row in found["variants"].items()]
        sections += [
            f"{double} double and {single} single blocks, {figures['dtype']}; two pictures of {side} px and text are "
            f"{found['tokens']} tokens.",
            _table(["", "× base", "ms"], rows),
        ]
    return "\n\n".join(sections)


def _families(figures: dict[str, Any]) -> list[str]:
    """The families beside one another."""
    sides = " ".join(figures["sides"])
    options = f"--family --dtype {figures['dtype']} --width {figures['width']} --sides {sides} "
    sections = [_FAMILIES, _command("forward", figures, options, "forward-families")]
    for side, families in figures["sides"].items():
        rows = [
            [family, str(found["tokens"]), name, f"{row['over_base']:.2f}", f"{row['ms']:.0f}"]
            for family, found in families.items()
            for name, row in found["variants"].items()
        ]
        sections += [
            f"Width {figures['width']}, two pictures of {side} px and text.",
            _table(["family", "tokens", "", "× base", "ms"], rows),
        ]
    return sections


def _train(figures: dict[str, Any]) -> list[str]:
    sections = ["## Training", _command("train", figures)]
    for site in figures["sites"].values():
        rows = [
            [name, f"{ratio:.2f}", f"{site['bytes_per_token'][name] / 1000:.1f}"]
            for name, ratio in site["over_plain_lora"].items()
        ]
        sections += [f"One site, forward and backward; {site['shape']}.", _table(["", "× LoRA", "kB/token"], rows)]
    rows = [
        [str(step["hidden"]), "{} + {}".format(*step["blocks"]), f"{step['pixels']}", f"{step['over_plain_lora']:.2f}"]
        for step in figures["steps"]
    ]
    head = ["width", "blocks", "px", "X2Edit × LoRA"]
    targets = (
        "Targets: a step at most 1.25 × plain LoRA's, which counts at FLUX's width (in a narrow model the experts are as "
        "large as its layers); at most 12 kB per token of a q, k, v site in bfloat16, its input included."
    )
    return [*sections, "Whole training steps, bfloat16, with checkpointing.", _table(head, rows), targets]


def _load(figures: dict[str, Any]) -> list[str]:
    rows = [
        [way, f"{row['over_unchecked']:.2f}", f"{row['cpu_s']:.2f}", f"{row['peak_over_file']:.2f}"]
        for way, row in figures["ways"].items()
    ]
    return [
        "## Loading an adapter",
        _command("load", figures, "--full " if figures["full"] else ""),
        f"A file of the released layout, {figures['bytes'] / 1e9:.2f} GB, in the system's cache; each load is a process of "
        "its own, the peak what it adds to that process's memory.",
        _table(["", "× unchecked", "CPU s", "peak × file"], rows),
        "Targets: at most 1.5 × a plain reader that looks at no value, names and shapes accounted for; at most 1.3 × the "
        "file at the peak.",
    ]


def _restore(figures: dict[str, Any]) -> list[str]:
    rows = [
        [
            way,
            kind,
            str(row["cases"]),
            f"{row['left_px']:.2f}, {row['left_px_95']:.2f}",
            f"{row['outside']:.2f}, {row['outside_95']:.2f}",
            f"{row['overlap']:.2f}, {row['overlap_10']:.2f}",
        ]
        for way, kinds in figures["ways"].items()
        for kind, row in kinds.items()
    ]
    whole = ", ".join(f"{row['left_alone']} of {row['cases']} {task}" for task, row in figures["whole"].items())
    return [
        "## What an editor did besides the edit",
        _command("restore", figures, "--cases 48 --photos FOLDER "),
        f"Local edits at {figures['side']} px with planted drifts: a shift within 12 px, 4 % of zoom, half a degree, 1.5 px of "
        "warp, 4 % of gain, softness, grain and JPEG. Displacement counts where it can be seen, on texture outside the edit "
        "(median, 95 % of the cases); ΔE00 is the mean outside the edit (the same); overlap is intersection over union of mask "
        "and edit (median, 10 %). Thin edits are texts and faces, strokes of a few pixels.",
        _table(["", "pictures", "cases", "px left", "ΔE00 outside", "overlap"], rows),
        f"Edits of the whole picture that were left alone: {whole}. A picture of {figures['large']['megapixels']} megapixels, "
        f"edited at one, takes {figures['large']['median_s']:.1f} s (median of three; other programs kept this machine busy).",
        "Targets: 0.25 px, ΔE00 1, overlap 0.85, every edit of the whole picture, 10 s on two quiet cores.",
    ]


def _everyday(figures: dict[str, Any]) -> list[str]:
    swaps, reads, evaluated = (figures[name] for name in ("filter", "score", "evaluate"))
    rows = [["early filter", way, f"{row['swaps']} swaps", ""] for way, row in swaps["ways"].items()]
    rows += [
        ["X2Edit Score", way, f"{row['reads']} reads", f"{row['over_first']:.2f}"] for way, row in reads["ways"].items()
    ]
    rows += [["evaluation", way, "", f"{row['over_first']:.2f}"] for way, row in evaluated["ways"].items()]
    return [
        "## Everyday steps",
        _command("everyday", figures, "--rounds 1 "),
        f"How often FLUX and VAE change places until a local judge has chosen among {swaps['seeds']} seeds; how often an "
        f"encoder's weights are read in {reads['runs']} runs of X2Edit Score, by processor time; and "
        f"{evaluated['cases']} cases of an evaluation whose judge takes about as long as their edits "
        f"({evaluated['judge_s']:.1f} s here, on a machine that other programs kept busy).",
        _table(["", "", "counted", "× the first's time"], rows),
    ]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
    MINIATURE.write_text(miniature(MINIATURE.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
    print(PAGE, MINIATURE)

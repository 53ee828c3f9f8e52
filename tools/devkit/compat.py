"""`COMPATIBILITY.md`, made from the records in docs/compat: which host does what, as its tests found.

A row names the tests that stand for it. It holds where all of them passed, in part where some did; where none ran nothing is
claimed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from . import outcomes
from .layout import REPO

RECORDS = REPO / "docs" / "compat"
PACKS = REPO / "docs" / "packs.json"
"""What was tried beside other packs, by hand: no test can bring them along."""
PAGE = REPO / "COMPATIBILITY.md"
COMMAND = "python3 tools/dev.py compat"

Rows = dict[str, tuple[str, ...]]
"""What a row says, and the tests behind it: `file::function` below tests/host, without `test_` and `.py`; `[case]` for one."""

MATRIX: dict[str, Rows] = {
    "Weight dtype of the base": {
        "float32": ("golden::x2edit_matches_the_research_code",),
        "bfloat16, float16": ("quantised::half_precision_bases", "icedit_adapter::low_precision_bases"),
        "fp8 scaled": ("quantised::scaled_fp8_weights",),
        "layers with a forward of their own, as GGUF's": (
            "quantised::a_linear_with_its_own_python_forward",
            "icedit_adapter::layers_without_weights_take_the_plain_parts_by_scope",
        ),
        "fused layers, as nunchaku's: refused by name": ("icedit_adapter::a_fused_model_is_refused_by_name",),
    },
    "Loader": {
        "UNETLoader, diffusers names": (
            "golden::x2edit_matches_the_research_code",
            "icedit_adapter::routed_adapter_matches_the_research_code",
        ),
        "FLUX dev and schnell forms (with and without guidance)": ("plug_and_play::row_of_the_table",),
        "loaded in part": ("memory::a_model_loaded_in_part_gives_the_same_picture",),
        "static patcher, other caches": ("flags::memory_flags_do_not_change_the_picture",),
        "torch.compile": ("stacking::the_compile_node_gives_the_same_picture",),
    },
    "LoRA": {
        "LoraLoader, bypass LoRA; before and after": (
            "stacking::loras_before_and_after_add_up",
            "icedit_adapter::stacks_with_a_lora_in_either_order",
        ),
        "every kind of LoRA file": ("plug_and_play::every_kind_of_lora_file_adds_the_same_in_either_order",),
        "two adapters, X2Edit and ICEdit": (
            "stacking::two_adapters_in_either_order_are_the_same",
            "icedit_adapter::stacks_with_an_x2edit_adapter_whatever_its_offset",
        ),
    },
    "Feature": {
        "loads without a complaint, every node served": (
            "server::log_has_no_complaint_about_the_pack",
            "server::every_node_is_served_by_the_pack",
        ),
        "X2Edit, as the research code": ("golden::x2edit_matches_the_research_code",),
        "ICEdit with routed experts, as the research code": (
            "icedit_adapter::routed_adapter_matches_the_research_code",
        ),
        "references and diptychs of any size, batches": (
            "reference_nodes::any_picture_comes_back_at_its_own_size",
            "icedit_nodes::any_picture_comes_back_at_its_own_size",
        ),
        "ICEdit without an adapter": ("icedit_free::injection_replaces_the_values_of_the_source_panel_alone",),
        "X2Edit's own text conditioning (Qwen2.5-VL)": ("encode::real_and_pad_rows_equal_the_reference",),
        "the same with a picture": ("encode::an_image_takes_its_grid_positions",),
        "early filter, bit for bit": ("filter::the_result_is_ksamplers_own_bit_for_bit",),
        "judge and classifier: Qwen3-4B from CLIPLoader": ("chat::host_generates_the_likeliest_tokens[qwen3_4b]",),
        "judge and classifier: Qwen3-8B from CLIPLoader": ("chat::host_generates_the_likeliest_tokens[qwen3_8b]",),
        "judge and classifier: Qwen3-VL from CLIPLoader": ("chat::host_generates_the_likeliest_tokens[qwen3vl_4b]",),
        "judge and classifier: a transformers folder": ("chat_folder::folder_generates_the_likeliest_tokens",),
        "training in a graph and by script": (
            "train_node::node_and_script_learn_the_same",
            "train_script::every_kind_trains_and_its_result_loads",
        ),
        "every template": ("graph::shipped_workflow_runs_to_a_picture",),
        "subgraph blueprints": ("blueprints::one_box_runs_to_a_picture",),
    },
}

UNVERIFIED = {
    "the nunchaku pack": "its kind of model is refused by name; the pack itself was never loaded",
    "NVIDIA, AMD, Intel and Apple devices": "the records are from the CPU",
    "several GPUs": "the host's copies for two devices are tested on one processor; no second GPU was at hand",
    "dynamic memory on an NVIDIA card": "the adapter is given to it as the host's own models are; no such card was at hand",
    "PuLID and IPAdapter for FLUX": "forwards that work as theirs do stand in for them",
    "macOS and Windows": "written for both, run on neither",
    "the released weights in full size": "the same layouts at a small size stand in for them",
}


def load() -> list[dict[str, Any]]:
    """The records, newest host first."""
    records = [outcomes.read(path) for path in RECORDS.glob("*.json")]
    return sorted(records, key=lambda record: version_key(record["host"]), reverse=True)


def version_key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def tests_of_rows() -> list[str]:
    """Every test that a row of `MATRIX` names."""
    return sorted({test for rows in MATRIX.values() for tests in rows.values() for test in tests})


def passes(record: dict[str, Any]) -> bool:
    """Whether this host may be called supported: no test failed there, and none that a row stands on was left out."""
    return "failed" not in record["tests"].values() and all(outcomes_of(record, test) for test in tests_of_rows())


def page(records: list[dict[str, Any]]) -> str:
    """The whole of `COMPATIBILITY.md`."""
    notes: list[str] = []
    parts = [_HEAD, _runs(records)]
    for title, rows in MATRIX.items():
        heads = [
            f"| {title} | " + " | ".join(record["host"] for record in records) + " |",
            "|---" * (len(records) + 1) + "|",
        ]
        cells = [
            f"| {name} | " + " | ".join(_cell(record, tests, notes) for record in records) + " |"
            for name, tests in rows.items()
        ]
        parts.append("\n".join(heads + cells))
    parts.append("\n".join(f"{number}. {note}" for number, note in enumerate(notes, 1)))
    parts.append(_packs())
    parts.append(_TAIL + "\n".join(f"| {what} | {why} |" for what, why in UNVERIFIED.items()))
    return "\n\n".join(part for part in parts if part) + "\n"


_HEAD = f"""# Compatibility

Made from the records in [docs/compat](docs/compat) by `{COMMAND}`; do not edit. `tools/dev.py test --host VERSION --record`
runs the suite on that host and writes its record. Numbers in cells are notes below the tables.

**yes**: every test of it passed · **part**: some were skipped, see the note · **no**: the host cannot, see the note ·
**fails**: a test failed · **not run**."""

_PACKS_HEAD = """## Beside other packs
Tried by hand with the packs themselves, on the CPU and ComfyUI 0.30.0. Forwards that work as those of caching and identity
packs do are tested in every run (`tests/host/test_replaced.py`), and so are blocks that are compiled one by one
(`tests/host/test_compiled.py`).

| pack | version | tried | with | found |
|---|---|---|---|---|
"""

_TAIL = """## Unverified
Never run with the real thing:

| what | instead |
|---|---|
"""


def _packs() -> str:
    columns = ("pack", "version", "tried", "with", "found")
    rows = json.loads(PACKS.read_text(encoding="utf-8"))
    return _PACKS_HEAD + "\n".join("| " + " | ".join(row[name] for name in columns) + " |" for row in rows)


def _runs(records: list[dict[str, Any]]) -> str:
    lines = ["| ComfyUI | run | on | passed | skipped | failed |", "|---|---|---|---|---|---|"]
    for record in records:
        found = [outcome.split(":")[0] for outcome in record["tests"].values()]
        counts = " | ".join(str(found.count(outcome)) for outcome in ("passed", "skipped", "failed"))
        place = f"{record['system']}, Python {record['python']}, torch {record['torch']}, {record['device']}"
        lines.append(f"| {record['host']} | {record['date']} | {place} | {counts} |")
    return "\n".join(lines)


def _cell(record: dict[str, Any], tests: Iterable[str], notes: list[str]) -> str:
    found = [outcomes_of(record, test) for test in tests]
    ran = [outcome for each in found for outcome in each]
    if "failed" in ran:
        return "**fails**"
    if not all(found):
        return "not run"
    reasons = dict.fromkeys(outcome.removeprefix("skipped: ") for outcome in ran if outcome != "passed")
    if not reasons:
        return "yes"
    notes += [reason for reason in reasons if reason not in notes]
    numbers = ", ".join(str(notes.index(reason) + 1) for reason in reasons)
    return f"{'part' if 'passed' in ran else 'no'} ({numbers})"


def outcomes_of(record: dict[str, Any], short: str) -> list[str]:
    """What the record has of a test named as in `MATRIX`: one outcome per case."""
    file, name = short.split("::")
    full = f"tests/host/test_{file}.py::test_{name}"
    return [outcome for test, outcome in record["tests"].items() if test == full or test.startswith(f"{full}[")]


def write() -> Path:
    PAGE.write_text(page(load()), encoding="utf-8")
    return PAGE

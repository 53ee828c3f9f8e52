"""SceneBench: held-out edits with a known answer, through a shipped workflow in the real host, on the embedded models.

Per task: how often the edit is right, how far the rest is from the source's own autoencoder round trip, and how near
the whole is to the exact target. The host runs as a child process and takes the graph over HTTP, as the page would.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from devkit.host import Host
from devkit.layout import WORKFLOWS
from devkit.replace import Prompt, with_demo_models
from devkit.server import Server
from measure import machine, write_json

from x2edit_core.evaluate.cases import Case
from x2edit_core.evaluate.editor import load_graph
from x2edit_core.evaluate.scenes import run_scenes, scene_cases
from x2edit_core.scenes.scenebench import score
from x2edit_core.tasks import Task

DEFAULT = WORKFLOWS / "X2Edit (all nodes).json"


def wrong(task: Task) -> Task:
    """Another task that scenes carry: the one seven ids on, so that neighbours are not mistaken for each other."""
    return Task.from_id((task.id - 1 + 7) % 15 + 1)


def with_settings(graph: Prompt, strength: float | None, steps: int | None) -> Prompt:
    """The graph with another strength of the adapter and another number of steps, where given."""
    for node in graph.values():
        inputs = node["inputs"]
        if strength is not None and node["class_type"] == "X2EditApply":
            inputs["strength"] = strength
        if steps is not None and not isinstance(inputs.get("steps", []), list):
            inputs["steps"] = steps
    return graph


def with_untouched(figures: dict[str, Any], cases: Iterable[Case]) -> dict[str, Any]:
    """The figures, and beside every `psnr_db` that of the source as it is, `untouched_db`."""
    found: dict[str, list[float]] = {}
    for case in cases:
        assert case.scene is not None
        as_it_is = score(case.scene, case.scene.source, lambda picture: picture)
        found.setdefault(case.task.name.lower(), []).append(as_it_is.psnr_db)
    tasks = {name: {**row, "untouched_db": fmean(found[name])} for name, row in figures["tasks"].items()}
    average = {**figures["average"], "untouched_db": fmean(row["untouched_db"] for row in tasks.values())}
    return {**figures, "tasks": tasks, "average": average}


def table(figures: Mapping[str, Any]) -> str:
    """Markdown, one row per task and the average over tasks."""
    lines = [
        "| task | success | unedited area | PSNR to the target | of the source | edits |",
        "|---|---|---|---|---|---|",
    ]
    rows = {**figures["tasks"], "average over tasks": figures["average"]}
    for name, row in rows.items():
        kept = "" if row["preservation_db"] is None else f"{row['preservation_db']:.1f} dB"
        edited, untouched = f"{row['psnr_db']:.1f} dB", f"{row['untouched_db']:.1f} dB"
        cells = (f"{row['success']:.0%}", kept, edited, untouched, str(row["count"]))
        lines.append(f"| {name.replace('_', ' ')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workflow", type=Path, default=DEFAULT)
    parser.add_argument("--count", type=int, default=8, help="edits per task")
    parser.add_argument("--seed", type=int, default=0, help="of the first edit of each task")
    parser.add_argument("--size", type=int, default=128, help="side of the scenes; 64 for the miniature Qwen-Image")
    parser.add_argument("--tasks", nargs="*", metavar="NAME", help="only these tasks")
    parser.add_argument("--wrong-task", action="store_true", help="tell the adapter a task that is not the edit's")
    parser.add_argument(
        "--strength", type=float, help="of the adapter; 1e-6 shows the base alone, at 0 the host places references"
    )
    parser.add_argument("--steps", type=int, help="instead of the workflow's")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    tasks = [Task.from_name(name) for name in args.tasks] if args.tasks else [task for task in Task if task.id]
    host = Host(os.environ["COMFYUI_PATH"], sys.executable, "")
    with Server(host) as server:
        graph = with_settings(with_demo_models(load_graph(args.workflow, server)), args.strength, args.steps)
        told = wrong if args.wrong_task else lambda task: task
        figures = run_scenes(server, graph, args.count, args.seed, tasks, args.size, told, _report)
    figures = with_untouched(figures, scene_cases(args.count, args.seed, tasks, args.size))
    print(table(figures))
    notes = {"workflow": args.workflow.name, "seed": args.seed, "size": args.size, "wrong_task": args.wrong_task}
    notes |= {"strength": args.strength, "steps": args.steps, "machine": machine(torch.device("cpu"))}
    write_json(args.json, {**figures, **notes})


def _report(case: Case, score: Any) -> None:
    right = getattr(score, "success", None)
    print(
        f"{case.name}: {'failed: ' + str(score) if right is None else 'right' if right else 'wrong'}", file=sys.stderr
    )


if __name__ == "__main__":
    main()

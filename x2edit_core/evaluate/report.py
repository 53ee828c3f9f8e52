"""Outcomes as a table, a summary by kind of edit, and a page with the pictures side by side.

All three lie in the output folder and refer to nothing outside it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..choosing.scoring import METRICS
from ..scenes import scenebench
from ..tasks import Task
from .run import Outcome
from .scores import SCENE_SCORES

TABLE, SUMMARY, PAGE = "results.csv", "summary.json", "index.html"

MEANINGS = {
    "success": "whether the edited region is right, by SceneBench",
    "preservation_db": "nearness of the rest to the source in decibels, by SceneBench",
    "psnr_db": "nearness of the whole picture to the exact target in decibels",
    **METRICS,
}
"""What each column says, in the order of the columns."""


def write_report(outcomes: Sequence[Outcome], folder: Path, title: str) -> None:
    """Write the table, the summary and the page into `folder`."""
    found = summary(outcomes)
    told = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    for name, text in ((TABLE, table(outcomes)), (SUMMARY, told), (PAGE, page(outcomes, found, title))):
        # Names of files may hold what is no character.
        (folder / name).write_bytes(text.encode("utf-8", "backslashreplace"))


def columns(outcomes: Iterable[Outcome]) -> list[str]:
    """The measures that any outcome has."""
    there = {name for outcome in outcomes for name in outcome.scores}
    return [name for name in MEANINGS if name in there]


def table(outcomes: Sequence[Outcome]) -> str:
    """CSV: a row for each case."""
    names = columns(outcomes)
    told = ("name", "label", "task", "instruction", "edit", "reason", "fault", "error", "note")
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow([*told, *names])
    for outcome in outcomes:
        words = [_inert(str(getattr(outcome, name))) for name in told]
        writer.writerow([*words, *(outcome.scores.get(name, "") for name in names)])
    return buffer.getvalue()


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """`tasks.<label>` with the mean of each measure, `count` and `failed`; `average` over the labels; for scenes also
    `scenebench` in the form of `scenes.scenebench.summary`, where a failed case is an edit without success."""
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.label, []).append(outcome)
    names = columns(outcomes)
    tasks = {label: _row(found, names) for label, found in sorted(groups.items())}
    average = {name: _mean(row[name] for row in tasks.values() if name in row) for name in names}
    counts = {key: sum(row[key] for row in tasks.values()) for key in ("count", "failed")}
    scenes = _scenebench(outcomes)
    return {"tasks": tasks, "average": {**average, **counts}, **({"scenebench": scenes} if scenes else {})}


def _row(found: Sequence[Outcome], names: Sequence[str]) -> dict[str, Any]:
    known = {name: [one.scores[name] for one in found if name in one.scores] for name in names}
    means = {name: _mean(values) for name, values in known.items() if values}
    return {**means, "count": len(found), "failed": sum(bool(one.error) for one in found)}


def _scenebench(outcomes: Sequence[Outcome]) -> dict[str, Any] | None:
    if not any("success" in outcome.scores for outcome in outcomes):
        return None
    failed = scenebench.Score(False, None, 0.0)
    return scenebench.summary(
        (Task.from_name(outcome.task), failed if outcome.error else _scene_score(outcome)) for outcome in outcomes
    )


def _scene_score(outcome: Outcome) -> scenebench.Score:
    success, preservation, psnr = (outcome.scores.get(name) for name in SCENE_SCORES)
    return scenebench.Score(bool(success), preservation, psnr or 0.0)


def _mean(values: Iterable[float]) -> float:
    known = list(values)
    return sum(known) / len(known)


def _inert(text: str) -> str:
    """Text that a spreadsheet does not take for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 1200px; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0 2rem; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid #ddd; padding: .25rem .6rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
section { border-top: 1px solid #ddd; padding: 1rem 0; }
.pictures { display: flex; gap: .75rem; flex-wrap: wrap; }
figure { margin: 0; } figcaption { color: #777; }
img { width: 320px; max-width: 100%; image-rendering: auto; display: block; }
.words { font-size: 1.1rem; margin: .2rem 0 .6rem; } .fault { color: #b00020; } .scores, .name { color: #555; }
"""


def page(outcomes: Sequence[Outcome], found: dict[str, Any], title: str) -> str:
    """One HTML document; everything that comes from data or models is escaped, pictures are files beside it."""
    names = columns(outcomes)
    cases = "\n".join(_section(outcome, names) for outcome in outcomes)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{escape(title)}</h1>\n{_summary_table(found, names)}\n{cases}\n</body></html>\n"
    )


def _summary_table(found: dict[str, Any], names: Sequence[str]) -> str:
    heads = "".join(f'<th title="{escape(MEANINGS[name])}">{escape(name)}</th>' for name in names)
    rows = [(label, row) for label, row in found["tasks"].items()] + [("average", found["average"])]
    body = "\n".join(
        f"<tr><td>{escape(label)}</td><td>{row['count']}</td><td>{row['failed']}</td>"
        + "".join(f"<td>{_shown(row.get(name))}</td>" for name in names)
        + "</tr>"
        for label, row in rows
    )
    return f"<table><tr><th>task</th><th>count</th><th>failed</th>{heads}</tr>\n{body}</table>"


def _section(outcome: Outcome, names: Sequence[str]) -> str:
    pictures = "".join(
        f'<figure><img src="{escape(path)}" alt="{part}" loading="lazy"><figcaption>{part}</figcaption></figure>'
        for part, path in (("source", outcome.source), ("edit", outcome.edit), ("target", outcome.target))
        if path
    )
    scores = " · ".join(
        f"{escape(name)} {_shown(outcome.scores.get(name))}" for name in names if name in outcome.scores
    )
    faults = "".join(
        f'<p class="fault">{escape(text)}</p>' for text in (outcome.error, outcome.fault, outcome.note) if text
    )
    reason = f"<p>{escape(outcome.reason)}</p>" if outcome.reason else ""
    return (
        f'<section><p class="name">{escape(outcome.name)} · {escape(outcome.label)}</p>'
        f'<p class="words">{escape(outcome.instruction)}</p><div class="pictures">{pictures}</div>'
        f'<p class="scores">{scores}</p>{reason}{faults}</section>'
    )


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}".rstrip("0").rstrip(".")

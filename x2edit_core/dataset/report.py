"""How a set is getting on, from its files alone: numbers for programs, a table, and a page of kept and rejected pictures."""

from __future__ import annotations

import json
import shutil
from html import escape
from pathlib import Path
from typing import Any

from ..files import replacing
from . import shards
from .config import DatasetConfig
from .journal import BLOBS
from .survival import Survival, as_text, survival_of

STATUS, PAGE, SHOWN = "status.json", "index.html", "shown"
EACH = 4
"""Kept and rejected edits of a kind that the page shows."""

_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 1240px; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; display: block; overflow-x: auto; margin: 1rem 0 2rem; }
th, td { border-bottom: 1px solid #ddd; padding: .2rem .6rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
.edits { display: flex; flex-wrap: wrap; gap: 1rem; }
.edit { width: 280px; border-left: 4px solid #2a8a4a; padding-left: .5rem; }
.edit.no { border-color: #b00020; } .edit img { width: 136px; display: inline-block; } .edit p { margin: .2rem 0; }
.why { color: #b00020; } .scores { color: #666; font-size: 13px; }
"""


def status_text(config: DatasetConfig) -> str:
    """The survival table and what there is of costs, from finished shards; those under way are counted."""
    finished = shards.finished_shards(config.folder)
    found = survival_of(finished)
    begun = len(list((config.folder / shards.SHARDS).glob("*"))) - len(finished)
    lines = [
        f"{config.folder}: {found.shards} shards finished, {begun} begun, {found.records} records, {found.kept} kept"
    ]
    if found.ended:
        lines += [as_text(found.rows())]
    lines += [f"{stage}: {row['calls']} calls, {row['seconds']:.0f} s, cost {row['cost']:.4f}, {row['tokens']} tokens"
              for stage, row in found.stages.items()]  # fmt: skip
    lines += [f"{count} × {stage}: {reason}" for (stage, reason), count in found.reasons.most_common(12)]
    return "\n".join(lines)


def write_status(config: DatasetConfig, more: dict[str, Any]) -> Survival:
    """`status.json` and the page, beside the set."""
    folders = shards.finished_shards(config.folder)
    found = survival_of(folders)
    with replacing(config.folder / STATUS) as part:
        part.write_text(json.dumps({**found.plain(), **more}, indent=2, ensure_ascii=False), encoding="utf-8")
    chosen = _chosen(folders)
    _copy(config.folder, chosen)
    with replacing(config.folder / PAGE) as part:
        part.write_bytes(_page(config, found, chosen).encode("utf-8", "backslashreplace"))
    return found


def _chosen(folders: list[Path]) -> dict[tuple[str, bool], list[tuple[Path, dict[str, Any]]]]:
    """The first few kept and rejected edits of each kind."""
    found: dict[tuple[str, bool], list[tuple[Path, dict[str, Any]]]] = {}
    for folder in folders:
        for outcome in shards.outcomes_of(folder):
            if outcome.get("edit"):
                held = found.setdefault((outcome["task"], bool(outcome["kept"])), [])
                if len(held) < EACH:
                    held.append((folder, outcome))
    return found


def _copy(output: Path, chosen: dict[tuple[str, bool], list[tuple[Path, dict[str, Any]]]]) -> None:
    """The pictures that the page shows, beside it: it must not lean on what may be cleared away."""
    wanted = {
        outcome[name]: folder for held in chosen.values() for folder, outcome in held for name in ("source", "edit")
    }
    (output / SHOWN).mkdir(parents=True, exist_ok=True)
    for digest, folder in wanted.items():
        place = output / SHOWN / f"{digest[:24]}.png"
        if not place.exists():
            shutil.copyfile(folder / BLOBS / digest, place)


def _page(
    config: DatasetConfig, found: Survival, chosen: dict[tuple[str, bool], list[tuple[Path, dict[str, Any]]]]
) -> str:
    head, *body = found.rows()
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in body)
    table = f"<table><tr>{''.join(f'<th>{escape(cell)}</th>' for cell in head)}</tr>{rows}</table>"
    parts = []
    for task in sorted({task for task, _ in chosen}):
        edits = "".join(_edit(outcome) for kept in (True, False) for _, outcome in chosen.get((task, kept), []))
        parts.append(f'<h2>{escape(task)}</h2><div class="edits">{edits}</div>')
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(config.name)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(config.name)}</h1>\n"
        f"<p>{found.records} sources, {found.kept} edits kept, cost {found.cost:.4f}</p>{table}\n"
        f"{''.join(parts)}</body></html>\n"
    )


def _edit(outcome: dict[str, Any]) -> str:
    pictures = "".join(f'<img src="{SHOWN}/{outcome[part][:24]}.png" alt="{part}">' for part in ("source", "edit"))
    words = " / ".join(text for text in (outcome["words"]["en"], outcome["words"]["zh"]) if text)
    scores = " · ".join(f"{name} {value:g}" for name, value in list(outcome.get("scores", {}).items())[:6])
    why = "".join(f'<p class="why">{escape(reason)}</p>' for reason in outcome["reasons"])
    return (
        f'<div class="edit{"" if outcome["kept"] else " no"}">{pictures}<p>{escape(words)}</p>{why}'
        f'<p class="scores">{escape(scores)}</p></div>'
    )

"""The release's card: what it holds, how it was made, what was left out, what it cost, and under which terms it stands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .config import DatasetConfig
from .run import decided_shards
from .survival import as_markdown, survival_of

if TYPE_CHECKING:
    from .release import Written

CARD = "README.md"
TERMS = {
    "kontext": "FLUX.1 Kontext [dev]: its licence lets outputs be used, but not to train a model that competes with it.",
    "flux1-dev": "FLUX.1 [dev]: its licence lets outputs be used, but not to train a model that competes with it.",
    "flux1-fill": "FLUX.1 Fill [dev]: its licence lets outputs be used, but not to train a model that competes with it.",
    "gpt": "OpenAI's terms do not let outputs be used to develop competing models.",
    "gemini": "Google's terms do not let outputs be used to develop competing models.",
}
"""What a generator's terms say, by a part of its name; read the terms themselves before publishing."""


def write_card(config: DatasetConfig, folder: Path, written: Written) -> None:
    found = survival_of(decided_shards(config))
    parts = [
        f"# {config.name}\n\n{_counts(config, written)}",
        f"## Kinds of edits\n\n{_table('task', written.tasks)}",
        f"## Survival by stage\n\n{found.records} sources were looked at.\n\n{as_markdown(found.rows())}",
        f"## Why edits and sources were left out\n\n{_reasons(found.plain()['reasons'])}",
        f"## Not released although accepted\n\n{_table('why', written.left_out)}",
        f"## Costs\n\n{_costs(found.stages)}",
        f"## Licences of the sources\n\n{_table('licence', written.licences)}",
        f"## Who edited\n\n{_table('models', written.models)}{_terms(config, written)}",
        f"## Safety\n\n{_safety(config)}",
    ]
    (folder / CARD).write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _counts(config: DatasetConfig, written: Written) -> str:
    told = f"{written.pairs} pairs"
    if written.reversed:
        told += f", of which {written.reversed} are others the other way round"
    if written.preferences:
        told += f"; {written.preferences} rejected edits as preference pairs (`preferences/`: source, chosen, rejected)"
    return f"{told}. Written as {', '.join(config.release.forms)}."


def _table(head: str, counts: Mapping[str, int]) -> str:
    if not counts:
        return "None."
    rows = [[name, str(count)] for name, count in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))]
    return as_markdown([[head, "pairs"], *rows])


def _reasons(reasons: list[list[object]]) -> str:
    return as_markdown([["stage", "reason", "count"], *([str(cell) for cell in row] for row in reasons)])


def _costs(stages: Mapping[str, Mapping[str, float]]) -> str:
    """Calls, money and tokens; seconds differ from run to run, and stand in `status.json`."""
    rows = [
        [stage, str(int(row["calls"])), f"{row['cost']:.4f}", str(int(row["tokens"]))] for stage, row in stages.items()
    ]
    return as_markdown([["stage", "calls", "cost", "tokens"], *rows])


def _terms(config: DatasetConfig, written: Written) -> str:
    models = " ".join(written.models).casefold()
    said = [text for part, text in TERMS.items() if part in models]
    said += [f"{name}: {recipe.licence}" for name, recipe in config.recipes.items() if recipe.licence]
    return "\n\n" + "\n".join(f"- {text}" for text in said) if said else ""


def _safety(config: DatasetConfig) -> str:
    asked = "before and after the edit, by the judge's model" if config.safety.ask else "not looked at by a model"
    people = "only with consent or of synthetic sources" if config.safety.faces else "of any source"
    blocked = len(config.instructions.blocked)
    return (
        f"Pictures: {asked}. Retouched people: {people}. Blocked words in instructions: {blocked}. Counts stand above."
    )

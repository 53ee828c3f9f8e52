"""The evaluation script: `python -m x2edit_core.evaluate CONFIG.toml [--address URL] [--workflow FILE] [--dry-run]`.

Needs a running ComfyUI with this pack; `tools/dev.py evaluate` starts one for it.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from ..data.summary import summary_of
from ..errors import X2EditError
from ..settings import to_toml
from ..workflow.client import Client, Graph
from ..workflow.pool import Host, Pool
from .cases import Case, CaseError
from .config import EvaluateConfig, load_config, scoring_key
from .drift import Turn, run_turns, told
from .editor import Editor, load_graph
from .pooled import PooledEditor
from .report import PAGE, write_report
from .run import Evaluation, Outcome
from .scenes import round_trip_for
from .scores import scorer
from .selection import selected

logger = logging.getLogger("x2edit.evaluate")
PATIENCE_S = 120.0
"""How long several hosts may all be gone before the run ends."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m x2edit_core.evaluate", description="Edit many pictures through a workflow and score the edits."
    )
    parser.add_argument("config", type=Path, help="a TOML file; docs/evaluate.md explains every entry")
    parser.add_argument(
        "--address",
        action="append",
        help="of the ComfyUI to use, instead of the configuration's; several share the work",
    )
    parser.add_argument("--workflow", help="instead of the configuration's")
    parser.add_argument("--output", help="folder to write to, instead of the configuration's")
    parser.add_argument(
        "--dry-run", action="store_true", help="check the configuration, name the first cases, and stop"
    )
    parser.add_argument(
        "--turns",
        type=int,
        metavar="N",
        help="edit each case N times in a row, and measure what drifts outside the edit",
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    given = {name: getattr(options, name) for name in ("workflow", "output")}
    if options.address:
        given |= {"address": options.address[0], "addresses": options.address[1:]}
    try:
        config = load_config(options.config, **given)
        if options.turns is not None and not options.dry_run:
            return _run_turns(config, options.turns)
        return _show(config) if options.dry_run else _run(config)
    except X2EditError as error:
        logger.error("%s", error)
        return 1
    except KeyboardInterrupt:
        logger.error("stopped; the same command goes on")
        return 130


def _show(config: EvaluateConfig) -> int:
    sys.stdout.write(to_toml(config))
    for case in islice(_told(config), 5):
        logger.info("%s", case if isinstance(case, CaseError) else f"{case.name} [{case.label}]: {case.instruction}")
    return 0


def _told(config: EvaluateConfig) -> Iterable[Case | CaseError]:
    """The cases, after a word on how many there are and how their tasks are known; scenes are drawn one by one."""
    if config.cases.kind == "scenes":
        return selected(config.cases)
    cases = list(selected(config.cases))
    usable = [case for case in cases if isinstance(case, Case)]
    skipped = [case for case in cases if isinstance(case, CaseError)]
    for line in summary_of(config.cases.kind, config.cases.path, usable, (), (), skipped).lines():
        logger.info("%s", line)
    return cases


def _run_turns(config: EvaluateConfig, turns: int) -> int:
    if turns < 1:
        raise X2EditError(f"--turns {turns}: at least 1 is needed.")
    cases = (case for case in _told(config) if isinstance(case, Case))
    client = Client(config.address)
    editor = Editor(client, load_graph(Path(config.workflow), client), config.places.parsed(), config.timeout)

    def on_turn(turn: Turn | str) -> None:
        logger.info("%s", turn if isinstance(turn, str) else f"{turn.name}, turn {turn.turn}: {turn.psnr_db:.1f} dB")

    found = run_turns(editor, cases, Path(config.output), turns, config.seed, on_turn)
    logger.info("%s", told(found))
    return 0 if found else 1


def _run(config: EvaluateConfig) -> int:
    client = Client(config.address)
    graph = load_graph(Path(config.workflow), client)
    editor = _editor(config, client, graph)
    measures = scorer(config, round_trip_for(graph))
    evaluation = Evaluation(editor, measures, Path(config.output), config.seed, scoring_key(config))
    outcomes: list[Outcome] = []

    def on_outcome(outcome: Outcome, kept: bool) -> None:
        outcomes.append(outcome)
        state = "kept" if kept else f"failed: {outcome.error}" if outcome.error else "done"
        logger.info("%d  %s  %s", len(outcomes), outcome.name, state)

    try:
        evaluation.run(_told(config), on_outcome)
    finally:
        if outcomes:
            write_report(outcomes, Path(config.output), f"{Path(config.workflow).stem} on {config.cases.kind}")
            logger.info("%s", Path(config.output) / PAGE)
    return 0


def _editor(config: EvaluateConfig, client: Client, graph: Graph) -> Editor | PooledEditor:
    """On one host, or on all of them where there are several."""
    places = config.places.parsed()
    if not config.addresses:
        return Editor(client, graph, places, config.timeout)
    hosts = [Host(one) for one in (client, *map(Client, config.addresses))]
    return PooledEditor(Pool(hosts, patience_s=PATIENCE_S), graph, places, config.timeout)


if __name__ == "__main__":
    sys.exit(main())

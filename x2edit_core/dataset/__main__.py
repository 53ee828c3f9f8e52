"""The data set builder: `python -m x2edit_core.dataset CONFIG.toml [--dry-run] [--limit N] [--part 2/8] [--status] …`.

Needs running ComfyUI hosts with this pack; `tools/dev.py dataset` starts them and needs nothing else.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
from itertools import islice
from pathlib import Path
from typing import Any

from ..data.faults import SampleError
from ..errors import X2EditError
from ..files import try_to_write
from ..settings import to_toml
from . import shards
from .config import DatasetConfig, load_config
from .release import RELEASE, write_release
from .report import PAGE, STATUS, status_text, write_status
from .run import Progress, Run
from .shards import Part
from .shop import workshop
from .sources import read_sources
from .survival import as_text
from .validate import Faults, validate

logger = logging.getLogger("x2edit.dataset")


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        if options.validate is not None:
            return _validated(options.validate, options.sample)
        if options.config is None:
            raise X2EditError("Which configuration? A TOML file was expected; docs/dataset.md explains every entry.")
        return _command(_changed(load_config(options.config, output=options.output), options), options)
    except X2EditError as error:
        logger.error("%s", error)
        return 1
    except KeyboardInterrupt:
        logger.error("stopped; the same command goes on")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m x2edit_core.dataset", description="Make training pairs from pictures, scored and traceable."
    )
    parser.add_argument("config", type=Path, nargs="?", help="a TOML file; docs/dataset.md explains every entry")
    parser.add_argument("--output", help="folder to write to, instead of the configuration's")
    parser.add_argument("--host", action="append", default=[], metavar="URL", help="a ComfyUI, instead of [[hosts]]")
    parser.add_argument("--limit", type=int, metavar="N", help="at most so many sources")
    parser.add_argument("--part", type=Part.of, default=Part(), metavar="I/N", help="only these shards, such as 2/8")
    parser.add_argument("--executor", choices=("threads", "ray"), default="threads", help="who runs the shards")
    parser.add_argument("--dry-run", action="store_true", help="check everything, name the first sources, and stop")
    parser.add_argument("--status", action="store_true", help="tell how far it is, from its files, and stop")
    parser.add_argument("--release", action="store_true", help="only write the release from what is decided")
    parser.add_argument("--validate", type=Path, metavar="DIR", help="look for faults in a data set of any known form")
    parser.add_argument(
        "--sample", type=int, default=0, metavar="N", help="with --validate: only so many pairs, evenly spread"
    )
    return parser


def _changed(config: DatasetConfig, options: argparse.Namespace) -> DatasetConfig:
    if options.limit is not None:
        config = dataclasses.replace(config, sources=dataclasses.replace(config.sources, limit=options.limit))
    if options.host:
        first: Any = config.hosts[0]
        config = dataclasses.replace(
            config, hosts=[dataclasses.replace(first, address=address) for address in options.host]
        )
    return config


def _command(config: DatasetConfig, options: argparse.Namespace) -> int:
    if options.status:
        logger.info("%s", status_text(config))
        return 0
    if options.dry_run:
        return _shown(config)
    if not options.release:
        _made(config, options)
        if options.part.count > 1:
            logger.info("this part is done; --release writes the set once all parts are")
            return 0
    return _released(config)


def _shown(config: DatasetConfig) -> int:
    sys.stdout.write(to_toml(config))
    for source in islice(read_sources(config.sources), 5):
        told = (
            f"left out: {source}"
            if isinstance(source, SampleError)
            else f"{source.name} [{source.licence or 'no licence'}]"
        )
        logger.info("%s", told)
    shop = workshop(config)
    for name, recipe in shop.editors.recipes.items():
        logger.info("recipe %s: %d nodes, shown by node %s", name, len(recipe.graph), recipe.places.output)
    return 0


def _made(config: DatasetConfig, options: argparse.Namespace) -> None:
    try_to_write(config.folder / STATUS)
    if options.executor == "ray":
        from .ray_executor import run_on_ray

        run_on_ray(config, options.part, lambda line: logger.info("%s", line))
        _written_status(config)
        return
    run = Run(workshop(config), options.part, lambda progress: logger.info("%s", progress.line()))
    try:
        run.run(read_sources(config.sources))
    finally:
        _written_status(config, run.progress)
    if run.progress.busy:
        logger.info("%d shards are another process's; --release writes the set once it is done", run.progress.busy)


def _written_status(config: DatasetConfig, progress: Progress | None = None) -> None:
    if not shards.finished_shards(config.folder):
        return
    found = write_status(config, {"accepted": progress.accepted} if progress else {})
    logger.info("%s\n%s", as_text(found.rows()), config.folder / PAGE)


def _released(config: DatasetConfig) -> int:
    written = write_release(config)
    left_out = f", {sum(written.left_out.values())} near duplicates and others left out" if written.left_out else ""
    logger.info("%s: %d pairs of %d kinds%s", config.folder / RELEASE, written.pairs, len(written.tasks), left_out)
    return 0


def _validated(place: Path, sample: int) -> int:
    found: Faults = validate(place, sample)
    logger.info("%s", found.text())
    return 1 if found.faults else 0


if __name__ == "__main__":
    sys.exit(main())

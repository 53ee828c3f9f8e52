"""Installed distributions of one environment made part of another by hard links: a second torch costs no disk.

    python share.py FOLDER NAME[==VERSION] …

runs in the environment that has them and links NAMEs, and all they require, into the site-packages FOLDER. Package
managers unlink files before they write new ones, so either environment can change later without touching the other.
Scripts are not linked: they name the interpreter that they belong to.
"""

from __future__ import annotations

import importlib.metadata as metadata
import os
import sys
from pathlib import Path


def closure(names: list[str]) -> dict[str, metadata.Distribution]:
    """The installed distributions called `names`, and what they require here, by canonical name."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: dict[str, metadata.Distribution] = {}
    waiting = [(canonicalize_name(name), "") for name in names]
    seen = set(waiting)
    while waiting:
        name, extra = waiting.pop()
        found[name] = metadata.distribution(name)
        for line in found[name].requires or ():
            required = Requirement(line)
            if required.marker is None or required.marker.evaluate({"extra": extra}):
                wanted = {(canonicalize_name(required.name), extra) for extra in ("", *required.extras)} - seen
                waiting += wanted
                seen |= wanted
    return found


def link(distribution: metadata.Distribution, folder: Path) -> None:
    """Hard links of the distribution's files below `folder`; those that lie outside site-packages are left out."""
    for file in distribution.files or ():
        source, target = Path(str(distribution.locate_file(file))), folder / file
        if ".." in file.parts or target.exists() or not source.is_file():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(source, target)


if __name__ == "__main__":
    for distribution in closure([name.split("==")[0] for name in sys.argv[2:]]).values():
        link(distribution, Path(sys.argv[1]))

"""A pair whose parts are files of a folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from .pairs import Pair, kind_of


def pair_of_files(
    name: str, root: Path, parts: Mapping[str, Path], instruction: str, labels: tuple[object, ...], expected: str = ""
) -> Pair:
    """Of `source`, and `target` and `mask` where they are there, existing files below `root`.

    `expected` says where a target was looked for. Raises `OSError` for files that are gone.
    """
    kind = kind_of(instruction, *labels)
    main = [parts[part] for part in ("source", "target") if part in parts]
    stats = [file.stat() for file in main]
    key = "|".join(f"{file}:{stat.st_size}:{stat.st_mtime_ns}" for file, stat in zip(main, stats, strict=True))
    pair = Pair(
        name,
        instruction,
        kind.label,
        kind.task,
        parts["source"].read_bytes,
        key=key,
        identity="|".join([name, *(str(stat.st_size) for stat in stats)]),
        found=kind.found,
        files={"target": expected, **{part: str(file) for part, file in parts.items()}},
    )
    reads = {part: parts[part].read_bytes for part in ("target", "mask") if part in parts}
    return replace(pair, **reads)

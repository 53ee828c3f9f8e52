"""Edit data as people have it: folders of pairs, JSONL, X2Edit's WebDataset tars, MagicBrush and OmniEdit parquet.

Every kind lists its entries without decoding pictures, and decodes one at a time. What is broken raises `SampleError`.
Data may come from strangers: names in it never lead out of its folder.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..classify import rules
from ..errors import X2EditError
from ..parquet import ParquetRows, columns_of
from ..paths import file_inside
from ..picture_files import SUFFIXES, opened
from ..tasks import Task
from .batches import SampleError
from .config import DatasetKind
from .samples import Picture

_PAIRS = (("1.0", "2"), ("1", "2"), ("0", "1"))
"""What a tar's pictures are called: source and target, without their suffixes."""
_DAMAGED = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What JSON that is none, or says something else than expected, raises."""


@dataclass(frozen=True)
class Entry:
    """One edit not yet decoded. `key` names its content: it changes when a file of it does."""

    name: str
    key: str
    instruction: str
    task: Task
    read: Callable[[], tuple[bytes, bytes]]
    crop_bottom: float = 0.0

    def pictures(self) -> tuple[Picture, Picture]:
        """Source and target, RGB, the target at the source's size; raises `SampleError`."""
        try:
            source, target = (_decoded(data) for data in self.read())
        except Exception as error:  # Pillow and pyarrow raise nearly anything on damaged data
            raise SampleError(f"{self.name}: {type(error).__name__} {error}") from error
        if self.crop_bottom:
            source, target = (_without_bottom(picture, self.crop_bottom) for picture in (source, target))
        return np.asarray(source), np.asarray(target.resize(source.size, Image.Resampling.BICUBIC))


def detect_kind(path: Path) -> DatasetKind:
    """Which kind of data lies at `path`; raises `X2EditError` when it looks like none."""
    if path.suffix == ".jsonl":
        return "jsonl"
    if path.suffix == ".tar" or (path.is_dir() and any(path.glob("*.tar"))):
        return "webdataset"
    if path.is_dir() and any(path.rglob("*.parquet")):
        return "magicbrush" if "source_img" in columns_of(next(path.rglob("*.parquet"))) else "omniedit"
    if path.is_dir():
        return "folder"
    raise X2EditError(f"There is no data to train on at {path}: a folder, a .jsonl or a .tar file was expected.")


def entries(kind: DatasetKind, path: Path, report: Callable[[SampleError], None]) -> Iterator[Entry]:
    """The entries at `path`, in a fixed order; incomplete ones are reported and left out."""
    if not path.exists():
        raise X2EditError(f"The data path {path} does not exist.")
    readers = {
        "folder": _folder,
        "jsonl": _jsonl,
        "webdataset": _tars,
        "magicbrush": _magicbrush,
        "omniedit": _omniedit,
    }
    found = readers[kind](path)
    while True:
        try:
            item = next(found, None)
        except SampleError as error:
            raise X2EditError(f"{path} cannot be read as {kind}: {error}") from error
        if item is None:
            return
        if isinstance(item, SampleError):
            report(item)
        else:
            yield item


def task_of(label: object, instruction: str) -> Task:
    """The task that the data names; where it names none that is known, what the rules read from the instruction."""
    if isinstance(label, str) and label.strip():
        try:
            return Task.from_name(label)
        except X2EditError:
            pass
    return rules.read(instruction).task


def _folder(path: Path) -> Iterator[Entry | SampleError]:
    """NAME_source.png, NAME_target.png, NAME.txt: the instruction, and on a second line the task if it is known."""
    for source in sorted(file for file in path.rglob("*_source.*") if file.suffix.lower() in SUFFIXES):
        stem = source.stem.removesuffix("_source")
        target = next((f for s in SUFFIXES if (f := source.with_name(f"{stem}_target{s}")).exists()), None)
        words = source.with_name(f"{stem}.txt")
        if target is None or not words.exists():
            yield SampleError(f"{source}: {'no picture ' + stem + '_target' if target is None else 'no ' + words.name}")
            continue
        try:
            files = [file_inside(path, file.relative_to(path)) for file in (source, target, words)]
            lines = files[2].read_text(encoding="utf-8").strip().splitlines() or [""]
        except (OSError, ValueError) as error:
            yield SampleError(f"{source}: {error}")
            continue
        yield _of_files(files[0], files[1], lines[0], lines[1] if len(lines) > 1 else None)


def _jsonl(path: Path) -> Iterator[Entry | SampleError]:
    """One object per line: source, target (paths relative to the file), instruction, task (optional)."""
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            instruction = str(row["instruction"])
            source, target = (file_inside(path.parent, row[name]) for name in ("source", "target"))
        except _DAMAGED as error:
            told = str(error) if isinstance(error, X2EditError) else f"{type(error).__name__} {error}"
            yield SampleError(f"{path}, line {number}: {told}")
            continue
        yield _of_files(source, target, instruction, row.get("task"))


def _of_files(source: Path, target: Path, instruction: str, label: object) -> Entry:
    key = "|".join(f"{f}:{f.stat().st_size}:{f.stat().st_mtime_ns}" for f in (source, target))
    return Entry(
        str(source),
        key,
        instruction,
        task_of(label, instruction),
        lambda: (source.read_bytes(), target.read_bytes()),
    )


def _tars(path: Path) -> Iterator[Entry | SampleError]:
    """X2Edit's published form: KEY.json, KEY.1.0.jpg (source), KEY.2.jpg (target); json has instruction, label or task.

    Pictures may also be called 1 and 2, or 0 and 1; see `_PAIRS`.
    """
    for tar in [path] if path.is_file() else sorted(path.glob("*.tar")):
        try:
            groups = _grouped(tar)
        except (tarfile.TarError, OSError, ValueError, OverflowError, RecursionError) as error:
            yield SampleError(f"{tar} is no whole, uncompressed tar: {error}")
            continue
        stamp = f"{tar.resolve()}:{tar.stat().st_size}:{tar.stat().st_mtime_ns}"
        for name, members in groups.items():
            pair = _pair(members)
            if pair is None or "json" not in members:
                yield SampleError(f"{tar}, {name}: it holds only {', '.join(sorted(members))}")
                continue
            try:
                told = json.loads(_slice(tar, members["json"]))
                instruction = str(told.get("instruction") or told["instruction_zh"])
            except _DAMAGED as error:
                yield SampleError(f"{tar}, {name}: its json has no instruction ({error})")
                continue
            task = task_of(told.get("label") or told.get("task"), instruction)
            read = _pair_reader(tar, *(members[key] for key in pair))
            yield Entry(f"{tar}, {name}", f"{stamp}:{name}:{'+'.join(pair)}", instruction, task, read)


def _pair(members: Collection[str]) -> tuple[str, str] | None:
    """The extensions of source and target among a sample's; None where one of them is missing."""
    for names in _PAIRS:
        found = [next((key for s in SUFFIXES if (key := f"{name}{s}") in members), None) for name in names]
        if found[0] and found[1]:
            return found[0], found[1]
    return None


def _grouped(tar: Path) -> dict[str, dict[str, tuple[int, int]]]:
    """Sample name → extension → (offset, size) in the tar, so that pictures are read without unpacking.

    Names and links in it are never followed. Raises `tarfile.ReadError` for members that do not come one after another,
    over which some versions of Python go round for ever.
    """
    groups: dict[str, dict[str, tuple[int, int]]] = {}
    end = 0
    with tarfile.open(tar, "r:") as file:
        for member in file:
            if member.offset < end or member.size < 0:
                raise tarfile.ReadError(f"{member.name!r} lies before the member that precedes it")
            end = member.offset_data
            if member.isfile():
                folder, _, base = member.name.rpartition("/")
                stem, _, extension = base.partition(".")
                groups.setdefault(f"{folder}/{stem}", {})[extension.lower()] = (member.offset_data, member.size)
    return groups


def _slice(tar: Path, place: tuple[int, int]) -> bytes:
    with tar.open("rb") as file:
        file.seek(place[0])
        return file.read(place[1])


def _pair_reader(tar: Path, source: tuple[int, int], target: tuple[int, int]) -> Callable[[], tuple[bytes, bytes]]:
    return lambda: (_slice(tar, source), _slice(tar, target))


def _magicbrush(path: Path) -> Iterator[Entry | SampleError]:
    """Columns source_img, target_img, instruction. As in ICEdit's trainer the lowest 1/32 of the pictures is cut off."""
    return _parquet(path, "source_img", "target_img", lambda row, number: row["instruction"], 1 / 32)


def _omniedit(path: Path) -> Iterator[Entry | SampleError]:
    """Columns src_img, edited_img, edited_prompt_list, task; of several wordings one is taken by the row's number."""

    def words(row: Mapping[str, Any], number: int) -> str:
        wordings = row["edited_prompt_list"]
        return wordings[number % len(wordings)]

    return _parquet(path, "src_img", "edited_img", words, 0.0)


def _parquet(
    path: Path, source: str, target: str, words: Callable[[Mapping[str, Any], int], str], crop_bottom: float
) -> Iterator[Entry | SampleError]:
    for file in [path] if path.is_file() else sorted(path.rglob("*.parquet")):
        rows, number = ParquetRows(file), 0
        told = [name for name in ("instruction", "edited_prompt_list", "task") if name in columns_of(file)]
        while number < rows.count:
            name = f"{file}, row {number}"
            try:
                row = rows.row(number, told)
            except Exception as error:  # pyarrow raises nearly anything on damaged data
                yield SampleError(f"{name} and the rest of its group: {type(error).__name__} {error}")
                number = rows.end_of_group(number)
                continue
            try:
                instruction = str(words(row, number))
            except (KeyError, TypeError, IndexError, ZeroDivisionError) as error:
                yield SampleError(f"{name}: {type(error).__name__} {error}")
            else:
                key, task = f"{rows.stamp}:{number}", task_of(row.get("task"), instruction)
                yield Entry(name, key, instruction, task, _row_reader(rows, number, source, target), crop_bottom)
            number += 1


def _row_reader(rows: ParquetRows, number: int, source: str, target: str) -> Callable[[], tuple[bytes, bytes]]:
    def read() -> tuple[bytes, bytes]:
        row = rows.row(number, [source, target])
        return row[source]["bytes"], row[target]["bytes"]

    return read


def _decoded(data: bytes) -> Image.Image:
    return opened(data).convert("RGB")


def _without_bottom(picture: Image.Image, share: float) -> Image.Image:
    return picture.crop((0, 0, picture.width, picture.height - int(picture.height * share)))

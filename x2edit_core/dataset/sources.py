"""Pictures to edit, one after another in a fixed order, each with what is known about whose it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from ..data.faults import SampleError
from ..data.folders import PICTURES, files_of
from ..data.parquet import ParquetRows
from ..data.readers import existing
from ..data.tars import FAULTS, Place, Tar, is_tar, samples_of
from ..data.texts import decoded_text, lines_of
from ..errors import X2EditError
from ..evaluate.cases import png
from ..paths import file_inside
from ..scenes import TASKS, EditCase, make_case
from ..tasks import Task
from .config import SourcesConfig, tasks_of

Read = Callable[[], bytes]
_PICTURE_NAMES = ("image", "picture", "source", "source_img", "src_img", "jpg", "png", "file")
_LICENCE = ("licence", "license")
_URL = ("source_url", "url", "origin")
_WORDS = ("instruction", "instruction_en", "instruction_zh", "task", "caption", "objects")
MASK_SUFFIX = "_mask"


@dataclass(frozen=True)
class Source:
    """One picture to edit. `told` is what its data says of it; `scene` the exact edit of a procedural one; `prompt` the
    words of one that is still to be drawn. `stamp` changes with the file that it lies in."""

    name: str
    read: Read
    licence: str = ""
    origin: str = ""
    attribution: str = ""
    consent: bool = False
    synthetic: bool = False
    told: Mapping[str, Any] = field(default_factory=dict)
    mask: Read | None = None
    scene: EditCase | None = None
    prompt: str = ""
    stamp: str = ""


Found: TypeAlias = Source | SampleError


def read_sources(config: SourcesConfig) -> Iterator[Found]:
    """What the configuration names; unreadable entries stay in, as what is wrong with them.

    Raises `X2EditError` where there is nothing of the kind.
    """
    found = _READERS[config.kind](config)
    for number, source in enumerate(found):
        if config.limit and number >= config.limit:
            return
        yield source


def _scenes(config: SourcesConfig) -> Iterator[Found]:
    shares = tasks_of(config.tasks) or dict.fromkeys(TASKS, 1.0)
    for number, task in enumerate(_dealt(shares, config.limit)):
        seed = config.first_seed + number
        try:
            scene = make_case(seed, task, "train", config.size, "en")
        except X2EditError as error:
            yield SampleError(str(error), "no scene")
            continue
        terms = config.licence or "CC0-1.0", config.origin or "drawn by x2edit_core.scenes", config.attribution
        mask = partial(png, scene.region.astype("uint8") * 255)
        yield Source(
            f"{task.english} {seed}", partial(png, scene.source), *terms, synthetic=True, mask=mask, scene=scene
        )


def _dealt(shares: Mapping[Task, float], count: int) -> Iterator[Task]:
    """`count` tasks in their shares, spread evenly: at each place the one that is furthest behind its share."""
    whole = sum(shares.values())
    given = dict.fromkeys(shares, 0)
    for number in range(1, count + 1):
        task = max(shares, key=lambda one: shares[one] / whole * number - given[one])
        given[task] += 1
        yield task


def _folder(config: SourcesConfig) -> Iterator[Found]:
    """Pictures below a folder; `NAME.json` beside one says what is known, `NAME_mask.png` where it is to be edited."""
    place = existing(config.path)
    files = files_of(place, *PICTURES)
    yield from files.faults
    root = place if place.is_dir() else place.parent
    for file in files.files:
        if file.stem.endswith(MASK_SUFFIX):
            continue
        try:
            told = _beside(file)
            mask = file.with_name(f"{file.stem}{MASK_SUFFIX}.png")
            read = file_inside(root, file.relative_to(root)).read_bytes
            name = file.relative_to(root).as_posix()
            read_mask = mask.read_bytes if mask.is_file() else None
            yield _source(config, name, read, told, read_mask, _stamp(file, mask))
        except X2EditError as error:
            yield error if isinstance(error, SampleError) else SampleError(f"{file}: {error}")


def _beside(file: Path) -> Mapping[str, Any]:
    place = file.with_suffix(".json")
    return _table(place.read_bytes(), str(place)) if place.is_file() else {}


def _jsonl(config: SourcesConfig) -> Iterator[Found]:
    """A line a picture: `image` is its file, beside the list; the rest is what is known of it."""
    place = existing(config.path)
    text = decoded_text(place.read_bytes(), str(place))
    for number, line in enumerate(lines_of(text), 1):
        where = f"{place}, line {number}"
        try:
            told = _table(line.encode(), where)
            name = next((told[key] for key in _PICTURE_NAMES if isinstance(told.get(key), str)), None)
            if name is None:
                raise SampleError(f"{where}: none of {', '.join(_PICTURE_NAMES)} names its picture", "no picture named")
            mask = told.get("mask")
            read_mask = file_inside(place.parent, mask).read_bytes if isinstance(mask, str) else None
            file = file_inside(place.parent, name)
            yield _source(config, where, file.read_bytes, told, read_mask, _stamp(file))
        except SampleError as error:
            yield error
        except X2EditError as error:
            yield SampleError(f"{where}: {error}", "no picture")


def _webdataset(config: SourcesConfig) -> Iterator[Found]:
    """KEY.jpg (or KEY.1.0.jpg and its like) with KEY.json beside it, in tars."""
    place = existing(config.path)
    files = [file for file in files_of(place, *_SUFFIXES).files if is_tar(file)]
    if not files:
        raise X2EditError(f"{place} holds no tar.")
    for sample in samples_of(files):
        yield sample if isinstance(sample, SampleError) else _member(config, *sample)


_SUFFIXES = (".tar", ".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz")
_FIRST = ("1.0", "1", "source", "input", "image", "")


def _member(config: SourcesConfig, tar: Tar, name: str, members: Mapping[str, Place]) -> Found:
    where = f"{tar.path}, {name.lstrip('/')}"
    wanted = [f"{first}{suffix}".lstrip(".") for first in _FIRST for suffix in PICTURES]
    key = next((key for key in wanted if key in members), None)
    if key is None:
        return SampleError(f"{where} holds no picture, only {', '.join(sorted(members))}", "no picture")
    try:
        told = _table(tar.slice(members["json"]), f"{where}.json") if "json" in members else {}
    except (SampleError, *FAULTS) as error:
        return error if isinstance(error, SampleError) else SampleError(f"{where}.json: {error}", "broken json")
    mask = partial(tar.slice, members["mask.png"]) if "mask.png" in members else None
    return _source(config, where, partial(tar.slice, members[key]), told, mask, tar.stamp)


def _parquet(config: SourcesConfig) -> Iterator[Found]:
    """A row a picture: a column of pictures as bytes, the other columns of text and numbers as what is known."""
    place = existing(config.path)
    files = files_of(place, ".parquet")
    yield from files.faults
    if not files.files:
        raise X2EditError(f"{place} holds no parquet file.")
    for path in files.files:
        try:
            rows = ParquetRows(path)
        except X2EditError as error:
            yield SampleError(str(error), "damaged parquet")
            continue
        column = next((name for name in _PICTURE_NAMES if name in rows.columns), None)
        if column is None:
            yield SampleError(f"{path} has no column {' or '.join(_PICTURE_NAMES)}", "parquet of another layout")
            continue
        told = [name for name in rows.columns if name in (*_LICENCE, *_URL, *_WORDS, "attribution", "consent")]
        for number in range(rows.count):
            yield _row(config, path, rows, number, column, told)


def _row(config: SourcesConfig, path: Path, rows: ParquetRows, number: int, column: str, told: list[str]) -> Found:
    where = f"{path}, row {number}"
    try:
        values = rows.row(number, told) if told else {}
    except Exception as error:  # pyarrow raises nearly anything on damaged data
        return SampleError(f"{where}: {type(error).__name__} {error}", "damaged parquet")

    def read() -> bytes:
        cell = rows.row(number, [column])[column]
        data = cell.get("bytes") if isinstance(cell, Mapping) else cell
        if not isinstance(data, bytes) or not data:
            raise SampleError(f"{where}: {column} holds no picture", "no picture in a row")
        return data

    return _source(config, where, read, values, stamp=rows.stamp)


def _prompts(config: SourcesConfig) -> Iterator[Found]:
    place = existing(config.path)
    for number, prompt in enumerate(lines_of(decoded_text(place.read_bytes(), str(place))), 1):
        name = f"{place}, line {number}"
        origin = config.origin or "drawn from a prompt"

        def undrawn(name: str = name) -> bytes:
            raise SampleError(f"{name} was not drawn")

        yield Source(name, undrawn, config.licence, origin, config.attribution, synthetic=True, prompt=prompt)


def _source(
    config: SourcesConfig, name: str, read: Read, told: Mapping[str, Any], mask: Read | None = None, stamp: str = ""
) -> Source:
    """What a picture says of itself comes before what the configuration says of all."""

    def first(*names: str) -> str:
        return next(
            (str(told[key]).strip() for key in names if isinstance(told.get(key), str) and told[key].strip()), ""
        )

    return Source(
        name,
        read,
        first(*_LICENCE) or config.licence,
        first(*_URL) or config.origin,
        first("attribution", "author") or config.attribution,
        bool(told.get("consent", config.consent)),
        bool(told.get("synthetic", config.synthetic)),
        {key: value for key, value in told.items() if key in _WORDS and value},
        mask,
        stamp=stamp,
    )


def _stamp(*files: Path) -> str:
    return ";".join(f"{stat.st_size}:{stat.st_mtime_ns}" for stat in (file.stat() for file in files if file.is_file()))


def _table(data: bytes, where: str) -> Mapping[str, Any]:
    try:
        found = json.loads(decoded_text(data, where))
    except SampleError:
        raise
    except (ValueError, RecursionError) as error:
        raise SampleError(f"{where} cannot be read: {error}", "broken json") from error
    if not isinstance(found, Mapping):
        raise SampleError(f"{where} holds no table, but {str(found)[:40]!r}", "broken json")
    return found


_READERS: Mapping[str, Callable[[SourcesConfig], Iterator[Found]]] = {
    "scenes": _scenes,
    "folder": _folder,
    "jsonl": _jsonl,
    "webdataset": _webdataset,
    "parquet": _parquet,
    "prompts": _prompts,
}

"""X2Edit's published form: tars of KEY.json, KEY.1.0.jpg (source), KEY.2.jpg (target), sometimes KEY.txt and KEY.mask.png."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ..faults import NothingThere
from ..folders import PICTURES, Found, files_below, regular
from ..pairs import Pair, SampleError, kind_of
from ..tars import FAULTS, Place, Tar, is_tar, samples_of
from ..texts import FURTHER, Words, decoded_text, instruction_of, words_of

KIND = "webdataset"
LAYOUT = (
    ".tar files, also compressed, with KEY.json (instruction, task) or KEY.txt, KEY.1.0.jpg or KEY.1.jpg (source) and "
    "KEY.2.jpg (target)"
)
_PAIRS = (("1.0", "2"), ("1", "2"), ("0", "1"), ("source", "target"), ("input", "output"))
"""What a tar's pictures are called: source and target, without their suffixes."""
_WORDS = ("instruction", "instruction_zh", "instruction_en")


def finds(path: Path) -> bool:
    return bool(_tars(path).files) if path.is_dir() else is_tar(path)


def read(path: Path) -> Iterator[Pair | SampleError]:
    found = _tars(path)
    yield from found.faults
    if not found.files:
        raise NothingThere(f"{path} holds no tar; kind {KIND} reads {LAYOUT}.")
    for sample in samples_of(found.files):
        try:
            yield sample if isinstance(sample, SampleError) else _pair(*sample)
        except SampleError as error:
            yield error


def _tars(path: Path) -> Found:
    if path.is_file():
        return Found([path])
    found = files_below(path)
    return regular(Found([file for file in found.files if is_tar(file)], found.faults))


def _pair(tar: Tar, name: str, members: Mapping[str, Place]) -> Pair:
    where = f"{tar.path}, {name.lstrip('/')}"
    names = _pictures(members)
    if names is None or not {"json", "txt"} & set(members):
        wanted = "a source and a target picture" if names is None else "json or txt"
        raise SampleError(
            f"{where}: it has no {wanted}; it holds only {', '.join(sorted(members))}", "incomplete sample"
        )
    told = _told(tar, members, where)
    words = _words(tar, members, told, where)
    kind = kind_of(words.instruction, told.get("label"), told.get("task"), words.label)
    source, target = (partial(tar.slice, members[extension]) for extension in names)
    pair = Pair(
        where,
        words.instruction,
        kind.label,
        kind.task,
        source,
        target,
        key=f"{tar.stamp}:{name}:{'+'.join(names)}",
        identity="|".join([tar.path.name, name, *(str(members[extension][1]) for extension in names)]),
        found=kind.found,
        files={part: f"{where}.{extension}" for part, extension in zip(("source", "target"), names, strict=True)},
        notes=(FURTHER,) if words.further else (),
    )
    mask = next((key for suffix in PICTURES if (key := f"mask{suffix}") in members), None)
    if mask is None:
        return pair
    return replace(pair, mask=partial(tar.slice, members[mask]), files={**pair.files, "mask": f"{where}.{mask}"})


def _pictures(members: Collection[str]) -> tuple[str, str] | None:
    """The extensions of source and target among a sample's; None where one of them is missing."""
    for names in _PAIRS:
        found = [next((key for s in PICTURES if (key := f"{name}{s}") in members), None) for name in names]
        if found[0] and found[1]:
            return found[0], found[1]
    return None


def _told(tar: Tar, members: Mapping[str, Place], where: str) -> Mapping[str, Any]:
    """What a sample's json says; nothing where it has none. Raises `SampleError`."""
    if "json" not in members:
        return {}
    try:
        told = json.loads(decoded_text(tar.slice(members["json"]), f"{where}.json"))
    except SampleError:
        raise
    except FAULTS as error:
        raise SampleError(f"{where}.json cannot be read: {error}", "broken json") from error
    if not isinstance(told, Mapping):
        raise SampleError(f"{where}.json holds no table, but {str(told)[:40]!r}", "broken json")
    return told


def _words(tar: Tar, members: Mapping[str, Place], told: Mapping[str, Any], where: str) -> Words:
    """The first of the json's instructions that is given, else the text beside it."""
    given = next((told[name] for name in _WORDS if told.get(name) not in (None, "")), None)
    if given is None and "txt" in members:
        try:
            text = tar.slice(members["txt"])
        except FAULTS as error:
            raise SampleError(f"{where}.txt cannot be read: {error}", "no instruction") from error
        return words_of(decoded_text(text, f"{where}.txt"), f"{where}.txt")
    if not any(name in told for name in _WORDS):
        has = ", ".join(map(str, told)) or "nothing"
        raise SampleError(f"{where}.json has no instruction; it has: {has}", "no instruction")
    return Words(instruction_of(given, f"{where}.json"))

"""Faults of a data set in any form that is read here, this pack's or another's: what training on it would suffer from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..data.pairs import Pair, SampleError
from ..data.picture_files import opened
from ..data.readers import detect, read
from ..errors import X2EditError
from .phash import distance, fingerprint, phash, thumbnail, unlike
from .records import records_at

SHOWN = 5
BLANK = 2.0
"""Standard deviation of all values, of 255, below which a picture shows nothing."""
SAME = 0.5
"""Mean difference, of 255, below which an edit is its source."""
SWAPPED = 2
"""So many pairs of one source under several names show which way round pairs are."""
_DAMAGE = ("damaged", "foreign", "truncated")


@dataclass
class Faults:
    """What was found, by kind; `seen` pairs were looked at."""

    kind: str = ""
    seen: int = 0
    faults: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    notes: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, where: str) -> None:
        self.faults[kind].append(where)

    def text(self) -> str:
        lines = [f"{self.seen} pairs were looked at ({self.kind})."]
        for kind, places in sorted(self.faults.items()):
            more = f" and {len(places) - SHOWN} more" if len(places) > SHOWN else ""
            lines.append(f"{len(places)} × {kind}: {'; '.join(places[:SHOWN])}{more}")
        lines += [f"note: {count} × {note}" for note, count in self.notes.most_common()]
        return "\n".join([*lines, "Nothing is wrong with it." if not self.faults else ""]).rstrip()


@dataclass(frozen=True)
class _Seen:
    """What is kept of a pair to compare it with others: hashes and thumbnails of source and target."""

    name: str
    source: int
    target: int
    small: tuple[bytes, bytes]
    prints: tuple[bytes, bytes]


def validate(place: Path, sample: int = 0) -> Faults:
    """Look at every pair at `place`, or at `sample` of them, evenly spread. Raises `X2EditError` where there is no set."""
    place = _within(place)
    found = Faults(detect(place))
    names: Counter[str] = Counter()
    seen: list[_Seen] = []
    for pair in _some(read(found.kind, place), sample):
        if isinstance(pair, SampleError):
            kind = "undecodable" if any(word in pair.reason for word in _DAMAGE) else pair.reason
            found.add(kind, str(pair))
            continue
        found.seen += 1
        names[_key(pair)] += 1
        if kept := _looked_at(found, pair):
            seen.append(kept)
    for name, count in names.items():
        if count > 1:
            found.add("duplicate key", f"{name} ({count} times)")
    _told(found, records_at(place, found.kind), {one.name: one for one in seen})
    _swapped(found, seen)
    return found


def _within(place: Path) -> Path:
    """A release's own folder holds its forms, and preferences that are no pairs."""
    forms = [place / name for name in ("webdataset", "jsonl", "parquet") if (place / name).is_dir()]
    return forms[0] if forms else place


def _some(pairs: Iterator[Pair | SampleError], sample: int) -> Iterator[Pair | SampleError]:
    if not sample:
        return pairs
    held = list(pairs)  # pictures are not read yet
    step = max(1, len(held) // sample)
    return iter(held[::step][:sample])


def _key(pair: Pair) -> str:
    """What the set itself calls the pair: of a tar's record the name after the file's."""
    return pair.name.rpartition(".tar, ")[2]


def _looked_at(found: Faults, pair: Pair) -> _Seen | None:
    if pair.target is None:
        found.add("no target", pair.name)
        return None
    pictures = []
    for part, get in (("source", pair.source), ("target", pair.target)):
        try:
            pictures.append(opened(get()).convert("RGB"))
        except (X2EditError, OSError, ValueError) as error:
            found.add("undecodable", f"{pair.where(part)}: {error}")
            return None
    source, target = pictures
    if source.size != target.size:
        told = f"{source.width} × {source.height} and {target.width} × {target.height}"
        found.add("sizes differ", f"{pair.name}: {told}")
    elif np.abs(np.asarray(source, np.int16) - np.asarray(target, np.int16)).mean() < SAME:
        found.add("nothing was edited", pair.name)
    if _blank(target):
        found.add("blank edit", pair.name)
    if pair.found == "unknown":
        found.notes["tasks whose names are not known; words decide"] += 1
    prints = bytes.fromhex(fingerprint(source)), bytes.fromhex(fingerprint(target))
    return _Seen(pair.name, phash(source), phash(target), (thumbnail(source), thumbnail(target)), prints)


def _blank(picture: Image.Image) -> bool:
    return float(np.asarray(picture, np.float32).std()) < BLANK


def _told(found: Faults, records: Iterator[tuple[str, dict[str, Any]]], seen: dict[str, _Seen]) -> None:
    """Records that do not say their licence, and pairs that are the other way round than their record says."""
    for name, told in records:
        if not any(isinstance(told.get(key), str) and told[key].strip() for key in ("licence", "license")):
            found.add("no licence", name)
        if name in seen and _is_turned(seen[name].prints, told.get("fingerprints")):
            found.add("swapped", f"{name}: its pictures are the other way round than its record says")


def _is_turned(prints: tuple[bytes, bytes], told: Any) -> bool:
    try:
        source, target = (bytes.fromhex(told[part]) for part in ("source", "target"))
        straight = unlike(prints[0], source) + unlike(prints[1], target)
        return unlike(prints[0], target) + unlike(prints[1], source) < straight
    except (TypeError, KeyError, ValueError):
        return False


def _swapped(found: Faults, seen: list[_Seen]) -> None:
    """Pairs whose target is the source of several others: there the two were exchanged.

    Several edits of one picture share their source; what shares its target with them was put in the wrong way round.
    """
    sources = Counter(one.source for one in seen)
    shared = {value for value, count in sources.items() if count >= SWAPPED}
    known = {place.partition(":")[0] for place in found.faults.get("swapped", ())}
    for one in seen:
        if one.source in shared or one.name in known:
            continue
        for other in seen:
            near = other.source in shared and distance(one.target, other.source) <= 4
            if near and unlike(one.small[1], other.small[0]) < BLANK:
                found.add("swapped", f"{one.name}: its target is the source of {other.name} and others")
                break

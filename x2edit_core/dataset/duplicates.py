"""What is not released although it was accepted: pictures that are there already, and licences that were not wanted."""

from __future__ import annotations

import base64
import itertools
import unicodedata
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .config import DatasetConfig
from .phash import distance, unlike

BITS = 64
ALIKE = 8.0
"""The most by which thumbnails of the same picture differ on average, of 255, after blur, scaling and compression."""
GROWTH = 1024


class HashIndex:
    """Hashes found again when at most `most` bits differ: of `most + 1` bands of bits, one is then the same."""

    def __init__(self, most: int) -> None:
        self._most = most
        edges = np.linspace(0, BITS, most + 2).astype(int)
        self._bands = [(int(low), int(high) - int(low)) for low, high in itertools.pairwise(edges)]
        self._places: list[dict[int, list[int]]] = [{} for _ in self._bands]
        self._held: list[tuple[int, bytes, str]] = []

    def find(self, value: int, thumbnail: bytes) -> str:
        """The name under which nearly the same picture was added; empty where there is none."""
        for number in self._candidates(value):
            held, other, name = self._held[number]
            if distance(held, value) <= self._most and unlike(other, thumbnail) <= ALIKE:
                return name
        return ""

    def add(self, value: int, thumbnail: bytes, name: str) -> None:
        for band, places in zip(self._bands, self._places, strict=True):
            places.setdefault(_bits(value, *band), []).append(len(self._held))
        self._held.append((value, thumbnail, name))

    def _candidates(self, value: int) -> Iterator[int]:
        seen: set[int] = set()
        for band, places in zip(self._bands, self._places, strict=True):
            for number in places.get(_bits(value, *band), ()):
                if number not in seen:
                    seen.add(number)
                    yield number


def _bits(value: int, low: int, width: int) -> int:
    return (value >> low) & ((1 << width) - 1)


class FeatureIndex:
    """Unit vectors found again where their cosine is at least `least`; unlike a hash it sees crops."""

    def __init__(self, least: float) -> None:
        self._least = least
        self._vectors: NDArray[np.float16] | None = None
        self._names: list[str] = []

    def find(self, vector: NDArray[np.float16]) -> str:
        if self._vectors is None or not self._names:
            return ""
        cosines = self._vectors[: len(self._names)].astype(np.float32) @ vector.astype(np.float32)
        best = int(cosines.argmax())
        return self._names[best] if cosines[best] >= self._least else ""

    def add(self, vector: NDArray[np.float16], name: str) -> None:
        count = len(self._names)
        if self._vectors is None or count == len(self._vectors):
            grown = np.zeros((count + GROWTH, len(vector)), np.float16)
            if self._vectors is not None:
                grown[:count] = self._vectors
            self._vectors = grown
        self._vectors[count] = vector
        self._names.append(name)


class Selection:
    """Goes through accepted outcomes in their order and says which are released."""

    def __init__(self, config: DatasetConfig) -> None:
        self._licences = {licence.casefold() for licence in config.release.licences}
        self._exact: dict[str, str] = {}
        self._hashes = HashIndex(config.duplicates.hash) if config.duplicates.hash >= 0 else None
        self._features = FeatureIndex(config.duplicates.features) if config.duplicates.features < 1 else None
        self._said: set[tuple[str, ...]] = set()
        self._records: dict[str, str] = {}
        self._record = ""

    def fault(self, outcome: dict[str, Any]) -> str:
        """Why an accepted outcome is left out; empty where it is released, and what follows is compared with it."""
        if self._licences and outcome["licence"].casefold() not in self._licences:
            return f"the licence {outcome['licence']!r} is not among release.licences"
        record = outcome["record"]
        if record != self._record:
            self._record, self._said = record, set()
            self._records = {record: self._twin(outcome)}
        if twin := self._records[record]:
            return f"its source is nearly that of {twin}"
        words = outcome["words"]
        said = (outcome["source"], words["task"], _plain(words["en"]), _plain(words["zh"]))
        if said in self._said:
            return "the same instruction for the same picture is there already"
        self._said.add(said)
        return ""

    def _twin(self, outcome: dict[str, Any]) -> str:
        """The record of nearly the same source; this one is remembered where there is none."""
        name, digest = outcome["record"], outcome["original"]
        value, thumbnail = int(outcome["phash"], 16), bytes.fromhex(outcome["thumbnail"])
        held = base64.b64decode(outcome.get("features") or "")
        vector = np.frombuffer(held, "<f2") if held else None
        twin = self._exact.get(digest, "")
        if not twin and self._hashes is not None:
            twin = self._hashes.find(value, thumbnail)
        if not twin and self._features is not None and vector is not None:
            twin = self._features.find(vector)
        if twin:
            return twin
        self._exact[digest] = name
        if self._hashes is not None:
            self._hashes.add(value, thumbnail, name)
        if self._features is not None and vector is not None:
            self._features.add(vector, name)
        return ""


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(letter for letter in folded if letter.isalnum())

#!/usr/bin/env python3
"""From written passes to the classifier's data file: cleaned, checked, without near-copies, with figures.

    python tools/classifier/data.py FOLDER

`FOLDER` holds `pNN.tsv` (for training) and `hN.tsv` (held out), lines `task id, language, sentence`, and where a second
reader labelled the sentences alone `label_K.txt` (`number, sentence`) with `answers_K.txt` (`number, task id`).
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

from x2edit_core.classify.features import words_of  # noqa: E402
from x2edit_core.tasks import TASK_NAMES  # noqa: E402

TRAINING = Path(__file__).with_name("data") / "instructions.jsonl"
HELD_OUT = ROOT / "tests" / "data" / "instructions" / "voices.jsonl"
OWN = ROOT / "tests" / "data" / "instructions"
NEAR = 0.6  # Jaccard index of character trigrams from which two sentences are copies of each other
_HAN = re.compile(r"[\u3400-\u9fff]")
_COMMON = frozenset(
    [
        "the",
        "a",
        "an",
        "to",
        "of",
        "in",
        "on",
        "and",
        "is",
        "it",
        "i",
        "me",
        "my",
        "you",
        "this",
        "that",
        "with",
        "for",
        "can",
        "please",
        "be",
        "so",
        "的",
        "了",
        "把",
        "我",
        "这",
        "是",
    ]
)


@dataclass(frozen=True)
class Sentence:
    """One labelled instruction; `voice` is the pass it was written in, `agreed` whether a second reader said the same."""

    text: str
    language: str
    task: str
    voice: str
    agreed: bool | None = None


def stored(path: Path) -> list[Sentence]:
    """A data file; rows without a voice carry the file's name."""
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [Sentence(**{"voice": path.stem, **row}) for row in rows]


def second_labels(folder: Path) -> dict[str, str]:
    """Sentence → what the second reader called it."""
    found: dict[str, str] = {}
    for answers in sorted(folder.glob("answers_*.txt")):
        asked = dict(_columns(answers.with_name(answers.name.replace("answers", "label")), 2))
        for number, label in _columns(answers, 2):
            if number in asked and label.strip().isdigit() and int(label) < len(TASK_NAMES):
                found[asked[number]] = TASK_NAMES[int(label)]
    return found


def _columns(path: Path, count: int) -> Iterator[list[str]]:
    for line in path.read_text(encoding="utf-8-sig").splitlines():
        cells = line.split("\t")
        if len(cells) == count:
            yield cells


def written(path: Path, second: dict[str, str]) -> Iterator[Sentence]:
    """The sound rows of a pass: a known task, some words, and the language that it says."""
    for label, language, raw in _columns(path, 3):
        text = " ".join(raw.split())
        sound = label.isdigit() and int(label) < len(TASK_NAMES) and 2 <= len(text) <= 1000
        if sound and (language == "zh") == bool(_HAN.search(text)):
            task, other = TASK_NAMES[int(label)], second.get(raw)
            yield Sentence(text, language, task, path.stem, None if other is None else other == task)


def trigrams(text: str) -> frozenset[str]:
    plain = "  " + re.sub(r"[\W_]+", " ", text.lower()).strip() + " "
    return frozenset(plain[k : k + 3] for k in range(len(plain) - 2))


class Copies:
    """Finds near-copies: of two sets with Jaccard index ≥ `NEAR` the rarer grams must meet (prefix filter)."""

    def __init__(self, everything: Iterable[str]) -> None:
        self._rarity = Counter(gram for text in everything for gram in trigrams(text))
        self._holding: dict[str, list[frozenset[str]]] = {}

    def seen(self, text: str) -> bool:
        """Whether a near-copy was added before."""
        grams = trigrams(text)
        near = {other for gram in self._prefix(grams) for other in self._holding.get(gram, ())}
        return any(len(grams & other) >= NEAR * len(grams | other) for other in near)

    def add(self, text: str) -> None:
        grams = trigrams(text)
        for gram in self._prefix(grams):
            self._holding.setdefault(gram, []).append(grams)

    def _prefix(self, grams: frozenset[str]) -> list[str]:
        ranked = sorted(grams, key=lambda gram: (self._rarity[gram], gram))
        return ranked[: len(grams) - int(NEAR * len(grams) - 1e-9) + 1]


def without_copies(sentences: list[Sentence], before: list[Sentence]) -> list[Sentence]:
    """The sentences that are near-copies neither of one in `before` nor of an earlier one."""
    copies = Copies([row.text for row in (*before, *sentences)])
    for row in before:
        copies.add(row.text)
    kept: list[Sentence] = []
    for row in sentences:
        if not copies.seen(row.text):
            copies.add(row.text)
            kept.append(row)
    return kept


def frame(text: str) -> str:
    """The sentence with all but its commonest words masked."""
    return " ".join(word if word in _COMMON or not word[0].isalnum() else "_" for word in words_of(text)[1:-1])


def write(path: Path, sentences: list[Sentence]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps({k: v for k, v in asdict(row).items() if v is not None}, ensure_ascii=False) for row in sentences
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def statistics(sentences: list[Sentence]) -> str:
    """Markdown: per pass the sentences, distinct frames, the commonest frame's count, word types and tokens, agreement."""
    lines = [
        "| voice | en | zh | frames | most of one | types | tokens | second label agrees |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for voice in sorted({row.voice for row in sentences}):
        rows = [row for row in sentences if row.voice == voice]
        frames = Counter(frame(row.text) for row in rows)
        words = Counter(word for row in rows for word in words_of(row.text)[1:-1])
        told = [row.agreed for row in rows if row.agreed is not None]
        agreed = f"{sum(told) / len(told):.0%} of {len(told)}" if told else "-"
        spoken = Counter(row.language for row in rows)
        cells = (
            voice,
            spoken["en"],
            spoken["zh"],
            len(frames),
            max(frames.values()),
            len(words),
            words.total(),
            agreed,
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> int:
    folder = Path(sys.argv[1])
    second = second_labels(folder)
    passes = {
        half: [row for path in sorted(folder.glob(f"{half}[0-9]*.tsv")) for row in written(path, second)]
        for half in "ph"
    }
    own = [row for name in ("held_out", "development", "variations") for row in stored(OWN / f"{name}.jsonl")]
    held_out = without_copies(passes["h"], own)
    training = without_copies(passes["p"], own + held_out)
    write(HELD_OUT, held_out)
    write(TRAINING, training)
    print(f"{sum(map(len, passes.values()))} written, {len(training)} for training, {len(held_out)} held out\n")
    print(statistics(training + held_out))
    return 0


if __name__ == "__main__":
    sys.exit(main())

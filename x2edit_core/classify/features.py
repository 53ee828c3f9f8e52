"""What the model sees of an instruction: hashed n-grams of words and characters, with gaps, and with words as their class.

A Chinese character is a word. `lexicon.txt` gives classes ("#COLOR") to common English words, so that a word that the
training data lack still speaks; in Chinese that did not pay.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from zlib import crc32

from .wording import fold, set_quotes_aside, without_weights

LEXICON = Path(__file__).with_name("lexicon.txt")

_TOKEN = re.compile(r"[a-z\u00c0-\u024f]+(?:'[a-z]+)?|\d+|[\u3400-\u9fff]|[^\w\s]")
_START, _END = "^", "$"


@lru_cache(maxsize=1)
def lexicon() -> dict[str, str]:
    """English word → class; the first line that names a word decides."""
    classes: dict[str, str] = {}
    for line in LEXICON.read_text(encoding="utf-8").splitlines():
        name, *words = line.split()
        for word in words:
            classes.setdefault(word, f"#{name}")
    return classes


def words_of(text: str) -> list[str]:
    """Words, numbers as "0", single Chinese characters and punctuation of a folded text, quotations set aside."""
    words = _TOKEN.findall(set_quotes_aside(without_weights(fold(text))))
    return [_START, *("0" if word.isdigit() else word for word in words), _END]


def features(text: str) -> Counter[str]:
    """How often each feature occurs in the instruction. Their names are words a person can read, behind one letter."""
    words = words_of(text)
    found = Counter(_grams("w", words, (1, 2, 3)))
    found.update(_grams("w", _chinese_only(words), (4,)))
    found.update(_gaps("s", words))
    found.update(_characters(words))
    classes = [_class_of(word) for word in words]
    if any(a != b for a, b in zip(words, classes, strict=True)):
        named = [word for word in classes if word[0] == "#"]
        found.update(f"k{name}" for name in named)
        found.update(_grams("K", named, (2, 3)))
        found.update(gram for gram in _grams("l", classes, (2, 3, 4)) if "#" in gram)
        found.update(gap for gap in _gaps("m", classes) if "#" in gap)
    return found


def hashed(name: str) -> int:
    """The feature's number, 0 to 2³² - 1."""
    return crc32(name.encode("utf-8", "surrogatepass"))


def _class_of(word: str) -> str:
    classes = lexicon()
    for end in ("", "'s", "s", "es", "ish", "y"):
        if word.endswith(end) and (found := classes.get(word.removesuffix(end))):
            return found
    return word


def _grams(letter: str, words: Sequence[str], lengths: Sequence[int]) -> Iterator[str]:
    for n in lengths:
        for k in range(len(words) - n + 1):
            yield letter + " ".join(words[k : k + n])


def _gaps(letter: str, words: Sequence[str]) -> Iterator[str]:
    """Pairs with one or two words between them."""
    for gap in (2, 3):
        for first, second in zip(words, words[gap:], strict=False):
            yield f"{letter}{first} … {second}"


def _characters(words: Sequence[str]) -> Iterator[str]:
    """Pieces of three to five letters of each word, which survive slips and endings."""
    for word in words:
        if len(word) > 2 and word[0].isalpha():
            edged = f"<{word}>"
            for n in (3, 4, 5):
                for k in range(len(edged) - n + 1):
                    yield "c" + edged[k : k + n]


def _chinese_only(words: Sequence[str]) -> list[str]:
    return [word for word in words if "\u3400" <= word <= "\u9fff"]

"""Words that come with pictures: one place decides what a file's bytes say and what counts as an instruction."""

from __future__ import annotations

import codecs
import contextlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import X2EditError
from .faults import SampleError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""What a file starts with that says its encoding; UTF-32's little end begins like UTF-16's."""
_LINE_END = re.compile(r"\r\n|\n|\r")
_CHINESE = re.compile(r"[一-鿿\u3000-\u303f！-～ ]")
_OTHERS = {
    "gb18030": ("GBK, as Chinese Windows writes", _CHINESE),
    "utf-16-le": ("UTF-16 without its mark", _CHINESE),
    "utf-16-be": ("UTF-16 without its mark", _CHINESE),
    "cp1252": ("Windows-1252", re.compile(r"[À-ÖØ-öø-ÿ‘’“”–—…€ß]")),
}
"""Encodings that are named in messages, and what most letters beyond ASCII are in a text that is in them."""
FURTHER = "texts whose lines beyond the second are not read"
_SHOWN = 24
_ZEROS = 2
"""At least every so manieth character of UTF-16 without a mark is Western, where it is known as such."""


def decoded_text(data: bytes, where: str) -> str:
    """The text of a file in UTF-8, UTF-16 or UTF-32, with a byte order mark or without; raises `SampleError`.

    Other encodings are never guessed: a guess that is wrong trains words that nobody wrote.
    """
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), _unmarked(data))
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        told = f"{where} is no text in {encoding.removesuffix('-sig').upper()} ({error.reason} at byte {error.start})"
        raise SampleError(f"{told}{_likely(data)}. Save it as UTF-8", "words in another encoding") from error


def lines_of(text: str) -> list[str]:
    """The lines that are not blank, stripped. Only ends of lines part them: U+2028 and its like belong to the words."""
    return [line.strip() for line in _LINE_END.split(text) if line.strip()]


def instruction_of(value: object, where: str) -> str:
    """`value` as an instruction; raises `SampleError` for what is no text, which must never become the word "None"."""
    if not isinstance(value, str):
        kind = {type(None): "null", bool: "true or false", dict: "a table"}.get(type(value))
        kind = kind or ("a list" if isinstance(value, list | tuple) else "a number" if _is_number(value) else "no text")
        shown = "" if value is None else f" ({str(value)[:_SHOWN]})"
        raise SampleError(f"{where}: the instruction is {kind}{shown}; one text was expected", "no instruction")
    if "\0" in value:
        raise SampleError(f"{where}: the instruction holds a zero byte, as damaged files do", "no instruction")
    if any(0xD800 <= ord(letter) < 0xE000 for letter in value):
        raise SampleError(f"{where}: the instruction holds half a character, as cut texts do", "no instruction")
    if not (words := value.strip("\ufeff \t\r\n\f\v")):
        raise SampleError(f"{where}: the instruction is empty", "no instruction")
    return words


@dataclass(frozen=True)
class Words:
    """What a text says of a pair: the instruction on its first line, on a second one what kind of edit it is."""

    instruction: str
    label: str | None = None
    further: int = 0


def words_of(text: str, where: str) -> Words:
    """Raises `SampleError` for a text without an instruction."""
    lines = lines_of(text)
    label = lines[1] if len(lines) > 1 else None
    return Words(instruction_of(lines[0] if lines else "", where), label, max(0, len(lines) - 2))


def json_of(path: Path, wanted: type) -> Any:
    """What a JSON file holds; raises `X2EditError` where it is none or holds something else than `wanted`."""
    try:
        found = json.loads(decoded_text(path.read_bytes(), str(path)))
    except SampleError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise X2EditError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, wanted):
        raise X2EditError(f"{path} holds a {type(found).__name__}; a {wanted.__name__} was expected.")
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _unmarked(data: bytes) -> str:
    """The encoding of bytes without a mark: UTF-16 of mostly Western text has a zero in every other byte."""
    even, odd = data[::2].count(0), data[1::2].count(0)
    if not data or len(data) % 2 or max(even, odd) * _ZEROS < len(data) // 2:
        return "utf-8"
    return "utf-16-le" if odd > even else "utf-16-be"


def _likely(data: bytes) -> str:
    """Which encoding the bytes probably are in, and what they would say in it."""
    plain = sum(0x20 <= byte < 0x7F for byte in data) > len(data) / 2
    for encoding, (name, looks_right) in _OTHERS.items():
        if plain and encoding.startswith("utf-16"):
            continue
        with contextlib.suppress(UnicodeDecodeError):
            text = data.decode(encoding)
            odd = [letter for letter in text if letter > "~"]
            if len(looks_right.findall("".join(odd))) > len(odd) * 0.8:
                return f"; it looks like {name}: “{(lines_of(text) or [''])[0][:_SHOWN]}”"
    return ""

"""Text before it is read: one Unicode form, and quoted words set aside."""

from __future__ import annotations

import re
import unicodedata

MAX_LENGTH = 2000  # characters read; an instruction says what it wants well before that
QUOTED = "quoted"
"""Stands where quoted words stood: what they say must not be read as part of the instruction."""

_QUOTES = re.compile(
    r"\"[^\"]{1,200}\"|“[^”]{1,200}”|「[^」]{1,200}」|『[^』]{1,200}』|《[^》]{1,200}》|«[^»]{1,200}»|„[^“”]{1,200}[“”]"
    r"|(?<![\w])'[^'\n]{1,120}'(?!\w)|(?<![\w])‘[^’\n]{1,120}’(?!\w)|(?<![\w])`[^`\n]{1,120}`(?!\w)"
)


def fold(text: str) -> str:
    """NFKC, lower case, one kind of apostrophe and space; control and format characters dropped."""
    text = unicodedata.normalize("NFKC", text[:MAX_LENGTH])
    text = "".join(" " if c in "\t\r\n" else c for c in text if c in "\t\r\n" or unicodedata.category(c)[0] != "C")
    return re.sub(r"\s+", " ", text.replace("’", "'").replace("‘", "'").replace("…", "...")).strip().lower()


_WEIGHTED = re.compile(r"(?<!\\)\(([^()]*?)(?<!\\):\s*[-+]?(?:\d+\.?\d*|\.\d+)\s*\)")
_STRESSED = re.compile(r"(?<!\\)[(\[]([^()\[\]:\d]{1,40})[)\]](?=\s+\w)")
_NAMED = re.compile(r"(?<!\S)embedding:[^\s,]+,?|<(?:lora|lyco|hypernet):[^<>]*>", re.IGNORECASE)


def without_weights(text: str) -> str:
    """The words alone of a prompt in ComfyUI's notation: `(the car:1.3)` is "the car", embeddings and LoRA marks go.

    Brackets without a weight stress a little; they go too where the sentence goes on behind them.
    """
    text, before = _NAMED.sub(" ", text), ""
    while text != before:
        text, before = _STRESSED.sub(r"\1", _WEIGHTED.sub(r"\1", text)), text
    return text.replace("\\(", "(").replace("\\)", ")")


def set_quotes_aside(text: str) -> str:
    """The text with every quotation replaced by `QUOTED`."""
    return _QUOTES.sub(f" {QUOTED} ", text)

"""Whether words that were to be written can be read in a picture: by RapidOCR, where the person has it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from ..errors import X2EditError

_QUOTED = re.compile(r"[\"“”「『']([^\"“”」』']{1,80})[\"“”」』']")
LEAST = 0.8
"""Share of a text's characters that must be read, in order, for it to count as there."""


def reader() -> Callable[[Image.Image], str]:
    """Reads all text of a picture; raises `X2EditError` where the package is missing."""
    try:
        from rapidocr import RapidOCR  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise X2EditError("scores.ocr needs the package rapidocr: pip install rapidocr onnxruntime.") from error
    engine: Any = RapidOCR()

    def read(picture: Image.Image) -> str:
        found = engine(np.asarray(picture.convert("RGB"))[..., ::-1])
        return " ".join(found.txts or ())

    return read


def texts_of(instruction: str) -> tuple[str, str]:
    """The text that is to go and the one that is to come, of an instruction that quotes them; empty where not said.

    Of two quotations the first one goes, as in `Change "OPEN" to "CLOSED"`, unless the second follows `instead of`.
    """
    quoted = _QUOTED.findall(instruction)
    if len(quoted) < 2:
        return "", quoted[0] if quoted else ""
    before = instruction[: instruction.rfind(quoted[1])].casefold()
    turned = "instead of" in before or "in place of" in before
    return (quoted[1], quoted[0]) if turned else (quoted[0], quoted[1])


def ocr_scores(read: str, instruction: str) -> dict[str, float]:
    """`ocr_new` and `ocr_old`: how much of the text that was to come, and to go, is read; what is not said is left out."""
    old, new = texts_of(instruction)
    return {name: _share(text, read) for name, text in (("ocr_new", new), ("ocr_old", old)) if text}


def _share(text: str, read: str) -> float:
    """The longest run of `text` that stands in `read`, as a share of it; case and blanks do not matter."""
    wanted, found = (_plain(part) for part in (text, read))
    for length in range(len(wanted), 0, -1):
        if any(wanted[at : at + length] in found for at in range(len(wanted) - length + 1)):
            return length / len(wanted)
    return 0.0


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(letter for letter in folded if letter.isalnum())

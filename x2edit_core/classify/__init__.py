"""From an instruction to one of the sixteen tasks, with a confidence and the reasons for it.

`classify` reads the wording itself (English and Chinese: learned weights over n-grams together with rules, see `model`)
or asks a language model (`answer`); a lost or unclear model is said aloud, never hidden. Tasks: see `x2edit_core.tasks`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..errors import X2EditError
from ..tasks import Task
from .answer import Classification, UnreadableReplyError, ask
from .language import UNKNOWN
from .model import Reading, read
from .wording import without_weights

if TYPE_CHECKING:
    from ..chat import Chat

__all__ = ["Classification", "Reading", "classify", "read", "without_trigger_words"]

MINIMUM_CONFIDENCE = 0.5


def classify(
    instruction: str,
    chat: Chat | None = None,
    image: Any = None,
    minimum_confidence: float = MINIMUM_CONFIDENCE,
    trigger_words: str = "",
) -> Classification:
    """The task that `instruction` asks for.

    Args:
        chat: a language model to ask instead; if it fails or names no task, the built-in reader answers and `warning` says so.
        image: the picture to be edited, for models that can see: a PIL image or a float tensor `[H, W, 3]`.
        minimum_confidence: below this, in 0–1, the answer is `Task.OTHER` with a warning.
        trigger_words: words of style LoRAs, comma-separated; they are taken out before anything is read.
    """
    wanted = without_weights(without_trigger_words(instruction, trigger_words)).strip()
    if chat is None:
        return _doubted(_read(wanted), minimum_confidence)
    try:
        return _doubted(ask(wanted, chat, image), minimum_confidence)
    except UnreadableReplyError as error:
        return _instead(wanted, minimum_confidence, f"{error}; the built-in reader decided instead.", error.report)
    except X2EditError as error:
        return _instead(
            wanted, minimum_confidence, f"{chat.name} did not answer ({error}); the built-in reader decided instead."
        )


def _instead(wanted: str, minimum: float, warning: str, reply: str = "") -> Classification:
    """What the built-in reader finds where a model was asked in vain, with both their warnings and the model's `reply`."""
    own = _doubted(_read(wanted), minimum)
    warnings, reports = " ".join(filter(None, (warning, own.warning))), "\n".join(filter(None, (own.report, reply)))
    return Classification(own.task, own.confidence, reports, warnings)


def without_trigger_words(instruction: str, trigger_words: str) -> str:
    """The instruction without a style LoRA's trigger words ("ghibli style, make the car red" → "make the car red").

    Words are removed as a whole, wherever they stand, together with the comma that follows them.
    """
    for trigger in re.split(r"[,;，；\n]", trigger_words):
        if trigger.strip():
            pattern = rf"(?<![^\W_]){re.escape(trigger.strip())}(?![^\W_])[\s,;:，；：]*"
            instruction = re.sub(pattern, "", instruction, flags=re.IGNORECASE)
    return instruction.strip()


def _read(instruction: str) -> Classification:
    reading = read(instruction)
    warning = None
    if not instruction.strip():
        warning = "The instruction is empty: task `other`. Write what to change."
    elif reading.language == UNKNOWN:
        warning = (
            "The classifier reads English and Chinese only: task `other`. Choose the task or connect a language model."
        )
    return Classification(reading.task, reading.confidence, reading.report, warning)


def _doubted(answer: Classification, minimum: float) -> Classification:
    """The answer, or `other` with a warning where it is less certain than `minimum`."""
    if answer.confidence >= minimum or answer.warning:
        return answer
    warning = (
        f"Unclear instruction: best guess `{answer.task.english}` with confidence {answer.confidence:.2f}, below "
        f"{minimum:.2f}: task `other`. Say it more plainly, choose the task by hand or lower the minimum."
    )
    return Classification(Task.OTHER, answer.confidence, answer.report, warning)

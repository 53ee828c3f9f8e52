"""From an instruction to one of the sixteen tasks, with a confidence and the reasons for it.

`classify` reads the wording by rules (English and Chinese, no model needed) or asks a language model (`answer`); a lost
or unclear model is said aloud, never hidden. Tasks are defined by the released checkpoint, see `x2edit_core.tasks`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..errors import X2EditError
from ..tasks import Task
from .answer import Classification, UnreadableReplyError, ask
from .language import UNKNOWN
from .rules import Reading, read
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
        chat: a language model to ask instead of the rules; if it fails or names no task, the rules answer and `warning`
            says so.
        image: the picture to be edited, for models that can see: a PIL image or a float tensor `[H, W, 3]`.
        minimum_confidence: below this, in 0–1, the answer is `Task.OTHER` with a warning.
        trigger_words: words of style LoRAs, comma-separated; they are taken out before anything is read.
    """
    wanted = without_weights(without_trigger_words(instruction, trigger_words)).strip()
    if chat is None:
        return _doubted(_by_rules(wanted), minimum_confidence)
    try:
        return _doubted(ask(wanted, chat, image), minimum_confidence)
    except UnreadableReplyError as error:
        return _instead(wanted, minimum_confidence, f"{error}; the rules decided instead.", error.report)
    except X2EditError as error:
        return _instead(wanted, minimum_confidence, f"{chat.name} did not answer ({error}); the rules decided instead.")


def _instead(wanted: str, minimum: float, warning: str, reply: str = "") -> Classification:
    """What the rules find where a model was asked in vain, with both their warnings and the model's `reply`."""
    rules = _doubted(_by_rules(wanted), minimum)
    warnings, reports = " ".join(filter(None, (warning, rules.warning))), "\n".join(filter(None, (rules.report, reply)))
    return Classification(rules.task, rules.confidence, reports, warnings)


def without_trigger_words(instruction: str, trigger_words: str) -> str:
    """The instruction without a style LoRA's trigger words ("ghibli style, make the car red" → "make the car red").

    Words are removed as a whole, wherever they stand, together with the comma that follows them.
    """
    for trigger in re.split(r"[,;，；\n]", trigger_words):
        if trigger.strip():
            pattern = rf"(?<![^\W_]){re.escape(trigger.strip())}(?![^\W_])[\s,;:，；：]*"
            instruction = re.sub(pattern, "", instruction, flags=re.IGNORECASE)
    return instruction.strip()


def _by_rules(instruction: str) -> Classification:
    reading = read(instruction)
    warning = None
    if not instruction.strip():
        warning = "The instruction is empty: task `other`. Write what to change."
    elif reading.language == UNKNOWN:
        warning = "The rules read English and Chinese only: task `other`. Choose the task by hand or connect a language model."
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

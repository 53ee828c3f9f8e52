"""Texts that T5 cannot read: its vocabulary is of Western languages, and runs of other letters become one unknown mark.

FLUX then gets next to nothing of an instruction in Chinese, and edits something. Letters are judged by T5's own tokenizer.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .host import comfy
from .notices import say_once

TOO_MANY = 0.2
"""Share of a text's letters and signs from which on it is told; a name or an accent in an English sentence is below it."""
_ADVICE = (
    "Write the instruction in English, or encode it with X2Edit Text Encode, which reads Chinese through Qwen2.5-VL and "
    "AlignNet (template X2Edit with Qwen2.5-VL (all nodes))"
)
_SHOWN = 40
Prompt = Mapping[str, Mapping[str, Any]]
"""A graph as the host runs it: node → class_type and inputs, a link being [node, output]."""


def warn_if_unread(clip: Any, text: str) -> None:
    """Say on the node that runs if the T5 of `clip` cannot read `text`; nothing for encoders without one."""
    tokenizer = _t5_of(clip)
    if tokenizer is not None:
        _warn(tokenizer, text)


def warn_of_graph(prompt: Prompt | None, node: str | None, name: str) -> None:
    """The same for whatever texts reach input `name` of `node` through an encoder that T5 is part of."""
    texts = [] if prompt is None or node is None else list(_texts_through_t5(prompt, node, name))
    strange = [text for text in texts if not text.isascii()]
    if strange:
        tokenizer = _host_t5()
        for text in strange:
            _warn(tokenizer, text)


def unread_remarks(clip: Any, texts: Iterable[str]) -> list[str]:
    """A line for the summary of a run whose texts T5 cannot read, or none."""
    tokenizer, texts = _t5_of(clip), list(texts)
    found = [] if tokenizer is None else [text for text in texts if _share(tokenizer, text) >= TOO_MANY]
    if not found:
        return []
    return [
        f"Warning: {len(found)} of {len(texts)} instructions are mostly letters that T5 does not know, such as "
        f"{found[0][:_SHOWN]!r}: FLUX learns nothing from them. Translate them to English, or train with model.alignnet, whose "
        "Qwen2.5-VL reads Chinese."
    ]


def _warn(tokenizer: Any, text: str) -> None:
    share = _share(tokenizer, text)
    if share >= TOO_MANY:
        say_once(
            f"unread by T5: {text}",
            f"T5 does not know {share:.0%} of the letters of {text[:_SHOWN]!r} and reads them as unknown, so FLUX hardly sees "
            f"this instruction. {_ADVICE}.",
        )


def _share(tokenizer: Any, text: str) -> float:
    """The share of letters and signs that T5 maps to its unknown token."""
    if text.isascii():
        return 0.0
    counted = [
        letter for letter in text if unicodedata.category(letter)[0] == "L" or unicodedata.category(letter) == "So"
    ]
    return sum(_unknown(tokenizer, letter) for letter in counted) / max(1, len(counted))


@functools.lru_cache(1 << 14)
def _unknown(tokenizer: Any, letter: str) -> bool:
    return tokenizer.unk_token_id in tokenizer(letter)["input_ids"]


def _t5_of(clip: Any) -> Any:
    return getattr(getattr(getattr(clip, "tokenizer", None), "t5xxl", None), "tokenizer", None)


@functools.cache
def _host_t5() -> Any:
    return comfy.text_encoders.sd3_clip.T5XXLTokenizer().tokenizer


def _texts_through_t5(prompt: Prompt, node: str, name: str) -> Iterator[str]:
    for found in _upstream(prompt, _inputs(prompt, node).get(name)):
        inputs = _inputs(prompt, found)
        if _is_link(prompt, inputs.get("clip")) and _loads_t5(prompt, inputs["clip"]):
            for key, value in inputs.items():
                if key != "clip":
                    yield from _strings(prompt, value)


def _loads_t5(prompt: Prompt, link: Any) -> bool:
    values = (value for node in _upstream(prompt, link) for value in _inputs(prompt, node).values())
    return any(isinstance(value, str) and "t5" in value.lower() for value in values)


def _strings(prompt: Prompt, value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for node in _upstream(prompt, value):
        yield from (text for text in _inputs(prompt, node).values() if isinstance(text, str))


def _upstream(prompt: Prompt, link: Any) -> list[str]:
    """The node behind a link and all that it depends on; none for a value."""
    found: list[str] = []
    waiting = [link]
    while waiting:
        item = waiting.pop()
        if _is_link(prompt, item) and str(item[0]) not in found:
            found.append(str(item[0]))
            waiting += _inputs(prompt, found[-1]).values()
    return found


def _is_link(prompt: Prompt, value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and str(value[0]) in prompt


def _inputs(prompt: Prompt, node: str) -> Mapping[str, Any]:
    return prompt.get(node, {}).get("inputs", {})

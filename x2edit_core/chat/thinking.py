"""What a model told itself before its answer, and the marks that its family puts around either."""

from __future__ import annotations

import re

_THOUGHTS: tuple[tuple[str, str], ...] = (
    ("<think>", "</think>"),  # DeepSeek, Qwen, GLM, most others
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),  # Seed-OSS
    ("[THINK]", "[/THINK]"),  # Magistral
    ("◁think▷", "◁/think▷"),  # Kimi-VL, Kimi-Dev
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A
    ("<unused94>", "<unused95>"),  # MedGemma
    ("<|channel|>analysis<|message|>", "<|end|>"),  # gpt-oss
    ("<|channel|>commentary<|message|>", "<|end|>"),
    ("<|channel>", "<channel|>"),  # Gemma
)
_WRAPPERS: tuple[tuple[str, str], ...] = (
    ("<|begin_of_box|>", "<|end_of_box|>"),  # GLM-4.1V and later
    ("<|begin_of_solution|>", "<|end_of_solution|>"),
    ("<|START_RESPONSE|>", "<|END_RESPONSE|>"),
    ("<answer>", "</answer>"),
    ("\\boxed{", "}"),
)
_FINAL = re.compile(r"<\|channel\|>\s*final\s*(?:<\|constrain\|>\s*\w+\s*)?<\|message\|>")
_TURN = re.compile(
    r"<\|(?:start|end|return|im_start|im_end|endoftext|eot_id|eom_id|end_of_text|start_header_id|end_header_id|END_OF_TURN_TOKEN|"
    r"begin_of_box|end_of_box|message|channel)\|>(?:assistant)?|<(?:start|end)_of_turn>|</s>|<s>|<eos>|\[/?INST\]",
)


def strip_thinking(text: str) -> str:
    """The reply without its thoughts, boxes and turn marks, stripped; a thought that never ends leaves nothing behind it."""
    *_, final = _FINAL.split(text)
    text = final
    for opened, closed in _THOUGHTS:
        text = _without(text, opened, closed)
    for opened, closed in _WRAPPERS:
        text = _unwrapped(text, opened, closed)
    return _TURN.sub("", text).strip()


def _without(text: str, opened: str, closed: str) -> str:
    if opened not in text:
        # Some templates open the thought themselves, so that the reply holds its end alone.
        return text if closed == "<|end|>" else text.rpartition(closed)[2]
    while opened in text:
        head, _, rest = text.partition(opened)
        _, ended, tail = rest.partition(closed)
        if not ended:
            return head
        text = head + tail
    return text.rpartition(closed)[2] if closed != "<|end|>" else text


def _unwrapped(text: str, opened: str, closed: str) -> str:
    """What the last pair of marks holds, where a reply has them; the words around it lead up to the answer."""
    _, found, rest = text.rpartition(opened)
    if not found:
        return text
    inner, _, after = rest.partition(closed)
    return f"{inner.strip()} {after.strip()}".strip()

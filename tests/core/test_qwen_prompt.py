"""Prompts against the ids that the research code's own tokenizer gave; the words here are checked without a tokenizer."""

from __future__ import annotations

from x2edit_core.geometry import Size
from x2edit_core.qwen_prompt import LONGEST_TOK, around_instruction, prompt_tokens


def characters(text, literal):
    return [ord(letter) for letter in text]


def test_the_size_of_the_picture_and_one_address_stand_in_the_prompt():
    before, after = around_instruction(Size(1456, 720))
    assert "<|vision_start|><<PIL.Image.Image image mode=RGB size=720x1456 at 0x7F3AC41B90D0>><|vision_end|>" in before
    assert before.startswith("\n" + 16 * " " + "<|im_start|>system\n") and before.count("’") == 2
    assert after == "<|im_end|>\n                <|im_start|>assistant\n                "


def test_what_is_too_long_is_cut_off_at_the_end_and_counted():
    ids, cut = prompt_tokens(characters, "x" * LONGEST_TOK, Size(512, 512))
    whole = "".join(part for part in around_instruction(Size(512, 512)))
    assert len(ids) == LONGEST_TOK and cut == len(whole)


def test_only_the_instruction_is_taken_literally():
    seen = {}
    prompt_tokens(lambda text, literal: seen.setdefault(literal, []).append(text) or [0], "a <|im_end|>", Size(64, 64))
    assert seen[True] == ["a <|im_end|>"] and len(seen[False]) == 2

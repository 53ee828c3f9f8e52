"""The prompt of X2Edit's Qwen-Image variant, character by character as it was trained.

Upstream writes it into a source line, indentation included, and puts Python's own description of the resized picture in
the place of the picture (`pipeline_qwen_image.py:239`): its size is text, and so is an address that differs in every
process there. Here one of usual length is always used, so that the same words are always the same tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .geometry import Size

DROPPED_TOK = 64
"""First states that are not handed on; the cut lies inside the system's sentence."""
LONGEST_TOK = 1088
NEGATIVE = " "
"""The instruction of the negative branch."""
ADDRESS = "0x7F3AC41B90D0"

_BEFORE_INSTRUCTION = "<|vision_end|>"
_INDENT = "\n" + 16 * " "
_SYSTEM = (
    "Describe the key features of the input image (color, shape, size, texture, objects, background), then",
    "explain how the user’s text instruction should alter or modify the image. Generate a new image that",
    "meets the user’s requirements while maintaining consistency with the original input where appropriate.",
)

Tokenize = Callable[..., Sequence[int]]
"""Text → ids; with `literal` true, names of special tokens are words like others."""


def around_instruction(size: Size, address: str = ADDRESS) -> tuple[str, str]:
    """What stands before and after the instruction, for a picture resized to `size`."""
    picture = f"<PIL.Image.Image image mode=RGB size={size.width}x{size.height} at {address}>"
    before = [
        "<|im_start|>system",
        *_SYSTEM,
        "<|im_end|>",
        "<|im_start|>user",
        f"<|vision_start|><{picture}><|vision_end|>",
    ]
    after = ["<|im_end|>", "<|im_start|>assistant", ""]
    return "".join(_INDENT + line for line in before), _INDENT.join(after)


def prompt_tokens(tokenize: Tokenize, instruction: str, size: Size, address: str = ADDRESS) -> tuple[list[int], int]:
    """Ids of the whole prompt, and how many were cut off at its end because it is too long.

    The instruction is tokenized apart, between tokens that nothing merges with, so that nothing in it can end its turn.
    """
    before, after = around_instruction(size, address)
    return _tokens(tokenize, before, instruction, after)


def tokens_of_prompt(tokenize: Tokenize, prompt: str) -> tuple[list[int], int]:
    """Likewise for a whole prompt, taken apart where its parts were joined."""
    before, mark, rest = prompt.partition(_BEFORE_INSTRUCTION)
    after = around_instruction(Size(1, 1))[1]
    return _tokens(tokenize, before + mark, rest.removesuffix(after), after)


def _tokens(tokenize: Tokenize, before: str, instruction: str, after: str) -> tuple[list[int], int]:
    ids = [*tokenize(before, False), *tokenize(instruction, True), *tokenize(after, False)]
    return ids[:LONGEST_TOK], max(0, len(ids) - LONGEST_TOK)

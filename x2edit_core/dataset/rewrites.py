"""AdvancedEdit's further instructions, written after the edit by a model that sees both pictures."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from ..chat import Message
from . import prompts
from .endpoints import Asked
from .instructions import Words, answered
from .journal import Memory, key_of


def rewritten(
    memory: Memory,
    writer: Asked,
    pictures: tuple[Image.Image, Image.Image],
    digests: tuple[str, str],
    words: Words,
    wanted: Sequence[str],
) -> dict[str, str]:
    """Style → instruction, of those `wanted`; one that is too long, or that gives the thing away, is left out."""
    text = prompts.REWRITE.format(en=words.said)
    key = key_of("rewrite", prompts.VERSION, digests, text, writer.name)
    message = Message("user", text, pictures)
    told = memory.remember("rewrite", key, lambda: answered(writer, message, "understanding", wanted))
    found = {style: told.get(style, "") for style in wanted}
    return {style: said for style, said in found.items() if said and not _fault(said, words)}


def _fault(said: str, words: Words) -> bool:
    thing = words.thing.casefold().removeprefix("the ").removeprefix("a ").strip()
    return len(said.split()) > prompts.LONGEST_REWRITE or bool(thing and thing in said.casefold())

"""Families whose references the host places itself: it has one method for all of a pass, ours and those of other nodes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ...errors import ModelMismatchError
from ...reference import foreign_method
from ..call import Call
from ..notices import say_once


def choose_method(
    call: Call, flags: Sequence[bool], method: str, title: str, default: str, refused: Collection[str]
) -> None:
    """Sets the host's `method` for the references of a pass, `flags` says which are ours.

    Those of other nodes get it too; raises `ModelMismatchError` if their node asked for one that is `refused`. `default`
    is what this base does with references unless told.
    """
    foreign = foreign_method(call["ref_latents_method"])
    if not all(flags) and foreign in refused:
        raise ModelMismatchError(
            f"The conditioning holds references of X2Edit Reference and others that another node wants placed by "
            f"{foreign!r}; {title} places all of them in one way, here {method!r}. Use one of the two nodes for all "
            "references."
        )
    if not all(flags) and default != method:
        say_once(
            "references of a base",
            f"X2Edit: this base places references by {default!r}; beside one of X2Edit Reference those of other nodes are "
            f"placed by {method!r} too, as the adapter was trained.",
        )
    call["ref_latents_method"] = method

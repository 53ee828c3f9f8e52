"""References on the host's Qwen-Image: where they stand, and the grid that X2Edit's adapter was trained with.

Frame k for the k-th reference and the target's own t (upstream `pipeline_qwen_image.py:731`). Positions are centred as
diffusers does, for rows and columns alike: the host counts from -⌊n/2⌋, diffusers from -(n - ⌊n/2⌋), so that on a grid with
an odd side every image token stands one further from the text.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from ...adapters.attach import Forward, overridden
from ..call import Call
from ..notices import say_once
from ..replaced import replaced_error
from . import methods

METHOD = "index"
_OTHER_METHODS = ("index_timestep_zero", "negative_index")
_OWN_POSITIONS = "and gives positions of its own, where the adapter would act wrongly"


def choose_method(network: Any, call: Call, flags: Sequence[bool]) -> None:
    """Sets the host's method for the references of a pass, `flags` says which are ours.

    Ours need frame k and the target's t. Raises `ModelMismatchError` as `methods.choose_method` does.
    """
    default = getattr(network, "default_ref_method", METHOD)
    methods.choose_method(call, flags, METHOD, "Qwen-Image", default, _OTHER_METHODS)


class Branches:
    """Whether both branches of guidance had a reference of ours: trained were two that differ in their words alone."""

    def __init__(self) -> None:
        self._referenced: dict[int, bool] = {}

    def tell(self, options: dict[str, Any], referenced: bool) -> None:
        """Note a pass; the host says by `cond_or_uncond` whether it is of the positive (0) or the negative branch (1)."""
        self._referenced.update(dict.fromkeys(options.get("cond_or_uncond", ()), referenced))
        if len(self._referenced) < 2:
            return
        positive, negative = self._referenced[0], self._referenced[1]
        self._referenced.clear()  # the next pass may be of a graph that was changed
        if positive and not negative:
            say_once(
                "negative without reference",
                "X2Edit: the negative conditioning has no reference, the positive has one, so guidance also pushes away from "
                "the source. Put an X2Edit Reference with the same picture behind the negative output as well.",
            )


class Centring:
    """Positions of one pass as diffusers centres them, given by `process_img` within `placing`."""

    def __init__(self, network: Any) -> None:
        self._network = network
        self._placed = False

    @contextlib.contextmanager
    def placing(self) -> Iterator[None]:
        original = self._network.process_img

        def process_img(x: Tensor, *args: Any, **kwargs: Any) -> Any:
            tokens, ids, *rest = original(x, *args, **kwargs)
            self._placed = True
            return (tokens, self._centred(x, ids), *rest)

        with overridden([(self._network, "process_img", process_img)]):
            yield

    def _centred(self, x: Tensor, ids: Tensor) -> Tensor:
        """Position ids [B, T, 3] of latent x [B, C, t, h, w]; an odd number of rows or columns moves them by one."""
        size = self._network.patch_size
        rows, columns = (-(-side // size) for side in x.shape[-2:])
        return ids - ids.new_tensor([0, rows % 2, columns % 2]) if rows % 2 or columns % 2 else ids

    def required(self) -> list[tuple[nn.Module, Forward]]:
        """A forward of the first block that raises `ModelMismatchError` where another pack's pass made positions itself."""
        block = self._network.transformer_blocks[0]
        original: Callable[..., Any] = block.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            if not self._placed:
                raise replaced_error(self._network, _OWN_POSITIONS)
            return original(*args, **kwargs)

        return [(block, forward)]

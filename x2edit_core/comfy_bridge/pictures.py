"""Pictures into conditioning and back: references encoded by the host's VAE, edits returned to the source's size."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from ..diptych import crop, finish, panels
from ..errors import X2EditError
from ..geometry import DiptychLayout, EditLayout, SizeRule, target_size
from ..pixels import cycle, paste, resize, resize_mask, size_of, to_rgb
from ..reference import ReferenceMethod, foreign_method, ours
from ..restore.find import given_back
from ..restore.words import report
from . import admitted
from .notices import tell

Conditioning = list[list[Any]]
PROMPT_SIZE = "x2edit_prompt_size"
"""Option of conditioning whose words name the size of the picture they are about."""
Unchanged = Literal["as pasted", "find"]
UNCHANGED: tuple[Unchanged, ...] = ("as pasted", "find")
"""What becomes of the part of a picture that was not to be edited."""


def encode_reference(vae: Any, image: Tensor, rule: SizeRule, width: int, height: int) -> tuple[Tensor, EditLayout]:
    """The source [B, H, W, C] sized by `rule` and encoded: latent [B, 16, (1,) h/8, w/8] and the way back."""
    rgb = to_rgb(admitted.picture(image))
    layout = EditLayout(size_of(rgb), target_size(size_of(rgb), rule, width, height))
    admitted.doubted(layout)
    return encode_pictures(vae, resize(rgb, layout.target)), layout


def encode_pictures(vae: Any, pictures: Tensor) -> Tensor:
    """The latents of a batch [B, H, W, 3]: one each, [B, C, h, w], or [B, C, 1, h, w] of an autoencoder of films.

    Such a one takes a batch for the frames of one film and would return fewer latents.
    """
    if getattr(vae, "latent_dim", 2) < 3:
        return vae.encode(pictures)
    return torch.cat([vae.encode(picture) for picture in pictures.split(1)])


def require_named_size(conditioning: Conditioning, layout: EditLayout) -> None:
    """Raise `X2EditError` where the words of `conditioning` name another size than its first reference will have."""
    for _, options in conditioning:
        named = options.get(PROMPT_SIZE)
        if named not in (None, layout.target) and not options.get("reference_latents"):
            raise X2EditError(
                f"X2Edit Qwen Text Encode was told that the picture is {named.width} x {named.height}, X2Edit Reference "
                f"makes it {layout.target.width} x {layout.target.height}. Give both nodes the same picture, size, width "
                "and height."
            )


def add_reference(conditioning: Conditioning, latent: Tensor) -> Conditioning:
    """A copy of `conditioning` with one more reference latent of ours; those of other nodes stay marked as theirs."""
    added = []
    for embedding, options in conditioning:
        earlier, method = options.get("reference_latents", []), options.get("reference_latents_method")
        marked = ReferenceMethod((*ours(method, len(earlier)), True), foreign_method(method))
        updates = {"reference_latents": [*earlier, latent], "reference_latents_method": marked}
        added.append([embedding, {**options, **updates}])
    return added


def empty_latent_like(latent: Tensor) -> dict[str, Tensor]:
    """The LATENT to sample into: zeros of the target's size."""
    return {"samples": torch.zeros_like(latent)}


def restore(image: Tensor, layout: EditLayout | DiptychLayout, source: Tensor | None, mask: Tensor | None) -> Tensor:
    """The edit [B, h, w, 3] at the source's size; with a mask, the source again where the mask is 0.

    Of a diptych, that is the panel with the edit.
    """
    edited = crop(image, layout) if isinstance(layout, DiptychLayout) else resize(to_rgb(image), layout.source)
    if mask is None:
        return edited
    if source is None:
        raise X2EditError("X2EditRestore has a mask but no source picture to paste back; connect `source` too.")
    return paste(edited, resize(to_rgb(source), layout.source), resize_mask(mask, layout.source))


def restore_admitted(
    image: Any, layout: EditLayout | DiptychLayout | None, source: Any, mask: Any, unchanged: Unchanged
) -> tuple[Tensor, Tensor]:
    """The picture and the mask [B, H, W] of where it is the edit, of what other nodes hand over, in the kind of theirs."""
    edited, kept, area = _admitted(image, source, mask, "mask")
    if unchanged == "find":
        picture, where = found_again(edited, layout, kept, area)
    else:
        back = layout or _layout_of(edited, kept)
        picture = restore(edited, back, kept, area)
        where = torch.ones_like(picture[..., 0]) if area is None else resize_mask(area, back.source)
    return tuple(admitted.given_back(part, image, source) for part in (picture, cycle(where, len(picture))))  # pyright: ignore[reportReturnType]


def _layout_of(edited: Tensor, source: Tensor | None) -> EditLayout:
    """The way back where no node of ours prepared the edit."""
    if source is None:
        raise X2EditError(
            "X2EditRestore has neither a layout nor a source picture, so that it does not know which size to bring the edit "
            "back to. Connect `source`, or `layout` from X2Edit Reference."
        )
    return EditLayout(size_of(source), size_of(edited))


def found_again(
    edited: Tensor, layout: EditLayout | DiptychLayout | None, source: Tensor | None, area: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Each edit aligned to its source, and the source but for what changed; at the source's own size. Says what was found."""
    if source is None:
        raise X2EditError("X2EditRestore finds what is unchanged by the source picture; connect `source` too.")
    rows = max(len(edited), len(source), 0 if area is None else len(area))
    kept, rgb = to_rgb(source), to_rgb(edited)
    rgb = panels(rgb, layout)[0] if isinstance(layout, DiptychLayout) else rgb
    area = None if area is None else resize_mask(area, size_of(kept))
    pictures, masks = [], []
    for row in range(rows):
        own = None if area is None else area[row % len(area)][None]
        picture, mask, found = given_back(kept[row % len(kept)][None], rgb[row % len(rgb)][None], own)
        tell(f"{row + 1}: {report(found)}" if rows > 1 else report(found))
        pictures.append(picture)
        masks.append(mask)
    return torch.cat(pictures), torch.cat(masks)


def crop_admitted(image: Any, layout: object, source: Any, stitched: bool, area: Any) -> Tensor:
    """`diptych.finish` for what other nodes hand over, in the kind of numbers that they did."""
    edited, kept, within = _admitted(image, source, area, "edit_mask")
    return admitted.given_back(finish(edited, layout, kept, stitched, within), image, source)


def _admitted(image: Any, source: Any, mask: Any, name: str) -> tuple[Tensor, Tensor | None, Tensor | None]:
    edited = admitted.picture(image)
    kept = None if source is None else admitted.picture_beside(edited, source, "source")
    return edited, kept, admitted.mask(edited if kept is None else kept, mask, name)

"""Tensors of other nodes, admitted: what a picture, a mask or a latent may look like, and what becomes of it.

Behind these functions pictures are float32 [B, H, W, C] and masks float32 [B, H, W], all finite. What can be understood is
taken, and `say` is told wherever a person may have meant something else; the rest is an `X2EditError` that names the input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .errors import X2EditError
from .geometry import Size
from .pixels import size_of

Say = Callable[[str], None]

PLACEHOLDER_PX = 64
"""A black mask of at most this size is what LoadImage and others hand on for a picture without transparency."""
_BYTES_FROM = 16.0
"""Floats beyond this are no bright light any more: somebody forgot to divide by 255."""
_OVERSHOOT = 0.05
"""What a sharpening resize leaves beyond 0 and 1; it stays as it is and is not worth a word."""
_FAINT = 1 / 16
"""Share of their range up to which whole numbers are hardly a picture: labels, or bytes in a wider kind."""
_SQUASHED = 1.02
VAE_IN_HALVES = "a VAE in half precision does that to some pictures: start ComfyUI with --fp32-vae or --bf16-vae."


def picture(image: Any, say: Say, name: str = "image") -> Tensor:
    """`image` as float32 [B, H, W, 1, 3 or 4] in 0–1; itself if it is that already.

    Taken too: [H, W, C], grey with alpha, other kinds of floats, integers of 8 and 16 bits, bool, floats of 0–255.
    """
    found = _tensor(image, name, "a picture [batch, height, width, channels]")
    if found.ndim == 3 and found.shape[-1] <= 4:
        found = found.unsqueeze(0)
    if found.ndim != 4 or not 1 <= found.shape[-1] <= 4:
        hint = " Its channels seem to come first; they belong last." if _channels_first(found) else ""
        raise X2EditError(
            f"`{name}` has the shape {list(found.shape)}; a picture is [batch, height, width, channels] with 1 to 4 "
            f"channels.{hint}"
        )
    _require_content(found, name)
    if found.shape[-1] == 2:
        found = torch.cat((found[..., :1].expand(-1, -1, -1, 3), found[..., 1:]), dim=-1)
    return _in_range(_finite(_floats(found, name, say), name, say), name, say)


def mask(mask: Any, say: Say, name: str = "mask") -> Tensor:
    """`mask` as float32 [B, H, W] in 0–1.

    Taken too: [H, W], [B, 1, H, W], [B, H, W, 1], bool, every kind of float, integers of 0–1, 0–255 or 16 bits.
    """
    found = _tensor(mask, name, "a mask [batch, height, width]")
    shape = list(found.shape)
    if found.ndim == 2:
        found = found.unsqueeze(0)
    elif found.ndim == 4 and 1 in (found.shape[-1], found.shape[1]):
        found = found.squeeze(-1) if found.shape[-1] == 1 and found.shape[1] != 1 else found.squeeze(1)
    elif found.ndim == 3 and found.shape[-1] == 1 and min(found.shape[:2]) > 1:
        found = found.movedim(-1, 0)
    if found.ndim != 3:
        raise X2EditError(
            f"`{name}` has the shape {shape}; a mask is [batch, height, width]. Make one of a picture with Convert Image to "
            "Mask."
        )
    _require_content(found, name)
    if not found.is_floating_point() and bool((found.long() <= 1).all() & (found.long() >= 0).all()):
        found = found.bool()
    return _in_range(_finite(_floats(found, name, say), name, say), name, say).clamp(0.0, 1.0)


def mask_for(image: Tensor, given: Any, say: Say, name: str = "mask") -> Tensor | None:
    """The mask that belongs to the admitted picture `image`; None for no mask, as which placeholders count.

    Says so where it is one, where it is black and so keeps nothing, and where its shape or number fits the picture badly.
    """
    if given is None:
        return None
    found = mask(given, say, name)
    height, width = found.shape[-2:]
    if not bool(found.any()):
        if max(height, width) <= PLACEHOLDER_PX and Size(height, width) != size_of(image):
            say(
                f"`{name}` is an empty placeholder of {width} × {height} pixels, as LoadImage gives for a picture without "
                "transparency. It counts as no mask; draw one (Mask Editor) or disconnect it."
            )
            return None
        say(
            f"`{name}` is black everywhere: it marks no place of the picture. Invert it if the edit belongs everywhere."
        )
    _compare(found, image, say, name)
    return found


def _compare(found: Tensor, image: Tensor, say: Say, name: str) -> None:
    of_mask, of_picture = Size(*found.shape[-2:]), size_of(image)
    ratio = of_mask.aspect / of_picture.aspect
    if max(ratio, 1 / ratio) > _SQUASHED and max(abs(of_mask.height * of_picture.width / of_picture.height
                                                 - of_mask.width), 0) > 1:  # fmt: skip
        say(f"`{name}` is {of_mask} and its picture {of_picture}: another shape, so it is stretched over the picture.")
    same_number(found, image, say, name)


def same_number(batch: Tensor, others: Tensor, say: Say, name: str, other: str = "image") -> None:
    """Says so where two batches differ in number and neither is one, since the shorter is repeated in turn then."""
    if len(batch) != len(others) and 1 not in (len(batch), len(others)):
        say(f"`{name}` holds {len(batch)} and `{other}` {len(others)} pictures: the shorter batch is repeated in turn.")


def latent(given: Any, say: Say, name: str = "latent") -> dict[str, Any]:
    """`given` if it is a LATENT of pictures in floats, of which every kind is kept; raises `X2EditError` for another.

    A noise mask in it that the host would not take comes back as float32 [B, 1, H, W].
    """
    parts: dict[str, Any] = given if isinstance(given, dict) else {}
    samples = parts.get("samples")
    if getattr(samples, "is_nested", False):
        raise X2EditError(
            f"`{name}` is a latent of several parts, such as picture and sound; one of pictures is expected."
        )
    found = _tensor(samples, name, "a latent with samples [batch, channels, height, width]")
    if found.ndim not in (4, 5):
        raise X2EditError(
            f"`{name}` holds samples of shape {list(found.shape)}; [batch, channels, height, width] expected."
        )
    if not found.is_floating_point():
        raise X2EditError(f"`{name}` holds samples of {_kind(found)}; floats are expected, as VAE Encode gives them.")
    _require_content(found, name)
    wrong = int((~found.float().isfinite()).sum())
    if wrong:
        raise X2EditError(
            f"`{name}` holds {wrong} values that are no numbers, of {found.numel()}: the node before it failed. If it "
            f"encoded a sound picture, {VAE_IN_HALVES}"
        )
    painted: Any = parts.get("noise_mask")
    if not isinstance(painted, Tensor) or painted.ndim > 4:
        return parts
    area = mask(painted, say, "noise_mask")
    forms = (area, area.unsqueeze(1))
    as_it_came = painted.dtype == area.dtype and any(torch.equal(form, painted) for form in forms)
    if not bool(area.any()):
        say(
            "The latent's noise mask is black everywhere, so that nothing is painted. Was an empty mask of LoadImage set?"
        )
    return parts if as_it_came else {**parts, "noise_mask": forms[1]}


def kind_of(*inputs: Any) -> torch.dtype:
    """What pictures made of `inputs` are given back as: float16 if all of them came so, else float32.

    Other kinds do not come back: the host's own nodes save and show these two.
    """
    kinds = {item.dtype for item in inputs if isinstance(item, Tensor)}
    return torch.float16 if kinds == {torch.float16} else torch.float32


def _tensor(value: Any, name: str, expected: str) -> Tensor:
    if not isinstance(value, Tensor):
        raise X2EditError(f"`{name}` is of type {type(value).__name__}; {expected} was expected.")
    return value.detach() if value.requires_grad else value


def _channels_first(found: Tensor) -> bool:
    return found.ndim in (3, 4) and found.shape[-3] in (1, 3, 4)


def _require_content(found: Tensor, name: str) -> None:
    if not found.shape[0]:
        raise X2EditError(f"`{name}` is an empty batch; at least one picture was expected. Look at the node before it.")
    if not found.numel():
        raise X2EditError(f"`{name}` has the shape {list(found.shape)}, in which there is no pixel.")


def _kind(found: Tensor) -> str:
    return str(found.dtype).removeprefix("torch.")


def _floats(found: Tensor, name: str, say: Say) -> Tensor:
    if found.is_floating_point():
        return found.float()
    if found.dtype == torch.bool:
        return found.float()
    if found.is_complex():
        raise X2EditError(f"`{name}` holds {_kind(found)} numbers; floats in 0–1 are expected.")
    whole = found.long()
    least, most = int(whole.min()), int(whole.max())
    full = 65535 if found.dtype == torch.uint16 else 255
    if found.dtype != torch.uint8 and 0 < most <= full * _FAINT:
        say(
            f"`{name}` holds whole numbers ({_kind(found)}) up to {most}, which are read as 0–{full}: nearly black. Labels or "
            "numbers of another range must be made 0–1 first."
        )
    if full == 65535:
        return found.float() / full
    if least < 0 or most > 255:
        raise X2EditError(
            f"`{name}` holds integers ({_kind(found)}) from {least} to {most}; floats in 0–1 or integers in 0–255 are expected."
        )
    return whole.float() / 255


def _finite(found: Tensor, name: str, say: Say) -> Tensor:
    good = found.isfinite()
    wrong = found.numel() - int(good.sum())
    if not wrong:
        return found
    if wrong == found.numel():
        raise X2EditError(
            f"`{name}` holds no numbers at all ({wrong} of {wrong} values are none), so there is nothing to go on with: the "
            f"node before it failed. If the latent it was decoded from is sound, {VAE_IN_HALVES}"
        )
    say(
        f"`{name}` holds {wrong} values that are no numbers, of {found.numel()}; they are black here. If the latent it was "
        f"decoded from is sound, {VAE_IN_HALVES}"
    )
    return torch.where(good, found, 0.0)


def _in_range(found: Tensor, name: str, say: Say) -> Tensor:
    least, most = (float(value) for value in found.aminmax())
    if least >= -_OVERSHOOT and most <= 1 + _OVERSHOOT:
        return found
    if least >= -_BYTES_FROM * _OVERSHOOT and most > _BYTES_FROM:
        say(f"`{name}` holds values up to {most:g}, not 0–1; they are read as 0–255.")
        return (found / 255).clamp(0.0, 1.0)
    say(f"`{name}` holds values from {least:.3g} to {most:.3g}; what lies outside 0–1 is cut off.")
    return found.clamp(0.0, 1.0)

"""Forward passes of FLUX as other node packs put them in place of the host's: none asks `post_input`, none hands blocks
their options, and some skip blocks. Written for these tests, after how such packs work.
"""

from __future__ import annotations

import contextlib
from unittest import mock

import comfy.model_management
import torch
from comfy.ldm.flux.layers import apply_mod, timestep_embedding


class Replacement:
    """A `forward_orig` that runs all blocks; subclasses add to them or skip some."""

    def __init__(self):
        self.blocks = 0
        self.skipped = 0

    def bound(self, flux):
        """The function as a method of this FLUX, as it is put in the place of its own."""

        def forward_orig(
            flux, img, img_ids, txt, txt_ids, timesteps, y, guidance=None, control=None, attn_mask=None, **kwargs,
        ):  # fmt: skip
            img, txt, vec = self.embedded(flux, img, txt, timesteps, y, guidance)
            pe = flux.pe_embedder(torch.cat((txt_ids, img_ids), dim=1))
            img = self.transform(flux, img, txt, vec, pe, attn_mask, timesteps)
            return flux.final_layer(img, vec)

        return forward_orig.__get__(flux, type(flux))

    def embedded(self, flux, img, txt, timesteps, y, guidance):
        img = flux.img_in(img)
        vec = flux.time_in(timestep_embedding(timesteps, 256).to(img.dtype))
        if flux.params.guidance_embed and guidance is not None:
            vec = vec + flux.guidance_in(timestep_embedding(guidance, 256).to(img.dtype))
        vec = vec + flux.vector_in(y[:, : flux.params.vec_in_dim])
        return img, flux.txt_in(txt), vec

    def transform(self, flux, img, txt, vec, pe, mask, timesteps):
        for index, block in enumerate(flux.double_blocks):
            img, txt = self.double(block, index, img, txt, vec, pe, mask)
        stream = torch.cat((txt, img), 1)
        for index, block in enumerate(flux.single_blocks):
            stream = self.single(block, index, stream, vec, pe, mask)
        return stream[:, txt.shape[1] :]

    def double(self, block, index, img, txt, vec, pe, mask):
        self.blocks += 1
        return block(img=img, txt=txt, vec=vec, pe=pe, attn_mask=mask)

    def single(self, block, index, stream, vec, pe, mask):
        self.blocks += 1
        return block(stream, vec=vec, pe=pe, attn_mask=mask)


class TeaCacheLike(Replacement):
    """Measures how much the first block's modulated input changed; skips all blocks at the steps told to."""

    def __init__(self, skips=()):
        super().__init__()
        self.skips, self.steps, self.residual, self.measured = set(skips), 0, None, []

    def transform(self, flux, img, txt, vec, pe, mask, timesteps):
        first = flux.double_blocks[0]
        modulation, _ = first.img_mod(vec)
        self.measured.append(apply_mod(first.img_norm1(img), 1 + modulation.scale, modulation.shift))
        step, self.steps = self.steps, self.steps + 1
        if step in self.skips:
            self.skipped += 1
            return img + self.residual
        before = img.clone()
        img = super().transform(flux, img, txt, vec, pe, mask, timesteps)
        self.residual = img - before
        return img


class FirstBlockCacheLike(Replacement):
    """Runs the first block always, the others unless told to skip; then the rest of their work is the last step's."""

    def __init__(self, skips=()):
        super().__init__()
        self.skips, self.steps, self.rest = set(skips), 0, None

    def transform(self, flux, img, txt, vec, pe, mask, timesteps):
        img, txt = self.double(flux.double_blocks[0], 0, img, txt, vec, pe, mask)
        step, self.steps = self.steps, self.steps + 1
        if step in self.skips:
            self.skipped += 1
            return img + self.rest
        first = img.clone()
        for index, block in enumerate(list(flux.double_blocks)[1:], 1):
            img, txt = self.double(block, index, img, txt, vec, pe, mask)
        stream = torch.cat((txt, img), 1)
        for index, block in enumerate(flux.single_blocks):
            stream = self.single(block, index, stream, vec, pe, mask)
        img = stream[:, txt.shape[1] :]
        self.rest = img - first
        return img


class IdentityLike(Replacement):
    """Adds a residual between blocks, as identity adapters do: `extra` times the stream's mean over tokens."""

    def __init__(self, extra=0.0):
        super().__init__()
        self.extra = extra

    def double(self, block, index, img, txt, vec, pe, mask):
        img, txt = super().double(block, index, img, txt, vec, pe, mask)
        return img + self.extra * img.mean(1, keepdim=True), txt

    def single(self, block, index, stream, vec, pe, mask):
        """By position, as some packs call them."""
        self.blocks += 1
        return block(stream, vec, pe, mask)


def by_object_patch(model, replacement):
    """Put there by the patcher while the model is loaded."""
    clone = model.clone()
    clone.add_object_patch("diffusion_model.forward_orig", replacement.bound(model.model.diffusion_model))
    return clone


def by_setattr(model, replacement):
    """Put there for good; the test takes it away again (`left_behind`)."""
    flux = model.model.diffusion_model
    flux.forward_orig = replacement.bound(flux)
    return model


def by_function_wrapper(model, replacement):
    """Put there around each call of the model."""
    clone, flux = model.clone(), model.model.diffusion_model

    def around(apply_model, args):
        with mock.patch.multiple(flux, forward_orig=replacement.bound(flux)):
            return apply_model(args["input"], args["timestep"], **args["c"])

    clone.set_model_unet_function_wrapper(around)
    return clone


def by_wrapper(model, replacement):
    """Put there by a wrapper of the host's own kind, which lies inside or outside ours by the order of nodes."""
    clone, flux = model.clone(), model.model.diffusion_model

    def around(executor, *args, **kwargs):
        with mock.patch.multiple(flux, forward_orig=replacement.bound(flux)):
            return executor(*args, **kwargs)

    clone.add_wrapper_with_key("diffusion_model", "another pack", around)
    return clone


WAYS = (by_object_patch, by_setattr, by_function_wrapper, by_wrapper)


@contextlib.contextmanager
def left_behind(model):
    """What is put on the model inside, for good or while it is loaded, is gone afterwards."""
    comfy.model_management.unload_all_models()
    flux = model.model.diffusion_model
    before = dict(flux.__dict__)
    try:
        yield
    finally:
        comfy.model_management.unload_all_models()
        for name in set(flux.__dict__) - set(before):
            del flux.__dict__[name]

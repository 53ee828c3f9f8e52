"""Beside packs that put a forward of their own into FLUX: the same edit to the bit, or one error that names the pack."""

from __future__ import annotations

import pytest
import torch

from .graphs import assert_untouched, conditioning, golden_adapter, golden_cases, golden_models, state, velocity
from .replacements import WAYS, FirstBlockCacheLike, IdentityLike, Replacement, TeaCacheLike, by_setattr, left_behind

CASE = golden_cases("x2edit")[0]["tensors"]
ALL = (Replacement, TeaCacheLike, FirstBlockCacheLike, IdentityLike)
# Each kind and each way once in every run, all pairs in a full one.
PAIRS = [
    pytest.param(kind, way, marks=() if kind is TeaCacheLike or way is by_setattr else pytest.mark.full)
    for kind in ALL
    for way in WAYS
]


@pytest.fixture(scope="module")
def models(pack):
    return golden_models(pack)


@pytest.fixture(scope="module")
def base(models):
    return models[0]


@pytest.fixture(scope="module")
def positive(pack, base):
    plain = conditioning(CASE["context"], CASE["pooled"])
    return pack.core("comfy_bridge.pictures").add_reference(plain, base.model.process_latent_out(CASE["ref"]))


@pytest.fixture
def apply(pack):
    adapter = golden_adapter(pack)
    (task,) = pack.run("X2EditTask", task="style")
    return lambda model: pack.run("X2EditApply", model=model, adapter=adapter, task=task)[0]


@pytest.fixture(scope="module")
def alone(pack, base, positive):
    """What the adapter gives without another pack, and without its references being placed."""
    (task,) = pack.run("X2EditTask", task="style")
    (model,) = pack.run("X2EditApply", model=base, adapter=golden_adapter(pack), task=task)
    return velocity(model, positive, CASE["noise"], 0.7)


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize(("kind", "way"), PAIRS)
def test_references_stand_in_their_places(base, positive, apply, alone, kind, way, order):
    before, replacement = state(base.model), kind()
    with left_behind(base):
        model = apply(way(base, replacement)) if order == "before" else way(apply(base), replacement)
        for _ in range(2):
            assert torch.equal(velocity(model, positive, CASE["noise"], 0.7), alone)
    assert replacement.blocks == 2 * 3, "the other pack's forward ran"
    assert_untouched(base.model, before)
    assert "process_img" not in base.model.diffusion_model.__dict__


def through_blocks(base, model, positive, x, sigma):
    """(velocity, image tokens after the first block's place, before and after all blocks) of one evaluation."""
    seen, flux = {}, base.model.diffusion_model
    hooks = [
        flux.img_in.register_forward_hook(lambda _, __, out: seen.__setitem__("in", out.clone())),
        flux.double_blocks[0].register_forward_hook(lambda _, __, out: seen.__setitem__("first", out[0].clone())),
        flux.final_layer.register_forward_pre_hook(lambda _, given: seen.__setitem__("out", given[0].clone())),
        flux.final_layer.register_forward_pre_hook(lambda _, given: seen.__setitem__("vec", given[1].clone())),
    ]
    seen["velocity"] = velocity(model, positive, x, sigma)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize(("kind", "kept"), [(TeaCacheLike, "in"), (FirstBlockCacheLike, "first")])
@pytest.mark.parametrize("way", WAYS)
def test_a_skipped_step_is_the_last_ones_work_on_this_ones_tokens(base, positive, apply, kind, kept, way):
    """Against two passes of the host's own forward, put together as the cache does."""
    other = CASE["noise"].roll(1, -1)
    flux, replacement = base.model.diffusion_model, kind(skips={1})
    one, two = (
        through_blocks(base, apply(base), positive, x, sigma) for x, sigma in ((CASE["noise"], 0.7), (other, 0.5))
    )
    with torch.inference_mode():
        tokens = two[kept] + (one["out"] - one[kept])
        last = flux.final_layer(tokens, two["vec"])[:, : (other.shape[-1] // 2) * (other.shape[-2] // 2)]
    rows, columns = other.shape[-2] // 2, other.shape[-1] // 2
    expected = last.view(1, rows, columns, 16, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(other.shape)
    with left_behind(base):
        model = way(apply(base), replacement)
        first = velocity(model, positive, CASE["noise"], 0.7)
        second = velocity(model, positive, other, 0.5)
    assert replacement.skipped == 1
    assert torch.equal(first, one["velocity"])
    torch.testing.assert_close(second, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(second, two["velocity"], rtol=1e-3, atol=1e-3)


def test_extra_residuals_act_beside_the_experts(base, positive, apply, alone):
    with left_behind(base):
        found = velocity(by_setattr(apply(base), IdentityLike(0.1)), positive, CASE["noise"], 0.7)
    flux = base.model.diffusion_model

    def add(_, __, out):
        return (out[0] + 0.1 * out[0].mean(1, keepdim=True), out[1])

    hooks = [block.register_forward_hook(add) for block in flux.double_blocks]
    expected = velocity(apply(base), positive, CASE["noise"], 0.7)
    for hook in hooks:
        hook.remove()
    assert torch.equal(found, expected)
    assert not torch.equal(found, alone)


def own_forward(flux, *args, **kwargs):
    """A whole forward that calls no wrappers."""
    return flux._forward(*args, **kwargs)


def own_tokens(flux, x, timestep, context, y, guidance, ref_latents, *args, **kwargs):
    """A `_forward` that makes the tokens itself, of copies of the references."""
    copies = [reference.clone() for reference in ref_latents]
    return type(flux)._forward(flux, x, timestep, context, y, guidance, copies, *args, **kwargs)


@pytest.mark.parametrize(("name", "function"), [("forward", own_forward), ("_forward", own_tokens)])
@pytest.mark.parametrize("order", ["before", "after"])
def test_what_cannot_work_is_one_error_that_names_the_module(pack, base, positive, apply, name, function, order):
    flux, before = base.model.diffusion_model, state(base.model)
    with left_behind(base):
        model = apply(base) if order == "after" else None
        setattr(flux, name, function.__get__(flux))
        model = model or apply(base)
        with pytest.raises(pack.core("errors").ModelMismatchError, match=rf"{name} \(by {__name__}\)"):
            velocity(model, positive, CASE["noise"], 0.7)
    assert_untouched(base.model, before)


def test_a_block_that_knows_no_clean_tokens_is_named(pack, base, positive, apply):
    block = base.model.diffusion_model.double_blocks[0]

    def forward(img, txt, vec, pe, attn_mask=None):
        return img, txt

    model = apply(base)
    plain = conditioning(CASE["context"], CASE["pooled"])
    block.forward = forward
    try:
        with pytest.raises(pack.core("errors").ModelMismatchError, match=rf"double_blocks\.0 \(by {__name__}\)"):
            velocity(model, positive, CASE["noise"], 0.7)
        model = model.clone()
        del block.forward
        assert velocity(model, plain, CASE["noise"], 0.7).isfinite().all()
    finally:
        block.__dict__.pop("forward", None)


def test_a_pass_that_another_pack_answers_from_a_cache_is_no_fault(base, positive, apply):
    """As the host's own EasyCache does: a wrapper outside ours gives the last result."""
    kept, model = [], base.clone()

    def answer(executor, *args, **kwargs):
        if not kept:
            kept.append(executor(*args, **kwargs))
        return kept[0]

    model.add_wrapper_with_key("diffusion_model", "a cache", answer)
    model = apply(model)
    first, second = (velocity(model, positive, CASE["noise"], 0.7) for _ in range(2))
    assert torch.equal(first, second)


@pytest.fixture(scope="module")
def picture():
    torch.manual_seed(3)
    return torch.rand(1, 4, 4, 3).repeat_interleave(16, 1).repeat_interleave(16, 2)


@pytest.fixture(scope="module")
def free(pack):
    """The embedded FLUX for ICEdit without an adapter."""
    return pack.run("X2EditDemoModels", base="x2edit")


def invert(pack, free, picture, model=None):
    settings = {"steps": 3, "solver": "euler", "width": 64, "layers_start": 0.0, "check": False}
    return pack.run("ICEditInvert", model=model or free[0], vae=free[2], image=picture, **settings)


@pytest.fixture(scope="module")
def inverted(pack, free, picture):
    return invert(pack, free, picture)


@pytest.fixture(scope="module")
def sampled(pack, free, picture, inverted):
    """The model's answer to a diptych, as a function of the model."""
    canvas, mask, _ = pack.run("ICEditDiptych", image=picture, width=64)
    conds = pack.run(
        "ICEditConditioning",
        clip=free[1],
        vae=free[2],
        instruction="make it red",
        diptych=canvas,
        mask=mask,
        guidance=3.5,
    )
    noise, features, _ = inverted
    x, sigma = noise.generate_noise(conds[2]), features.sigmas[1]
    return lambda model: velocity(model, conds[0], x, sigma)


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize(("kind", "way"), PAIRS)
def test_kept_values_are_injected(pack, free, inverted, sampled, kind, way, order):
    def inject(model):
        return pack.run("ICEditInject", model=model, features=inverted[1])[0]

    expected, plain = sampled(inject(free[0])), sampled(free[0])
    with left_behind(free[0]):
        found = sampled(inject(way(free[0], kind())) if order == "before" else way(inject(free[0]), kind()))
    assert torch.equal(found, expected)
    assert not torch.allclose(found, plain, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(("kind", "way"), PAIRS)
def test_the_same_values_are_kept(pack, free, picture, inverted, kind, way):
    with left_behind(free[0]):
        noise, features, _ = invert(pack, free, picture.clone(), way(free[0], kind()))
    assert torch.equal(noise.inverted, inverted[0].inverted)
    assert features.values.keys() == inverted[1].values.keys()
    assert all(torch.equal(value, inverted[1].values[place]) for place, value in features.values.items())


@pytest.mark.parametrize("kind", [TeaCacheLike, FirstBlockCacheLike])
def test_an_inversion_that_skipped_blocks_is_refused(pack, free, picture, kind):
    with (
        left_behind(free[0]),
        pytest.raises(ValueError, match=r"forward_orig \(by .*replacements\), and \d+ of the \d+ attention values"),
    ):
        invert(pack, free, picture.clone(), by_setattr(free[0], kind(skips={2})))


class OwnBlock(torch.nn.Module):
    """A block of another pack's, with attention of its own, around the parts of the host's."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, img, txt, vec, pe, attn_mask=None, **kwargs):
        return img + self.block.img_attn.proj(img), txt


def test_a_block_that_asks_no_patch_is_named(pack, free, picture, inverted, sampled):
    own = free[0].clone()
    own.add_object_patch("diffusion_model.double_blocks.0", OwnBlock(free[0].model.diffusion_model.double_blocks[0]))
    (injecting,) = pack.run("ICEditInject", model=own, features=inverted[1])
    for run in (lambda: sampled(injecting), lambda: invert(pack, free, picture.clone(), own)):
        with left_behind(free[0]), pytest.raises(ValueError, match=rf"double_blocks\.0 \(by {__name__}\)"):
            run()


def test_a_forward_without_wrappers_is_named_where_values_would_be_kept_or_injected(
    pack, free, picture, inverted, sampled
):
    (injecting,) = pack.run("ICEditInject", model=free[0], features=inverted[1])
    flux = free[0].model.diffusion_model
    for run in (lambda: sampled(injecting), lambda: invert(pack, free, picture.clone())):
        with left_behind(free[0]):
            flux.forward = own_options.__get__(flux)
            with pytest.raises(ValueError, match=rf"forward \(by {__name__}\)"):
                run()


def own_options(flux, *args, transformer_options=None, **kwargs):
    """A whole forward that calls no wrappers and knows no patches."""
    return flux._forward(*args, transformer_options={}, **kwargs)


def test_nothing_kept_is_nothing_to_inject(pack, free, picture, inverted):
    features = inverted[1]
    empty = type(features)(features.layout, features.sigmas, features.depth)
    with pytest.raises(ValueError, match="nothing to inject"):
        pack.run("ICEditInject", model=free[0], features=empty)
    with pytest.raises(ValueError, match="nothing to inject"):
        pack.run(
            "ICEditInvert",
            model=free[0],
            vae=free[2],
            image=picture,
            steps=2,
            solver="euler",
            width=64,
            steps_start=1.0,
        )

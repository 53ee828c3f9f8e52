"""FLUX with an X2Edit adapter as plain functions, out of place, in whatever precision its weights have.

Nothing of the host or the pack computes here, so its gradients can stand for what is right.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F


def plain_velocity(
    weights,
    x,
    sigma,
    context,
    pooled,
    guidance,
    reference=None,
    offset=64,
    adapter=None,
    tasks=(),
    attended=None,
    after=None,
):
    """Velocity [B, 16, h, w] of a FLUX given by its state dict; one optional reference; `adapter` an Adapter.

    `attended(block, query [B, H, T, 128])` gives what is added to a block's attention over all its tokens, those of the
    picture in double blocks; `after` likewise to what a double block gives.
    """
    flux = _Plain(weights, adapter, tasks)
    flux.attended, flux.after = attended, after
    target, target_ids = _patches(x, 0)
    tokens, ids = target, target_ids
    if reference is not None:
        more, more_ids = _patches(reference, offset)
        tokens, ids = torch.cat((target, more), 1), torch.cat((target_ids, more_ids))
    vec = flux.vector(sigma, pooled, guidance)
    clean = flux.vector(torch.zeros_like(sigma), pooled, guidance)
    count, text = target.shape[1], context.shape[1]
    image_vec = torch.where((torch.arange(tokens.shape[1]) < count)[None, :, None], vec[:, None], clean[:, None])
    text_vec = vec[:, None].expand(-1, text, -1)
    img, txt = flux.linear("img_in", tokens), flux.linear("txt_in", context)
    angles = _angles(torch.cat((torch.zeros(text, 3), ids))).to(img)
    features = []
    for block in range(flux.count("double_blocks")):
        img, txt = flux.double(f"double_blocks.{block}", img, txt, image_vec, text_vec, angles)
        features.append(img[:, :count])
    stream, stream_vec = torch.cat((txt, img), 1), torch.cat((text_vec, image_vec), 1)
    for block in range(flux.count("single_blocks")):
        stream = flux.single(f"single_blocks.{block}", stream, stream_vec, angles)
    out = stream[:, text : text + count]
    shift, scale = flux.linear("final_layer.adaLN_modulation.1", F.silu(vec))[:, None].chunk(2, -1)
    out = flux.linear("final_layer.linear", _norm(out) * (1 + scale) + shift)
    height, width = x.shape[-2] // 2, x.shape[-1] // 2
    out = out.view(len(x), height, width, 16, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(x.shape)
    return out, features


class _Plain:
    def __init__(self, weights, adapter, tasks):
        self.weights, self.adapter = weights, adapter
        self.deltas = {site.module: (site, adapter.delta(i)) for i, site in enumerate(adapter.sites)} if adapter else {}
        self.task = None if adapter is None or adapter.task_table is None else adapter.task_table[list(tasks)]

    def count(self, kind):
        return len({key.split(".")[1] for key in self.weights if key.startswith(kind)})

    def linear(self, name, x):
        y = F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])
        if name not in self.deltas:
            return y
        site, delta = self.deltas[name]
        return y + self._delta(site, delta, x if site.side == "input" else y, y.shape[-1])

    def _delta(self, site, delta, x, width):
        columns = [torch.zeros(*x.shape[:2], width, dtype=x.dtype)]
        for p, slot in enumerate(site.slots):
            parts = delta.parts(p)
            weight = torch.ones(*x.shape[:2], len(parts), dtype=x.dtype)
            if delta.experts:
                gate = delta.gate(p)
                logits = x @ gate[:, : x.shape[-1]].T
                if delta.task_gate is not None:
                    logits = logits + (self.task @ gate[:, x.shape[-1] :].T)[:, None]
                share = logits.softmax(-1)
                kept = torch.zeros_like(share).scatter(-1, share.topk(delta.routing.top_k, -1).indices, 1.0)
                weight = torch.cat((share * kept, weight[..., delta.experts :]), -1)
            low = (
                share[..., None] * (x @ down.T) @ up.T
                for share, (down, up) in zip(weight.unbind(-1), parts, strict=True)
            )
            added = sum(low) * delta.scale
            columns.append(F.pad(added, (slot.start, width - slot.start - slot.width)))
        return sum(columns)

    def vector(self, t, pooled, guidance):
        vec = self._embed("time_in", _wave(t)) + self._embed("vector_in", pooled)
        if "guidance_in.in_layer.weight" in self.weights:
            vec = vec + self._embed("guidance_in", _wave(torch.full_like(t, guidance)))
        return vec

    def _embed(self, name, x):
        return self.linear(f"{name}.out_layer", F.silu(self.linear(f"{name}.in_layer", x)))

    def _qkv(self, name, x):
        heads = x.shape[-1] // 3 // 128
        q, k, v = x.unflatten(-1, (3, heads, 128)).permute(2, 0, 3, 1, 4)
        return self._rms(q, f"{name}.query_norm"), self._rms(k, f"{name}.key_norm"), v

    def _rms(self, x, name):
        scale = self.weights.get(f"{name}.weight", self.weights.get(f"{name}.scale"))
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + torch.finfo(x.dtype).eps) * scale

    def double(self, name, img, txt, image_vec, text_vec, angles):
        parts, mods = [], []
        for stream, x, vec in (("txt", txt, text_vec), ("img", img, image_vec)):
            mod = self.linear(f"{name}.{stream}_mod.lin", F.silu(vec)).chunk(6, -1)
            qkv = self.linear(f"{name}.{stream}_attn.qkv", _norm(x) * (1 + mod[1]) + mod[0])
            parts.append(self._qkv(f"{name}.{stream}_attn.norm", qkv))
            mods.append(mod)
        attended = _attend(*(torch.cat(pair, 2) for pair in zip(*parts, strict=True)), angles)
        split = (attended[:, : txt.shape[1]], attended[:, txt.shape[1] :])
        if self.attended:
            split = (split[0], split[1] + self.attended(name, parts[1][0]))
        results = []
        for stream, x, mod, part in zip(("txt", "img"), (txt, img), mods, split, strict=True):
            x = x + self.linear(f"{name}.{stream}_attn.proj", part) * mod[2]
            inner = self.linear(f"{name}.{stream}_mlp.0", _norm(x) * (1 + mod[4]) + mod[3])
            results.append(x + self.linear(f"{name}.{stream}_mlp.2", F.gelu(inner, approximate="tanh")) * mod[5])
        if self.after:
            results[1] = results[1] + self.after(name, parts[1][0])
        return results[1], results[0]

    def single(self, name, x, vec, angles):
        shift, scale, gate = self.linear(f"{name}.modulation.lin", F.silu(vec)).chunk(3, -1)
        both = self.linear(f"{name}.linear1", _norm(x) * (1 + scale) + shift)
        qkv, inner = both[..., : 3 * x.shape[-1]], both[..., 3 * x.shape[-1] :]
        query, *others = self._qkv(f"{name}.norm", qkv)
        attended = _attend(query, *others, angles)
        if self.attended:
            attended = attended + self.attended(name, query)
        joined = torch.cat((attended, F.gelu(inner, approximate="tanh")), -1)
        return x + self.linear(f"{name}.linear2", joined) * gate


def _patches(x, offset):
    """Tokens [B, N, 64] of a latent and their positions [N, 3]."""
    height, width = x.shape[-2] // 2, x.shape[-1] // 2
    tokens = x.unflatten(3, (width, 2)).unflatten(2, (height, 2)).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
    ids = torch.zeros(height, width, 3)
    ids[..., 1] = torch.arange(height)[:, None] + offset
    ids[..., 2] = torch.arange(width)
    return tokens, ids.flatten(0, 1)


def _norm(x):
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


def _wave(t):
    """The host's sinusoids of 1000·t; its frequencies are float32, and so they are here."""
    rates = torch.exp(-torch.log(torch.tensor(10000.0)) * torch.arange(128, dtype=torch.float32) / 128).to(t)
    angles = 1000 * t[:, None] * rates
    return torch.cat((angles.cos(), angles.sin()), -1)


def _angles(ids):
    """Rotation angles [T, 64] of positions [T, 3]."""
    columns = []
    for axis, width in enumerate((16, 56, 56)):
        rates = 10000.0 ** -(torch.arange(0, width, 2, dtype=torch.float64) / width)
        columns.append(ids[:, axis, None].double() * rates)
    return torch.cat(columns, -1)


def _attend(q, k, v, angles):
    attended = F.scaled_dot_product_attention(_rotated(q, angles), _rotated(k, angles), v)
    return attended.transpose(1, 2).flatten(2)


def _rotated(x, angles):
    first, second = x[..., 0::2], x[..., 1::2]
    cos, sin = angles.cos(), angles.sin()
    return torch.stack((first * cos - second * sin, first * sin + second * cos), -1).flatten(-2)

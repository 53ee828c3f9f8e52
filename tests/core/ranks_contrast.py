"""One process of several: the contrast loss of its rows, its gradients, and the bytes it sent."""

from __future__ import annotations

import json
import sys

import torch.distributed as dist
from safetensors.torch import load_file

from x2edit_core.train import losses
from x2edit_core.train.parallel import leave

sent = [0]


def counted(original, size):
    def call(*args, **kwargs):
        sent[0] += size(*args)
        return original(*args, **kwargs)

    return call


def size_of(tensor):
    return tensor.numel() * tensor.element_size()


dist.init_process_group("gloo")
dist.all_reduce = counted(dist.all_reduce, lambda tensor: size_of(tensor))
dist.all_gather = counted(dist.all_gather, lambda parts, tensor: size_of(tensor))
exchange = dist.batch_isend_irecv
dist.batch_isend_irecv = counted(exchange, lambda ops: sum(size_of(op.tensor) for op in ops if op.op is dist.isend))

tensors = load_file(sys.argv[1])
layers = sum(name.startswith("hidden.") for name in tensors)
whole = [tensors[f"hidden.{index}"] for index in range(layers)]
share = len(whole[0]) // losses.world()
rows = slice(losses.rank() * share, (losses.rank() + 1) * share)
mine = [item[rows].clone().requires_grad_() for item in whole]
loss = losses.task_contrast(mine, tensors["task"][rows], 0.5)
forward = sent[0]
loss.backward()
# The recorded gradients are of 0.2 times the mean over all samples; a process's loss is the mean over its own.
scale = 0.2 / losses.world()
worst = max(
    float((item.grad * scale - tensors[f"grad.{index}"][rows]).norm() / tensors[f"grad.{index}"][rows].norm())
    for index, item in enumerate(mine)
)
print(json.dumps({"loss": float(loss.detach()), "worst_gradient": worst, "sent_forward": forward,
                  "sent_backward": sent[0] - forward}))  # fmt: skip
dist.destroy_process_group()
leave(0)

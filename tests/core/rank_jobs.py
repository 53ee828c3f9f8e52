"""One process of several that train together: takes jobs line by line, so that torch is imported once for all tests.

A job is [name, arguments]; its answer is one line of JSON, or what went wrong.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist
from safetensors.torch import load_file

from x2edit_core.train import losses
from x2edit_core.train.parallel import in_turn, leave

sys.path.append(str(Path(__file__).resolve().parents[1]))


def train(folder, shard, steps, last=None):
    """The toy run of `test_train_loop`, this process's share of every batch and of what it is told to share.

    The first process stops it after step `last`.
    """
    toy = importlib.import_module("core.test_train_loop")
    ranks = toy.Ranks(dist.get_rank(), dist.get_world_size())
    trainer = toy.trainer_for(toy.config_for(folder, steps=steps, shard=shard, accumulate=2), ranks)
    kept = [sum(toy.local(weight).numel() for weight in weights) for weights in toy.held(trainer)]

    def on_step(report):
        if not ranks.rank and report.step == last:
            raise toy.loop.Stopped

    trainer.run(on_step)
    return kept


def judge(folder):
    """The toy run of `test_train_validation`; how many steps each process took."""
    toy, judged = (importlib.import_module(f"core.test_train_{name}") for name in ("loop", "validation"))
    ranks = toy.Ranks(dist.get_rank(), dist.get_world_size())
    trainer = judged.judged(toy.config_for(folder, validation=judged.VALIDATION), ranks)
    trainer.run()
    return trainer.step


def wait(rendezvous, limit_s, busy_s):
    """In a group that gives up after `limit_s`, the first process prepares for `busy_s`; when each began and had done."""
    rank, world, times = dist.get_rank(), dist.get_world_size(), {}

    def prepare():
        times["began"] = time.time()
        time.sleep(0 if rank else busy_s)
        times["prepared"] = time.time()

    dist.destroy_process_group()
    join(rendezvous, rank, world, limit_s)
    in_turn(rank, world, prepare)
    dist.destroy_process_group()
    join(rendezvous + ".after", rank, world)
    return times


def contrast(file):
    """The contrast loss of this process's rows, its gradients, and the bytes it sent."""
    sent = [0]

    def counted(name, size):
        original = getattr(dist, name)

        def call(*args, **kwargs):
            sent[0] += size(*args)
            return original(*args, **kwargs)

        setattr(dist, name, call)
        return name, original

    def size_of(tensor):
        return tensor.numel() * tensor.element_size()

    replaced = [
        counted("all_reduce", lambda tensor: size_of(tensor)),
        counted("all_gather", lambda parts, tensor: size_of(tensor)),
        counted("batch_isend_irecv", lambda ops: sum(size_of(op.tensor) for op in ops if op.op is dist.isend)),
    ]
    try:
        return _contrast(load_file(file), sent)
    finally:
        for name, original in replaced:
            setattr(dist, name, original)


def _contrast(tensors, sent):
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
    wanted = [tensors[f"grad.{index}"][rows] for index in range(layers)]
    worst = max(float((item.grad * scale - grad).norm() / grad.norm()) for item, grad in zip(mine, wanted, strict=True))
    return {"loss": float(loss.detach()), "worst_gradient": worst, "sent_forward": forward,
            "sent_backward": sent[0] - forward}  # fmt: skip


def join(rendezvous, rank, world, limit_s=300.0):
    where = Path(rendezvous).as_uri()
    dist.init_process_group("gloo", where, timedelta(seconds=limit_s), rank=rank, world_size=world)


def main():
    join(sys.argv[1], int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    for line in sys.stdin:
        name, arguments = json.loads(line)
        try:
            answer = {"train": train, "judge": judge, "wait": wait, "contrast": contrast}[name](*arguments)
        except Exception:
            answer = {"error": traceback.format_exc()}
        print("answer " + json.dumps(answer), flush=True)
    dist.destroy_process_group()
    leave(0)


if __name__ == "__main__":
    main()

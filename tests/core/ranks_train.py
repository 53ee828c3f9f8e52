"""One process of several: the toy run of `test_train_loop`, its share of every batch and of what it is told to share."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import torch.distributed as dist

from x2edit_core.train.parallel import leave

sys.path.append(str(Path(__file__).resolve().parents[1]))
toy = importlib.import_module("core.test_train_loop")

dist.init_process_group("gloo")
ranks = toy.Ranks(dist.get_rank(), dist.get_world_size())
folder, shard, steps, *rest = sys.argv[1:]
last = int(rest[0]) if rest and not ranks.rank else None
config = toy.config_for(folder, steps=int(steps), shard=shard, accumulate=2)
trainer = toy.trainer_for(config, ranks)
kept = [sum(toy.local(weight).numel() for weight in weights) for weights in toy.held(trainer)]


def on_step(report):
    if report.step == last:
        raise toy.loop.Stopped


trainer.run(on_step)
print(json.dumps(kept))
dist.destroy_process_group()
leave(0)

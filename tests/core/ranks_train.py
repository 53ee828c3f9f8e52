"""One process of several: the toy run of `test_train_loop`, its share of every batch."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import torch.distributed as dist

sys.path.append(str(Path(__file__).resolve().parents[1]))
toy = importlib.import_module("core.test_train_loop")

dist.init_process_group("gloo")
ranks = toy.Ranks(dist.get_rank(), dist.get_world_size())
toy.trainer_for(toy.config_for(sys.argv[1], steps=5), ranks).run()
print("{}")
dist.destroy_process_group()

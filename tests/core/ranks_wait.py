"""One process of two: the first prepares for longer than an exchange of their group may take."""

from __future__ import annotations

import json
import time
from datetime import timedelta

import torch.distributed as dist

from x2edit_core.train.parallel import in_turn, leave

dist.init_process_group("gloo", timeout=timedelta(seconds=2))
times = {}


def prepare() -> None:
    times["began"] = time.time()
    time.sleep(0 if dist.get_rank() else 5)
    times["prepared"] = time.time()


in_turn(dist.get_rank(), dist.get_world_size(), prepare)
print(json.dumps(times))
dist.destroy_process_group()
leave(0)

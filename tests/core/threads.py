"""Processes that train together, played by threads of this process: real groups over gloo, one a thread.

Quick to start, and a fault put into the code is met in every one of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.testing._internal.distributed.multi_threaded_pg import ThreadLocalWorld

LIMIT_S = 60


def together(count: int, work: Callable[[int], Any]) -> list[Any]:
    """What `work` gives for each rank; raises the first fault."""
    c10d, store = dist.distributed_c10d, dist.HashStore()
    answers: dict[int, Any] = {}
    faults: list[BaseException] = []

    def run(rank: int) -> None:
        limit = timedelta(seconds=LIMIT_S)
        try:
            dist.init_process_group("gloo", store=store, rank=rank, world_size=count, timeout=limit)
            answers[rank] = work(rank)
        except BaseException as error:
            faults.append(error)

    before = c10d._world
    c10d._world = ThreadLocalWorld()
    torch._C._distributed_c10d._set_thread_isolation_mode(True)
    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(count)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT_S)
    finally:
        torch._C._distributed_c10d._set_thread_isolation_mode(False)
        c10d._world = before
    if faults:
        raise faults[0]
    return [answers[rank] for rank in range(count)]

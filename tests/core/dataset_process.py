"""Runs of the builder that can be killed: forked from one process that has the imports behind it, and no threads."""

from __future__ import annotations

import os
import sys


def serve() -> None:
    """For each line `run CONFIG` fork a run and tell its id; for each `wait ID` tell how it ended (-9: killed)."""
    import torch

    from x2edit_core.dataset.__main__ import main

    torch.set_num_threads(1)
    for line in sys.stdin:
        verb, _, value = line.strip().partition(" ")
        if verb == "wait":
            status = os.waitpid(int(value), 0)[1]
            print(os.waitstatus_to_exitcode(status), flush=True)
        elif (child := os.fork()) == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os._exit(main([value]))
        else:
            print(child, flush=True)


if __name__ == "__main__":
    serve()

"""One run over several processes: whole copies of what is trained (DDP), or a share of it for each (FSDP2).

Each pass runs as the forward of one module that holds everything trained, which is where torch's wrappers gather weights
and arrange for gradients to be averaged. States are written whole, so that a run may go on with another number of
processes or another way of sharing.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, Literal, NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

Shard = Literal["none", "trained", "all"]
Made = TypeVar("Made")
PREPARING = timedelta(days=7)
"""How long processes wait for the first one to encode the data; torch's own limit is minutes."""


class _Pass(nn.Module):
    """Whatever `call` computes with the weights inside."""

    def __init__(self, weights: nn.Module, blocks: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        self.weights, self.blocks = weights, nn.ModuleList(blocks)

    def forward(self, call: Callable[[], Tensor]) -> Tensor:
        return call()


class SingleProcess:
    """One process that holds everything."""

    sharded = False

    def __init__(self, weights: nn.Module) -> None:
        self._root: Any = _Pass(weights)
        self.trained = {name: weight for name, weight in weights.named_parameters() if weight.requires_grad}

    def loss(self, call: Callable[[], Tensor]) -> Tensor:
        """The scalar that `call` computes; backward of it gives the trained weights their gradients."""
        return self._root(call)

    def part(self, last: bool) -> contextlib.AbstractContextManager[None]:
        """Around the loss and backward of each part of a step; gradients are averaged over processes in the last."""
        del last
        return contextlib.nullcontext()

    def clipped(self, limit: float) -> float:
        """The norm of all gradients together, which are scaled down to `limit` where it is larger."""
        return float(entire(nn.utils.clip_grad_norm_(self.trained.values(), limit or math.inf)))

    def assembled(self) -> contextlib.AbstractContextManager[None]:
        """Within it every process sees the trained weights whole."""
        return contextlib.nullcontext()


class DDP(SingleProcess):
    """Every process holds everything trained; gradients are averaged while backward goes on."""

    def __init__(self, weights: nn.Module) -> None:
        super().__init__(weights)
        self._root = nn.parallel.DistributedDataParallel(
            self._root, broadcast_buffers=False, gradient_as_bucket_view=True, find_unused_parameters=True
        )

    def part(self, last: bool) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if last else self._root.no_sync()


class FSDP(SingleProcess):
    """Every process holds a share of the trained weights, their gradients and the optimiser's state, and of `blocks`.

    Trained weights are gathered for the length of a pass, those of `blocks` one block at a time.
    """

    sharded = True

    def __init__(self, weights: nn.Module, blocks: Sequence[nn.Module], world: int, device: torch.device) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        mesh = init_device_mesh(device.type, (world,))
        policy = MixedPrecisionPolicy(reduce_dtype=torch.float32)
        for block in blocks:
            fully_shard(block, mesh=mesh, mp_policy=policy)
        root = _Pass(weights, blocks)
        fully_shard(root, mesh=mesh, mp_policy=policy, reshard_after_forward=False)
        super().__init__(weights)
        self._root, self._weights = root, weights

    @contextlib.contextmanager
    def part(self, last: bool) -> Iterator[None]:
        self._root.set_requires_gradient_sync(last)
        yield

    @contextlib.contextmanager
    def assembled(self) -> Iterator[None]:
        shares = [
            (module, name, weight)
            for module in self._weights.modules()
            for name, weight in module.named_parameters(recurse=False)
            if is_share(weight)
        ]
        try:
            for module, name, weight in shares:
                module._parameters[name] = nn.Parameter(entire(weight.detach()), requires_grad=False)
            yield
        finally:
            for module, name, weight in shares:
                module._parameters[name] = weight


def spread(
    weights: nn.Module, blocks: Sequence[nn.Module], shard: Shard, world: int, device: torch.device
) -> SingleProcess | DDP | FSDP:
    """`weights` over `world` processes; `blocks` are the base's, frozen or part of `weights`.

    `shard` says what each process holds a share of: nothing, what is trained, or all blocks too.
    """
    if world == 1:
        return SingleProcess(weights)
    if shard == "none":
        return DDP(weights)
    chosen = [block for block in blocks if shard == "all" or any(p.requires_grad for p in block.parameters())]
    return FSDP(weights, chosen, world, device)


def is_sharded(module: nn.Module) -> bool:
    """Whether FSDP gathers this module's weights when it is called; what it is then given are views."""
    return hasattr(module, "unshard")


def is_share(value: Any) -> bool:
    """Whether this is a tensor that several processes hold together."""
    return hasattr(value, "full_tensor")


def local(tensor: Any) -> Tensor:
    """This process's share of a tensor, in the same memory; the tensor itself if it is not shared."""
    return tensor.to_local() if is_share(tensor) else tensor


def entire(state: Any) -> Any:
    """A state with its shared tensors gathered; all processes must ask together."""
    if isinstance(state, dict):
        return {name: entire(value) for name, value in state.items()}
    if isinstance(state, list):
        return [entire(value) for value in state]
    return state.full_tensor() if is_share(state) else state


def shared_like(tensor: Tensor, weight: Any) -> Tensor:
    """This process's share of a whole `tensor`, as `weight` of the same shape is shared."""
    if not is_share(weight) or tensor.shape != weight.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    mesh = weight.device_mesh
    return distribute_tensor(tensor.to(mesh.device_type), mesh, weight.placements, src_data_rank=None)


def shared_state(state: dict[str, Any], weights: Sequence[Tensor]) -> dict[str, Any]:
    """An optimiser's whole state with each entry shared as the weight that it belongs to, by number."""
    if "state" not in state:
        return state
    entries = {
        number: {name: shared_like(value, weights[number]) if isinstance(value, Tensor) else value
                 for name, value in values.items()}
        for number, values in state["state"].items()
    }  # fmt: skip
    return {**state, "state": entries}


def in_turn(rank: int, world: int, make: Callable[[], Made]) -> Made:
    """`make()` in the first process, then in the others, which find what it left on disk; all go on together.

    The waiting is over gloo whatever the run's own group is, with a limit of its own.
    """
    if world == 1:
        return make()
    waiting = dist.new_group(timeout=PREPARING, backend="gloo")
    if rank:
        dist.barrier(waiting)
    made = make()
    if not rank:
        dist.barrier(waiting)
    dist.barrier(waiting)
    dist.destroy_process_group(waiting)
    return made


def leave(status: int) -> NoReturn:
    """End one process of several, which has destroyed its group, with `status` and without Python's own teardown.

    torch's caches keep the group's threads; one that lets go of a tensor while Python is torn down aborts the process.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)

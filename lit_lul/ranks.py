"""What the ranks of a run put together: values of all of them, and who goes on from which."""

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


def reduce(value: Tensor, op: dist.ReduceOp.RedOpType = dist.ReduceOp.SUM) -> Tensor:
    """The sum, or what `op` says, of every rank's value (...), in one round; it is overwritten."""
    if dist.is_initialized():
        dist.all_reduce(value, op)
    return value


def gather(value: T) -> list[T]:
    """Every rank's value on rank 0, by rank; nothing on the others. All ranks call it together.

    Tensors within the value should be on the CPU: they go through memory, not through devices.
    """
    if not dist.is_initialized():
        return [value]
    group = dist.new_group(backend="gloo")
    values: list[Any] | None = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
    dist.gather_object(value, values, dst=0, group=group)
    dist.destroy_process_group(group)
    return values or []


def redistribute(
    sums: Sequence[dict[str, Tensor]], rank: int, world_size: int
) -> dict[str, Tensor]:
    """What a rank goes on from, of sums that every rank of an earlier run held a part of.

    With as many ranks as before each has its own part back; with another number, rank 0 has the
    whole and the others start at zero.

    Args:
        sums: the parts by name, (...) each, by rank.
        rank: the one that goes on.
        world_size: ranks that go on.
    """
    if len(sums) == world_size:
        return sums[rank]
    whole = {name: torch.stack([part[name] for part in sums]).sum(0) for name in sums[0]}
    return whole if rank == 0 else {name: torch.zeros_like(t) for name, t in whole.items()}
